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

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from tallystick import demo

from tests.images.conftest import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

# The exit status of a process that a SIGKILL ended.
KILLED = 137
KILLS = 20
EPOCHS, BATCHES = 100, 6
LONG = f"""\
session: kills
pipeline: direct
parties: {{alice: {{data: alice.csv}}, bob: {{data: bob.csv}}}}
dealer: notary
params:
  layout: vertical
  label: {demo.LABEL}
  epochs: {EPOCHS}
  batch_size: 64
  checkpoint_batches: 2
  export_to: [alice]
"""
LARGE = """\
session: large
pipeline: training
parties: {alice: {data: alice.csv}, bob: {data: bob.csv}}
dealer: notary
params: {id_columns: [id], label: y, protocol: ecdh, epochs: 1, export_to: [alice]}
"""
CHECKPOINTS = EPOCHS * BATCHES // 2


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for party, table in demo.tables().items():
        table.to_csv(tmp_path / f"{party}.csv", index=False)
    (tmp_path / "job.yaml").write_text(demo.JOB.format(model=demo.MODEL))
    return tmp_path / "job.yaml"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """So many rows that every step takes a while."""
    generator = np.random.default_rng(5)
    features = generator.normal(size=(20_000, 40))
    noise = generator.normal(size=len(features))
    sides = {"alice": features[:, :20], "bob": features[:, 20:]}
    for party, columns in sides.items():
        table = pd.DataFrame(columns).add_prefix(party)
        table.insert(0, "id", range(len(table)))
        if party == "alice":
            table["y"] = (features[:, 0] + features[:, 20] + noise > 0).astype(int)
        table.to_csv(tmp_path / f"{party}.csv", index=False)
    (tmp_path / "job.yaml").write_text(LARGE)
    return tmp_path / "job.yaml"


@pytest.fixture
def long_training(tmp_path: Path) -> Path:
    """Hundreds of checkpoints, on rows that lie side by side: every run trains on the same ones."""
    made = demo.tables()
    both = sorted(set.intersection(*(set(table[demo.ID]) for table in made.values())))
    for party, table in made.items():
        table.set_index(demo.ID).loc[both].to_csv(tmp_path / f"{party}.csv", index=False)
    (tmp_path / "job.yaml").write_text(LONG)
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


def kill(party: str) -> bool:
    """Kill a party's container; false if there is none, or it came to its end by itself."""
    return any(docker("kill", container).returncode == 0 for container in containers(party))


def await_checkpoint(run: "subprocess.Popen[Any]", out: Path, number: int) -> int:
    """Wait until training has come as far as that, and return how far it has."""
    kept = out / "alice" / "pipeline" / "checkpoints" / "kills" / "alice"
    deadline = time.monotonic() + 300
    while (
        at := max((int(p.parent.name) for p in kept.glob("*/manifest.json")), default=0)
    ) < number:
        assert run.poll() is None, run.stdout and run.stdout.read()
        assert time.monotonic() < deadline, f"no checkpoint {number}"
        time.sleep(0.05)
    return at


def same_model(one: Path, other: Path) -> None:
    """Compare two runs' models and losses; each step of the descent may round another way."""
    steps = EPOCHS * BATCHES
    models = [load_file(out / "alice" / "model" / "model.safetensors") for out in (one, other)]
    for name, value in models[0].items():
        assert value.numpy() == pytest.approx(models[1][name].numpy(), abs=steps / 2**16), name
    losses = [
        json.loads((out / "alice" / "trained" / "model.json").read_text())["loss"]
        for out in (one, other)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=16 / 2**16)


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
        time.sleep(0.05)


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


@pytest.mark.timeout(900)
def test_a_kill_in_every_step_is_made_good(large: Path) -> None:
    with subprocess.Popen(
        [*command(large), "--retries", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        # On its way to the others, or in the midst of the computation; at either party.
        for step, party, event in (
            ("psi", "bob", "joined"),
            ("encode", "alice", "started"),
            ("train", "bob", "joined"),
            ("evaluate", "alice", "joined"),
            ("export", "bob", "started"),
        ):
            await_event(run, large, party, event, step)
            assert kill(party)
        told, _ = run.communicate(timeout=500)
    assert run.returncode == 0, told
    for party, steps in (("alice", {"encode", "evaluate"}), ("bob", {"psi", "train", "export"})):
        assert {e["step"] for e in events(large, party) if e.get("code") == KILLED} == steps
    summary = json.loads((large.parent / "out" / "summary.json").read_text())
    assert summary["metrics"]["auc"] > 0.85
    assert (large.parent / "out" / "alice" / "model").is_dir()
    assert not ours()


@pytest.mark.timeout(1800)
def test_twenty_kills_during_training_end_in_the_model_of_an_undisturbed_run(
    long_training: Path,
) -> None:
    quiet = [*command(long_training)[:-1], str(long_training.parent / "quiet")]
    assert subprocess.run(quiet, capture_output=True, timeout=500).returncode == 0
    out, generator = long_training.parent / "out", random.Random(11)
    kills: list[str] = []
    seen = 0
    with subprocess.Popen(
        [*command(long_training), "--retries", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        while len(kills) < KILLS:
            # However fast the machine is, the kills spread over the whole of the training; and two
            # checkpoints after the last one, all parties have met again.
            number = (len(kills) + generator.random()) * CHECKPOINTS / KILLS
            seen = await_checkpoint(run, out, max(int(number), seen + 2))
            time.sleep(generator.uniform(0.0, 0.3))
            party = generator.choice(("alice", "bob"))
            if kill(party):
                kills.append(party)
        told, _ = run.communicate(timeout=500)
    assert run.returncode == 0, told
    for party in ("alice", "bob"):
        said = [event for event in events(long_training, party) if event["step"] == "train"]
        died = [event for event in said if event.get("code") == KILLED]
        assert len(died) == kills.count(party)
        # Every attempt but the first went on from a checkpoint, and each from a later one.
        resumed = [(e["epoch"], e["batch"]) for e in said if e["event"] == "resumed"]
        assert len(resumed) >= KILLS
        assert resumed == sorted(set(resumed))
        assert sum(event["event"] == "finished" for event in said) == 1
    same_model(out, long_training.parent / "quiet")
    assert not ours()


def test_an_image_that_is_nowhere_is_refused_before_anything_starts(job: Path) -> None:
    text = job.read_text().replace("params:", "params:\n  image: tallystick/none:0")
    job.write_text(text)
    done = subprocess.run(command(job), capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "tallystick/none:0 is not on this machine" in done.stderr
    assert not ours()
