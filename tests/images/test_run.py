"""A job in containers: the same packages, parties and results, each step a container."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tallystick import demo

from tests.images.conftest import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for party, table in demo.tables().items():
        table.to_csv(tmp_path / f"{party}.csv", index=False)
    (tmp_path / "job.yaml").write_text(demo.JOB.format(model=demo.MODEL))
    return tmp_path / "job.yaml"


def command(job: Path) -> list[str]:
    run = [sys.executable, "-m", "tallystick.cli", "run", str(job), "--runner", "docker"]
    return [*run, "--out", str(job.parent / "out")]


def ours() -> list[str]:
    """Containers and networks of any run."""
    mine = ("--filter", "label=tallystick.run", "--quiet")
    return (docker("ps", "--all", *mine).stdout + docker("network", "ls", *mine).stdout).split()


def containers(party: str) -> list[str]:
    """A party's running containers."""
    listed = docker("ps", "--filter", "label=tallystick.run", "--format", "{{.ID}}").stdout.split()
    found = json.loads(docker("inspect", *listed).stdout) if listed else []
    return [
        about["Id"]
        for about in found
        for settings in about["NetworkSettings"]["Networks"].values()
        if party in settings["Aliases"]
    ]


def events(job: Path, party: str) -> list[dict[str, Any]]:
    log = job.parent / "out" / party / "logs" / "pipeline.log"
    return [json.loads(line) for line in log.read_text().splitlines() if line[:8] == '{"time":']


def await_event(
    run: "subprocess.Popen[Any]", job: Path, party: str, event: str, step: str = "psi"
) -> None:
    log = job.parent / "out" / party / "logs" / "pipeline.log"
    deadline = time.monotonic() + 300
    said = re.compile(f'"step": "{step}", "party": "{party}", "event": "{event}"')
    while not (log.exists() and said.search(log.read_text())):
        assert run.poll() is None, f"it ended, and {party} {event} never"
        assert time.monotonic() < deadline, f"no {event}"
        time.sleep(0.2)


def test_the_demo_runs_in_containers(job: Path) -> None:
    done = subprocess.run(command(job), capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    out = job.parent / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "succeeded"
    assert summary["metrics"]["auc"] > 0.95
    assert (out / "alice" / "model").is_dir()
    assert not (out / "bob" / "model").exists()
    assert (out / "bob" / "report.html").exists()
    assert (out / "bob" / "mlflow.db").exists()
    assert not ours()


def test_each_party_sees_its_own_things_alone(job: Path) -> None:
    with subprocess.Popen(command(job), stdout=subprocess.DEVNULL) as run:
        try:
            await_event(run, job, "alice", "joined")
            listed = docker("ps", "--filter", "label=tallystick.run", "--format", "{{.ID}}")
            found = json.loads(docker("inspect", *listed.stdout.split()).stdout)
            mounts = {}
            for about in found:
                ((network, settings),) = about["NetworkSettings"]["Networks"].items()
                name = next(n for n in settings["Aliases"] if n in ("alice", "bob", "notary"))
                mounts[name] = {m["Source"] for m in about["Mounts"]}
                writable = {m["Source"] for m in about["Mounts"] if m["RW"]}
                assert all(f"/out/{name}" in path for path in writable)
                assert about["HostConfig"]["ReadonlyRootfs"]
                assert about["HostConfig"]["CapDrop"] == ["ALL"]
                assert not about["Config"]["User"].startswith("0:")
                (about_network,) = json.loads(docker("network", "inspect", network).stdout)
                assert about_network["Internal"]
            assert set(mounts) == {"alice", "bob", "notary"}
            for name, paths in mounts.items():
                for other in {"alice", "bob", "notary"} - {name}:
                    assert not any(
                        other in Path(path).relative_to(job.parent).parts
                        or path.endswith(f"{other}.csv")
                        for path in paths
                    )
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
    # Even a supervisor that is killed leaves nothing behind.
    deadline = time.monotonic() + 30
    while ours() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not ours()


def test_a_killed_container_is_a_lost_party_and_says_so(job: Path) -> None:
    with subprocess.Popen(
        command(job), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        await_event(run, job, "bob", "joined")
        for container in containers("bob"):
            docker("kill", container)
        _, error = run.communicate(timeout=120)
        assert run.returncode == 4
        assert "'bob'" in error
        assert "signal 9" in error
    assert not ours()


@pytest.mark.timeout(1500)
def test_twenty_kills_during_training_end_in_the_model_of_an_undisturbed_run(job: Path) -> None:
    long = job.read_text().replace("epochs: 10", "epochs: 150")
    job.write_text(long)
    quiet = [*command(job)[:-1], str(job.parent / "quiet")]
    assert subprocess.run(quiet, capture_output=True, timeout=500).returncode == 0
    generator, kills = random.Random(11), []
    with subprocess.Popen(
        [*command(job), "--retries", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        await_event(run, job, "alice", "progress", step="train")
        while len(kills) < 20:
            assert run.poll() is None, run.stdout and run.stdout.read()
            party = generator.choice(("alice", "bob"))
            for container in containers(party):
                kills.append((party, docker("kill", container).returncode))
            time.sleep(generator.uniform(0.5, 14.0))
        told, _ = run.communicate(timeout=500)
    assert run.returncode == 0, told
    assert [code for _, code in kills] == [0] * len(kills)
    resumed = [event["epoch"] for event in events(job, "alice") if event["event"] == "resumed"]
    assert resumed
    assert resumed == sorted(resumed), "a checkpoint was lost"
    disturbed, undisturbed = (
        json.loads((job.parent / out / "summary.json").read_text())["metrics"]
        for out in ("out", "quiet")
    )
    # The order of the rows, and so which are held out, is each session's own.
    assert disturbed.keys() == undisturbed.keys()
    for name in ("auc", "accuracy"):
        assert disturbed[name] == pytest.approx(undisturbed[name], abs=0.05), name
    assert not ours()


def test_an_image_that_is_nowhere_is_refused_before_anything_starts(job: Path) -> None:
    text = job.read_text().replace("params:", "params:\n  image: tallystick/none:0")
    job.write_text(text)
    done = subprocess.run(command(job), capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "tallystick/none:0 is not on this machine" in done.stderr
    assert not ours()
