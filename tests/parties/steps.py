"""Steps for tests of life and death: they compute, and leave outputs that must be whole or none."""

import dataclasses
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tallystick.runtime import events, life, mesh
from tallystick.runtime import session as session_module
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.errors import DataError
from tallystick.runtime.mesh import Mesh
from tallystick.runtime.session import Session

from tests.harness import Place, Process

SILENCE_S = 3.0
"""Instead of twenty seconds, so that tests of silence are short; the harness's heartbeats fit."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WorkConfig(StepConfig):
    """What the parties compute together, and how one of them misbehaves."""

    rounds: int = 20
    size: int = 1000
    out: Path
    fault: str = ""

    LOCAL = StepConfig.LOCAL | {"fault"}


@life.step("work")
def work(config: WorkConfig) -> int:
    """Multiply, compare and open, and leave a file and a folder."""
    mesh.SILENCE_S = SILENCE_S
    if config.fault == "data":
        raise DataError("the file 'patients.csv' has no column 'id'")
    if config.fault == "unexpected":
        raise RuntimeError("row 17 holds 4711")
    if config.fault.startswith("dies"):
        _die(config.fault)
    if config.fault == "tells one and dies":
        _tell_one_and_die()
    if config.fault == "cannot tidy up":
        _keep_what_was_replaced()
    with Session.join(config, "work") as session:
        folder = session.output(config.out / "result")
        folder.mkdir()
        (folder / "content").write_text("the result")
        session.output(config.out / "file").write_text("the file")
        _compute(session, config)
        if config.fault == "ledger":
            session.ledger.note("something", why="nobody else noted it", count=1)
        if config.fault == "late data":
            raise DataError("the column 'age' holds nothing")
        if config.fault == "late unexpected":
            raise RuntimeError("row 17 holds 4711")
    return 0


def _die(when: str) -> None:
    """Kill this process when it publishes: at its first renaming, or after its last."""
    rename, left = Path.rename, [1 if "before" in when else 3]

    def last(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0 and "before" in when:
            os.kill(os.getpid(), signal.SIGKILL)
        renamed = rename(path, target)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return renamed

    Path.rename = last  # type: ignore[method-assign, assignment]


def _tell_one_and_die() -> None:
    """Kill this process when one other party is told that it has published."""
    post, told = Mesh.post_message, []

    def once(mesh: Mesh, peer: str, message: Any) -> None:
        if message == {"published": True} and told:
            os.kill(os.getpid(), signal.SIGKILL)
        told.extend([peer] * (message == {"published": True}))
        post(mesh, peer, message)

    Mesh.post_message = once  # type: ignore[method-assign]


def _keep_what_was_replaced() -> None:
    remove = session_module._remove

    def failing(path: Path) -> None:
        if path.name.endswith(".replaced") and path.exists():
            raise OSError("device or resource busy")
        remove(path)

    session_module._remove = failing


def _compute(session: Session, config: WorkConfig) -> None:
    engine = session.engine
    generator = torch.Generator().manual_seed(session.rank)
    values = torch.randn(config.size, generator=generator)
    secrets = [
        engine.share(values if session.rank == owner else None, owner, (config.size,))
        for owner in range(session.world_size)
    ]
    product = secrets[0]
    for done in range(config.rounds):
        product = secrets[done % 2] * secrets[(done + 1) % 2]
        if done % 3 == 0:
            engine.negative(product)
        if done % 5 == 0:
            events.emit("progress", done=done, total=config.rounds, unit="rounds")
    if config.fault == "parted" and session.rank == 0:
        return  # this one believes that all is done
    session.ledger.reveal(product.sum(), "sum", why="a test")


class Run:
    """One party's run of a step."""

    def __init__(self, place: Place, name: str, **changes: Any) -> None:
        self.out = place.folder / name / "out"
        fields = {"out": self.out, "reveals": self.out / "reveals.md", **changes}
        base = {
            field.name: getattr(place.config(name), field.name)
            for field in dataclasses.fields(StepConfig)
        }
        config = WorkConfig(**{**base, **fields})
        number = len(list(place.folder.glob(f"{name}-*.log")))
        self.process = Process(place, work, config, log=place.folder / f"{name}-{number}.log")
        self.name = name

    def await_progress(self) -> None:
        self.process.await_line('"progress"')

    def wait(self, timeout_s: float = 60) -> int | None:
        code = self.process.wait(timeout_s)
        assert code is not None, f"{self.name} still runs after {timeout_s} s"
        return code

    @property
    def failed(self) -> dict[str, Any]:
        """Its last event, which must be a failure."""
        event: dict[str, Any] = self.events[-1]
        assert event["event"] == "failed", event
        return event

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = self.process.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def published(self) -> set[str]:
        """What lies in its output folder, hidden files included."""
        return {path.name for path in self.out.iterdir()} if self.out.is_dir() else set()


WHOLE = {"result", "file", "reveals.md"}


def run_all(place: Place, each: Callable[[str], dict[str, Any]] | None = None) -> dict[str, Run]:
    """Start the step at every party."""
    return {name: Run(place, name, **(each(name) if each else {})) for name in place.parties}


def end(runs: dict[str, Run]) -> None:
    for run in runs.values():
        run.process.end()


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def clear(runs: dict[str, Run]) -> None:
    """Check that nobody published anything or left anything unfinished."""
    for run in runs.values():
        assert run.published == set(), f"{run.name} published {run.published}"


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
