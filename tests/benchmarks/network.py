"""A slow network on this machine: how an operation's time grows with the delay between members."""

import queue
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tallystick.runtime.session import Session

from tests.benchmarks.operations import OPERATIONS
from tests.harness import DEALER, Place, Process, dealer, make_place, run_parties
from tests.slow_net import Host

DELAYS_S = (0.0, 0.0005, 0.005, 0.025)
"""One way; the time there and back is twice that."""
BYTES_PER_S = 125e6
REPEATS = 12
NAMES = ("mul 100x100", "matmul 100x100", "relu 100x100", "sigmoid 100x100")


class SlowProxy:
    """Stands at a member's address and passes bytes on to its back door, late and not too fast."""

    def __init__(self, place: Place, name: str, delay_s: float, bytes_per_s: float) -> None:
        self._target = ("127.0.0.1", place.doors[name])
        self._delay_s = delay_s
        self._bytes_per_s = bytes_per_s
        self._listener = socket.create_server(("127.0.0.1", place.load().member(name).port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:  # the member does not listen yet; whoever dialled will try again
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                threading.Thread(target=self._read, args=(source, pieces), daemon=True).start()
                threading.Thread(target=self._write, args=(sink, pieces), daemon=True).start()

    def _read(self, source: socket.socket, pieces: Any) -> None:
        free = 0.0
        content = b"-"
        while content:
            try:
                content = source.recv(1 << 16)
            except OSError:
                content = b""
            free = max(free, time.monotonic()) + len(content) / self._bytes_per_s
            pieces.put((free + self._delay_s, content))

    def _write(self, sink: socket.socket, pieces: Any) -> None:
        while True:
            due, content = pieces.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not content:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(content)
            except OSError:
                return


@contextmanager
def slow_place(
    folder: Path, delay_s: float, hosts: Mapping[str, Host] | None = None
) -> Iterator[tuple[Place, Process]]:
    """Run a dealer, and a slow proxy at every address that somebody dials; none without a delay."""
    place = make_place(folder, proxied=("alice", DEALER) if delay_s else (), hosts=hosts)
    proxies = [SlowProxy(place, name, delay_s, BYTES_PER_S) for name in place.doors]
    try:
        with dealer(place) as served:
            yield place, served
    finally:
        for proxy in proxies:
            proxy.close()


def run(delays_s: Sequence[float] = DELAYS_S) -> dict[str, tuple[int, list[float]]]:
    """Return for each operation its rounds and its median seconds at each delay."""
    measured: dict[str, tuple[int, list[float]]] = {name: (0, []) for name in NAMES}
    for delay_s in delays_s:
        with tempfile.TemporaryDirectory() as folder, slow_place(Path(folder), delay_s) as far:
            outcome = run_parties(far[0], _party, timeout_s=300)["alice"]
        if isinstance(outcome, BaseException):
            raise outcome
        for name, (rounds, seconds) in outcome.items():
            measured[name] = (rounds, [*measured[name][1], seconds])
    return measured


def _party(session: Session) -> dict[str, tuple[int, float]]:
    return {name: _measure(session, name) for name in NAMES}


def _measure(session: Session, name: str) -> tuple[int, float]:
    left, right, operation = OPERATIONS[name]
    inputs = [
        session.engine.share(torch.randn(shape) if session.rank == 0 else None, 0, shape)
        for shape in (left, right)
        if shape is not None
    ]
    rounds, seconds = [], []
    for _ in range(REPEATS):
        before, start = session.rounds, time.perf_counter()
        operation(*inputs)
        seconds.append(time.perf_counter() - start)
        rounds.append(session.rounds - before)
    # By now the dealer is asked ahead, as in any loop.
    half = REPEATS // 2
    return round(statistics.median(rounds[half:])), statistics.median(seconds[half:])
