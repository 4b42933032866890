"""``tallystick run`` as a user runs it: a process of its own, through the compiled package."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

TIMEOUT_S = 280
"""A run that takes longer is stuck; the tests' own timeout comes after it."""


@dataclass(frozen=True)
class Ended:
    """A run that is over, and what it left."""

    out: Path
    exit_code: int
    stdout: str
    stderr: str
    job: Mapping[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "summary.json").read_text()))

    @property
    def parties(self) -> list[str]:
        return list(self.job["parties"])

    def json(self, party: str, name: str) -> Any:
        return json.loads((self.out / party / name).read_text())

    def log(self, party: str) -> str:
        return (self.out / party / "logs" / "pipeline.log").read_text()

    def events(self, party: str, kind: str) -> list[dict[str, Any]]:
        return [event for event in events(self.log(party)) if event["event"] == kind]

    def task(self, party: str, step: str) -> Path:
        """The folder of a step's artifacts."""
        (folder,) = (self.out / party / "pipeline").glob(f"*/{step}")
        return folder

    def aligned(self, party: str) -> pd.DataFrame:
        return pd.read_parquet(self.task(party, "psi") / "aligned" / "aligned.parquet")


def write_job(folder: Path, *, params: Mapping[str, Any], **changes: Any) -> Path:
    """Write a job file for alice.csv and bob.csv beside it."""
    job = {
        "session": "e2e-1",
        "pipeline": "training",
        "parties": {"alice": {"data": "alice.csv"}, "bob": {"data": "bob.csv"}},
        "dealer": "notary",
        "params": {"id_columns": ["patient"], "label": "malignant", **params},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**job, **changes}, sort_keys=False))
    return path


@contextlib.contextmanager
def started(job: Path, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command; whatever happens, nothing of it outlives the block."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tallystick.cli", "run", str(job), "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=job.parent,
    )
    try:
        yield process
    finally:
        # The parties are tethered to it, and go with it.
        process.kill()
        process.wait()


def finished(process: subprocess.Popen[str], job: Path, out: Path) -> Ended:
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    return Ended(out, process.returncode, stdout, stderr, yaml.safe_load(job.read_text()))


def run(job: Path, out: Path) -> Ended:
    with started(job, out) as process:
        return finished(process, job, out)


def events(log: str) -> list[dict[str, Any]]:
    lines = [line for line in log.splitlines() if line.startswith('{"time"')]
    return [json.loads(line) for line in lines]


def processes(*words: str) -> list[int]:
    """Pids of the processes whose command line holds all the words, such as a run's folder."""
    return [pid for pid, _, command in _listed() if all(word in command for word in words)]


def children(pid: int) -> list[int]:
    return [child for child, parent, _ in _listed() if parent == pid]


def _listed() -> list[tuple[int, int, str]]:
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    lines = (line.split(maxsplit=2) for line in listed.splitlines())
    return [
        (int(pid), int(parent), command) for pid, parent, *command in lines for command in command
    ]


def has_trained(log: Path, epochs: int) -> bool:
    """Whether a party's log says that so many epochs are done."""
    if not log.exists():
        return False
    # The last line may be half written.
    text = log.read_text().rpartition("\n")[0]
    return any(e.get("unit") == "epoch" and e["done"] >= epochs for e in events(text))


def step(out: Path, party: str, name: str) -> int:
    """The process that does a party's step, not those that only started it."""
    found = processes(f"{out}{os.sep}{party}", "kfp.dsl.executor_main", name)
    (pid,) = [pid for pid in found if not children(pid)]
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def leftovers(out: Path) -> list[str]:
    """Whatever a run may not leave behind when it did not finish."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.unfinished"))


def artifacts(out: Path) -> set[str]:
    """The steps' outputs that stand in a run's folder, as ``party/name``."""
    names = ("aligned", "shares", "trained", "exported", "report")
    return {
        f"{path.relative_to(out).parts[0]}/{path.name}"
        for name in names
        for path in out.glob(f"*/pipeline/*/*/{name}")
    }
