"""How far away is a peer? Its clock, the time to it and back, and what goes through per second.

One side measures, the other answers until it hears ``done``. Messages (JSON on the link):

    {"probe": "clock"}             answered by {"clock": seconds since 1970}
    {"probe": "swallow", "bytes": n}   followed by n raw bytes, answered by {"swallowed": n}
    {"probe": "done"}              not answered
"""

import functools
import statistics
import time
from dataclasses import dataclass
from typing import Any

from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.mesh import Mesh

STEP = "doctor"
"""The step in which members probe each other; the dealer serves it to one party alone."""
_PINGS = 21
_PAYLOAD = bytes(8 << 20)
MAX_SWALLOW_BYTES = len(_PAYLOAD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What :func:`measure` found."""

    clock_skew_s: float
    """How far the peer's clock is ahead of ours."""
    round_trip_s: float
    bytes_per_s: float


def measure(mesh: Mesh, peer: str) -> Measurement:
    """Measure the way to a peer that runs :func:`answer`."""
    skews, trips = [], []
    for _ in range(_PINGS):
        sent, start = time.time(), time.perf_counter()
        mesh.post_message(peer, {"probe": "clock"})
        clock = _number(mesh.message(peer), "clock", peer)
        trip = time.perf_counter() - start
        trips.append(trip)
        skews.append(clock - (sent + trip / 2))
    start = time.perf_counter()
    mesh.post_message(peer, {"probe": "swallow", "bytes": len(_PAYLOAD)})
    mesh.post(peer, memoryview(_PAYLOAD))
    _number(mesh.message(peer), "swallowed", peer)
    seconds = time.perf_counter() - start
    mesh.post_message(peer, {"probe": "done"})
    mesh.wait()
    return Measurement(
        clock_skew_s=statistics.median(skews),
        round_trip_s=statistics.median(trips),
        bytes_per_s=len(_PAYLOAD) / seconds,
    )


def answer(mesh: Mesh, peer: str) -> None:
    """Answer a peer's measurement until it is done."""
    while answer_one(mesh, peer, mesh.message(peer)):
        pass


def answer_one(mesh: Mesh, peer: str, message: Any) -> bool:
    """Answer one message; say whether more will come.

    Raises:
        ProtocolViolation: the message is none of the three.
    """
    match message:
        case {"probe": "clock"}:
            mesh.post_message(peer, {"clock": time.time()})
        case {"probe": "swallow", "bytes": int(count)} if 0 < count <= MAX_SWALLOW_BYTES:
            mesh.wait([mesh.expect(peer, _anywhere()[:count])])
            mesh.post_message(peer, {"swallowed": count})
        case {"probe": "done"}:
            return False
        case _:
            raise ProtocolViolation(f"{peer!r} sent no proper probe")
    return True


@functools.cache
def _anywhere() -> memoryview:
    """Return where swallowed bytes go: one place for all that come, since nobody reads it."""
    return memoryview(bytearray(MAX_SWALLOW_BYTES))


def _number(message: Any, name: str, peer: str) -> float:
    value = message.get(name) if isinstance(message, dict) else None
    if not isinstance(value, int | float):
        raise ProtocolViolation(f"{peer!r} answered a probe improperly")
    return float(value)
