"""All parties on one machine: real processes, KFP's local runner, stand-in steps."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from tallystick import local
from tallystick.job import Job
from tallystick.local import supervisor


def write_job(folder: Path, package: Path, alice: str, bob: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(
        f"session: test-1\npipeline: {package}\ndealer: notary\n"
        f"parties:\n  alice: {{data: {alice}}}\n  bob: {{data: {bob}}}\n"
        "params: {export_to: [alice], rate: 1}\n"
    )
    return path


def run(
    folder: Path, package: Path, alice: str, bob: str, *, retries: int = 0
) -> tuple[local.Summary, str]:
    console = Console(file=io.StringIO(), width=200)
    job = Job.load(write_job(folder, package, alice, bob))
    summary = local.run(job, folder / "out", console, retries=retries)
    assert not left_over(folder)
    return summary, console.file.getvalue()  # type: ignore[attr-defined]


def left_over(folder: Path) -> list[str]:
    """Processes that still work for a run in this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in found if str(folder / "out") in command]


def test_a_run_ends_with_everybodys_results(tmp_path: Path, stand_in_package: Path) -> None:
    # KFP's own runner would put an interpreter's path in the place of this folder's "python3".
    folder = tmp_path / "python3 results"
    folder.mkdir()
    summary, told = run(folder, stand_in_package, "good", "good")
    assert summary.exit_code == 0
    out = folder / "out"
    assert json.loads((out / "summary.json").read_text()) == {
        "session": "test-1",
        "status": "succeeded",
        "rows_matched": 12,
        "metrics": {"auc": 0.75},
        "seconds": {**summary.seconds, "psi": 0.25, "evaluate": 0.5},
        "error": None,
    }
    for party in ("alice", "bob"):
        assert json.loads((out / party / "metrics.json").read_text()) == {"auc": 0.75}
        (reveal,) = json.loads((out / party / "reveals.json").read_text())
        assert (reveal["step"], reveal["what"], reveal["count"]) == ("psi", "rows matched", 1)
        assert (out / party / "report.html").read_text() == "<p>good</p>"
        assert "Running pipeline" in (out / party / "logs" / "pipeline.log").read_text()
    assert (out / "alice" / "model" / "coefficients.json").exists()
    assert not (out / "bob" / "model").exists()
    assert "alice psi: done in 0.2 s" in told
    assert not [*out.glob("*/.tmp")]


def test_a_failed_run_leaves_the_good_one_before_it(tmp_path: Path, stand_in_package: Path) -> None:
    run(tmp_path, stand_in_package, "good", "good")
    kept = tmp_path / "out" / ".previous"
    assert not kept.exists()
    run(tmp_path, stand_in_package, "fails", "hears")
    assert (kept / "alice" / "model" / "coefficients.json").exists()
    assert not (tmp_path / "out" / "alice" / "model").exists()
    run(tmp_path, stand_in_package, "good", "good")
    assert not kept.exists()


def test_siblings_run_in_one_order_at_every_party(tmp_path: Path, stand_in_package: Path) -> None:
    run(tmp_path, stand_in_package, "good", "good")
    for party in ("alice", "bob"):
        log = (tmp_path / "out" / party / "logs" / "pipeline.log").read_text()
        launched = [json.loads(line)["step"] for line in log.splitlines() if '"launched"' in line]
        assert launched == ["psi", "evaluate", "export"]


def test_the_error_of_the_party_in_trouble_is_the_runs_error(
    tmp_path: Path, stand_in_package: Path
) -> None:
    summary, told = run(tmp_path, stand_in_package, "hears", "fails")
    assert summary.exit_code == 3
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["error"] == {
        "party": "bob",
        "step": "psi",
        "kind": "DataError",
        "message": "its table is bad",
    }
    assert "alice psi: failed: PeerLost: somebody went" in told


