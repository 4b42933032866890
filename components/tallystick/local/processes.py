"""The processes of one run: started in groups of their own, read line by line, ended for good."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import tallystick

# How long an ended process's last lines may take to arrive.
DRAIN_S = 5.0


class Line(NamedTuple):
    """What a process wrote."""

    name: str
    text: str


class Process:
    """One party's or the dealer's process, with all that it starts."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        log: Path,
        lines: "queue.Queue[Line]",
    ) -> None:
        """Start a module, tethered to this process.

        Args:
            name: the party or dealer it works for.
            command: the module and its arguments.
            env: its whole environment.
            folder: its working directory.
            log: the file that takes what it writes.
            lines: takes the same, line by line.
        """
        self.name = name
        self.log = log
        self._reaped = False
        log.parent.mkdir(parents=True, exist_ok=True)
        self._popen = subprocess.Popen(  # noqa: S603  our own modules
            [sys.executable, "-m", "tallystick.local.tether", *command],
            # Nothing is written here: the open pipe says that the supervisor lives.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=folder,
            start_new_session=True,
        )
        assert self._popen.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._popen.stdout, lines), name=f"{name}-log", daemon=True
        )
        self._reader.start()

    def _read(self, stream: BinaryIO, lines: "queue.Queue[Line]") -> None:
        with self.log.open("wb", buffering=0) as log:
            for line in stream:
                log.write(line)
                lines.put(Line(self.name, line.decode(errors="replace")))

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs; negative for the signal that killed it."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all that it started."""
        try:
            os.killpg(self._popen.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # It ended; macOS says so with the second of these.

    def reap(self) -> None:
        """Clean up after the process: no orphans, and its last lines read. Once is enough."""
        if self._reaped:
            return  # its number may be another's by now
        self._reaped = True
        self.signal(signal.SIGKILL)
        self._popen.wait()
        self._reader.join(DRAIN_S)
        if self._popen.stdin is not None:
            self._popen.stdin.close()


def stop(processes: Iterable[Process], patience_s: float) -> None:
    """End processes: ask first, and insist once the patience is over."""
    everyone = [*processes]
    running = [process for process in everyone if process.returncode is None]
    for process in running:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while any(process.returncode is None for process in running) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in everyone:
        process.reap()


def environment(folder: Path, parties: int) -> Mapping[str, str]:
    """Return a member's whole environment: this process's, and what keeps members apart."""
    environment = dict(os.environ)
    # A run of MLflow or Kubeflow that this process may be part of is not the parties' to write to.
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        environment.pop(name, None)
    package = str(Path(tallystick.__file__).parents[1])
    inherited = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    environment.update(
        PATH=os.pathsep.join(
            [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
        ),
        PYTHONPATH=os.pathsep.join([package, *map(os.path.abspath, inherited)]),
        PYTHONUNBUFFERED="1",
        # KFP leaves a folder there for each task.
        TMPDIR=str(folder / ".tmp"),
        MLFLOW_TRACKING_URI=f"sqlite:///{folder / 'mlflow.db'}",
    )
    # Each party takes its part of the cores, or they would wait for each other's threads.
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // parties)))
    return environment
