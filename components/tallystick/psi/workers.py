"""Several processes for a party's work, or this one where one is enough.

A worker is ``python -m tallystick.psi.worker``: it loads what the tasks need and nothing else, and
ends when its standard input does, so that none outlives this process. Work and results are frames:
the length of a JSON header and of a payload, 4 and 8 bytes big-endian, then both.
"""

import contextlib
import json
import os
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Self

import tallystick
from tallystick.psi.tasks import TASKS, Work

WORTH_S = 0.5
LENGTHS = struct.Struct("!IQ")


def cores() -> int:
    """Return how many processes may compute at once for this party.

    That is what the platform grants: the variable by which it also limits the threads of
    libraries, or the cores that this process may run on and the quota of its container.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    found = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        found = min(found, max(1, int(quota) // int(period)))
    return found


class Workers:
    """Runs tasks; a context manager.

    Args:
        count: how many processes; with one the work is done here.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._started: list[subprocess.Popen[bytes]] = []
        self._threads: ThreadPoolExecutor | None = None
        self._seconds = 0.0
        """What work was done in this process, as long as there are no others."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            for process in self._started:
                process.kill()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for process in self._started:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
            process.stdout.close()

    def map(self, task: str, works: Iterable[Work]) -> Iterator[Work]:
        """Run a task on each piece of work; the results come in the order of the work.

        The next piece is asked for when there is somebody to do it. Processes are started once the
        work has shown that it is worth it.
        """
        pieces = iter(works)
        while self.count == 1 or self._seconds < WORTH_S:
            work = next(pieces, None)
            if work is None:
                return
            start = time.monotonic()
            done = TASKS[task](work)
            self._seconds += time.monotonic() - start
            yield done
        self._start()
        assert self._threads is not None
        running: deque[Future[Work]] = deque()
        for work in pieces:
            running.append(self._threads.submit(self._run, task, work))
            while len(running) > self.count or (running and running[0].done()):
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    def _start(self) -> None:
        if self._threads is not None:
            return
        self._threads = ThreadPoolExecutor(self.count)
        package = str(Path(tallystick.__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        for _ in range(self.count):
            process = subprocess.Popen(
                [sys.executable, "-m", "tallystick.psi.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
            self._started.append(process)
            self._idle.put(process)

    def _run(self, task: str, work: Work) -> Work:
        process = self._idle.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            send(process.stdin, {"task": task, **work.about}, work.payload)
            received = receive(process.stdout)
        finally:
            self._idle.put(process)
        if received is None:
            raise RuntimeError("a worker process ended before its work")
        return Work(received[1], received[0])


def send(stream: IO[bytes], header: dict[str, object], payload: bytes) -> None:
    """Write one frame."""
    text = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(text), len(payload)))
    stream.write(text)
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, object], bytes] | None:
    """Read one frame; None at the end of the stream."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    header_bytes, payload_bytes = LENGTHS.unpack(lengths)
    header = json.loads(stream.read(header_bytes))
    return header, stream.read(payload_bytes)