def test_a_party_that_goes_on_regardless_is_ended_soon(
    tmp_path: Path, stand_in_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 1.0)
    begin = time.monotonic()
    summary, _ = run(tmp_path, stand_in_package, "hangs", "fails")
    assert summary.exit_code == 3
    assert time.monotonic() - begin < 60


def test_a_killed_step_is_told_from_a_failed_one(tmp_path: Path, stand_in_package: Path) -> None:
    summary, _ = run(tmp_path, stand_in_package, "dies", "hears")
    assert summary.exit_code == 4
    assert summary.error is not None
    assert (summary.error.party, summary.error.step) == ("alice", "psi")
    assert "killed by signal 9 (SIGKILL)" in summary.error.message
    assert "alice/logs/pipeline.log" in summary.error.message


def test_a_killed_step_is_started_again_where_that_is_asked_for(
    tmp_path: Path, stand_in_package: Path
) -> None:
    summary, told = run(tmp_path, stand_in_package, "dies-once", "good", retries=1)
    assert summary.exit_code == 0, told
    assert re.search("alice psi: ended with exit code (-9|137); starts again", told)
    events = (tmp_path / "out" / "alice" / "logs" / "pipeline.log").read_text()
    assert events.count('"event": "launched", "step": "psi"') == 2


@pytest.mark.parametrize(("behaviour", "attempts", "code"), [("dies", 3, 4), ("fails", 1, 3)])
def test_retries_end_and_are_not_spent_on_what_they_cannot_change(
    tmp_path: Path, stand_in_package: Path, behaviour: str, attempts: int, code: int
) -> None:
    summary, told = run(tmp_path, stand_in_package, behaviour, "good", retries=2)
    assert summary.exit_code == code, told
    assert summary.error is not None
    assert summary.error.party == "alice"
    events = (tmp_path / "out" / "alice" / "logs" / "pipeline.log").read_text()
    assert events.count('"event": "launched", "step": "psi"') == attempts


def test_a_step_that_ends_without_a_word_is_an_unexpected_error(
    tmp_path: Path, stand_in_package: Path
) -> None:
    summary, _ = run(tmp_path, stand_in_package, "hears", "crashes")
    assert summary.exit_code == 1
    assert summary.error is not None
    assert (summary.error.party, summary.error.kind) == ("bob", "UnexpectedExit")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_nothing_outlives_the_command(
    tmp_path: Path, stand_in_package: Path, number: signal.Signals, code: int
) -> None:
    job = write_job(tmp_path, stand_in_package, "hangs", "hangs")
    command = [sys.executable, "-m", "tallystick.cli", "run", str(job), "--out", "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch 1/2, loss 0.25" in line:
                break
        assert left_over(tmp_path)
        process.send_signal(number)
        process.stdout.read()
        assert process.wait() == code
    deadline = time.monotonic() + 10
    while left_over(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left_over(tmp_path)
    if number is not signal.SIGKILL:
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["error"]["kind"] == "Interrupted"


def test_a_dealer_that_goes_ends_the_run(
    tmp_path: Path, stand_in_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 0.5)
    start = supervisor.Process

    def start_and_kill_the_dealer(name: str, *args: object, **keywords: object) -> object:
        process = start(name, *args, **keywords)  # type: ignore[arg-type]
        if name == "notary":
            process.signal(signal.SIGKILL)
        return process

    monkeypatch.setattr(supervisor, "Process", start_and_kill_the_dealer)
    summary, _ = run(tmp_path, stand_in_package, "hangs", "hangs")
    assert summary.exit_code == 4
    assert summary.error is not None
    assert summary.error.party == "notary"


def test_the_parties_environment_is_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallystick.local.processes import environment

    monkeypatch.setenv("MLFLOW_RUN_ID", "somebody's")
    monkeypatch.setenv("PYTHONPATH", "components")
    found = environment(tmp_path, 2)
    assert "MLFLOW_RUN_ID" not in found
    assert found["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert found["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert all(os.path.isabs(path) for path in found["PYTHONPATH"].split(os.pathsep))
