"""Run a job on this machine: a process for each party, one for the dealer, and an eye on all."""

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from tallystick.job import Job, paths
from tallystick.local.display import Display
from tallystick.local.failures import Failure, died, root_cause
from tallystick.local.processes import Line, Process, environment, stop
from tallystick.local.record import Record, parse
from tallystick.local.results import Summary, publish
from tallystick.local.runners import Containers, Processes, Runner
from tallystick.local.workspace import DEALER_LOG, PARTY_LOG, Workspace
from tallystick.runtime.configuration import JSON

# How long the other parties may take to tell their own side of a failure.
GRACE_S = 10.0
# How long a process may take to end when it is asked to.
PATIENCE_S = 3.0
POLL_S = 0.1
# These events say something that a table of progress does not.
REMARKS = ("warning", "failed", "exited")


def run(
    job: Job,
    out: Path,
    console: Console | None = None,
    *,
    containers: bool = False,
    retries: int = 0,
) -> Summary:
    """Run a job to its end, and leave no process behind.

    Args:
        job: the checked job.
        out: the folder for the results; a new or empty one, or that of an earlier run, whose
            results are moved aside until this one has succeeded.
        console: where progress is shown; standard output by default.
        containers: whether each step is a container instead of a process.
        retries: how often a step that was killed, or that lost a peer, is started anew.

    Returns:
        How it went. A failed run returns too, with its error.

    Raises:
        ConfigError: ``out``, or the container engine, cannot be used, or what the job reads is of
            the results that it would replace. Nothing was started or removed.
    """
    workspace = Workspace(out, (*job.parties, job.dealer))
    try:
        kind = Containers if containers else Processes
        runner = kind(job, workspace, retries)
        workspace.begin(
            (party, name, path)
            for party in job.parties
            for name, path in paths(job.arguments(party))
        )
        addresses = runner.addresses((*job.parties, job.dealer))
        workspace.found_consortium(job.parties, job.dealer, addresses)
        record = Record([*job.parties], job.package.steps, retrying=retries > 0)
        with (
            _interrupts() as interrupted,
            runner,
            Display(console or Console(), record, [*job.parties]) as display,
        ):
            error = _Supervisor(
                job, workspace, record, display, runner, retries, interrupted
            ).watch()
        summary = publish(job, record, workspace, error)
        if error is None:
            workspace.forget_previous()
        return summary
    finally:
        workspace.close()


class _Supervisor:
    def __init__(
        self,
        job: Job,
        workspace: Workspace,
        record: Record,
        display: Display,
        runner: Runner,
        retries: int,
        interrupted: Callable[[], int],
    ) -> None:
        self._job, self._workspace = job, workspace
        self._record, self._display, self._runner = record, display, runner
        self._interrupted, self._retries = interrupted, retries
        self._lines: queue.Queue[Line] = queue.Queue()

    def watch(self) -> Failure | None:
        """Start everybody, follow them to the end, and say what went wrong, if anything."""
        with ExitStack() as stack:
            processes: dict[str, Process] = {}
            stack.callback(lambda: stop(processes.values(), PATIENCE_S))
            for name in (self._job.dealer, *self._job.parties):
                processes[name] = self._start(name)
            deadline = float("inf")
            running = dict(processes)
            # A party that has said why it failed may be telling the others; once all know, it
            # need not go on.
            while self._unheard(running) and time.monotonic() < deadline:
                if number := self._interrupted():
                    self._record.stop()
                    return _interruption(number)
                self._listen(POLL_S)
                for name in [n for n, process in running.items() if process.returncode is not None]:
                    self._ended(running.pop(name))
                if self._record.failures:
                    deadline = min(deadline, time.monotonic() + GRACE_S)
            self._record.stop()
        return root_cause(self._record.failures)

    def _unheard(self, running: Iterable[str]) -> bool:
        heard = {self._job.dealer, *(failure.party for failure in self._record.failures)}
        return any(name not in heard for name in running)

    def _start(self, name: str) -> Process:
        job, workspace = self._job, self._workspace
        folder = workspace.of(name)
        env = environment(folder, len(job.parties))
        if name == job.dealer:
            command = self._runner.dealer(env)
        else:
            arguments = {
                **self._instead_of_claims(folder),
                **job.arguments(name),
                "party": name,
                "session": job.session,
                "consortium": str(workspace.consortium),
                "identity": str(workspace.identity(name)),
            }
            command = self._runner.party(name, arguments, env)
        return Process(
            name,
            command,
            env=env,
            folder=folder,
            log=folder / (DEALER_LOG if name == job.dealer else PARTY_LOG),
            lines=self._lines,
        )

    def _instead_of_claims(self, folder: Path) -> dict[str, JSON]:
        """Return the parameters whose defaults are for a cluster, where a claim is mounted."""
        kept = folder / "pipeline" / "checkpoints"
        instead = {"checkpoints": str(kept) if self._retries else ""}
        return {key: value for key, value in instead.items() if key in self._job.package.inputs}

    def _listen(self, timeout_s: float) -> None:
        """Take in the lines that have come, waiting a moment for the first."""
        while True:
            try:
                line = self._lines.get(timeout=timeout_s)
            except queue.Empty:
                return
            timeout_s = 0.0
            if event := parse(line.text):
                words = self._record.take(line.name, event)
                step = str(event.get("step") or self._record.current(line.name))
                self._display.tell(line.name, step, words, always=event["event"] in REMARKS)

    def _ended(self, process: Process) -> None:
        """Take in a process's last lines, and what its end means if they do not say."""
        process.reap()
        self._listen(0.0)
        code = process.returncode or 0
        name = process.name
        if name == self._job.dealer:
            # The dealer serves until it is told to stop: any other end is a failure.
            step = "dealer"
            words = self._record.fail(died(name, step, code, f"{name}/{DEALER_LOG}"))
        else:
            step = self._record.current(name)
            words = self._record.ended(name, step, code)
        self._display.tell(name, step, words, always=True)


@contextmanager
def _interrupts() -> Iterator[Callable[[], int]]:
    """Note Ctrl-C and requests to end, instead of dying of them; yields a look at the last one."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(n, lambda number, _: came.append(number)) for n in numbers]
    try:
        yield lambda: came[-1] if came else 0
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _interruption(number: int) -> Failure:
    return Failure(
        party="",
        step="",
        kind="Interrupted",
        message=f"the run was interrupted by {signal.Signals(number).name}; all processes ended",
        exit_code=128 + number,
    )
