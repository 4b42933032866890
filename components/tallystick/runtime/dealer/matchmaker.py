"""The dealer's part of aided PSI: which pseudonyms did every party send?

See ``tallystick/psi/aided.py`` for the protocol. A request names the number of pseudonyms in each
range; the pseudonyms follow as raw bytes, range by range, and are read one range of each party at a
time. What is answered for a range is one bit for each pseudonym. Bits wait here until as many match
as the parties ask for at least; from then on they go out as they are found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tallystick.runtime.dealer import intersection
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.mesh import Mesh

MAX_PSEUDONYMS = 1 << 30


@dataclass(frozen=True, slots=True)
class MatchRequest:
    """What one party asks for."""

    counts: tuple[int, ...]
    """How many pseudonyms it has in each range."""
    minimum: int
    """With fewer matches nobody learns anything more."""
    bits_to: tuple[str, ...]
    """Who learns which of its own pseudonyms match."""
    number_to: tuple[str, ...]
    """Who learns how many match."""

    @property
    def joint(self) -> tuple[object, ...]:
        """What must be the same in every party's request."""
        return len(self.counts), self.minimum, self.bits_to, self.number_to


def decode(content: Any, party: str, parties: Sequence[str]) -> MatchRequest:
    """Check a request.

    Raises:
        ProtocolViolation: it is of another form, or asks for more than the dealer serves.
    """

    def names(value: Any) -> bool:
        return isinstance(value, list) and all(name in parties for name in value)

    match content:
        case {
            "counts": [*counts],
            "minimum": minimum,
            "bits_to": bits_to,
            "number_to": number_to,
            **rest,
        } if (
            not rest
            and type(minimum) is int
            and minimum >= 0
            and 0 < len(counts) <= intersection.MAX_RANGES
            and all(type(count) is int for count in counts)
            and all(0 <= count <= intersection.MAX_RANGE_ROWS for count in counts)
            and sum(counts) <= MAX_PSEUDONYMS
            and len(counts) & (len(counts) - 1) == 0
            and names(bits_to)
            and names(number_to)
        ):
            return MatchRequest(tuple(counts), minimum, tuple(bits_to), tuple(number_to))
    raise ProtocolViolation(f"{party!r} sent a matching request that the dealer does not serve")


class Matchmaker:
    """Gathers the requests of a session's parties, and serves them when all are there."""

    def __init__(self, mesh: Mesh, parties: Sequence[str]) -> None:
        self._mesh = mesh
        self._parties = tuple(parties)
        self._requests: dict[str, MatchRequest] = {}

    @property
    def waiting(self) -> set[str]:
        """The parties whose pseudonyms are read when the last request has come."""
        return set(self._requests)

    def take(self, party: str, content: Any) -> bool:
        """Take a party's request; serve if it was the last, and say whether it was.

        Raises:
            ProtocolViolation: a request or pseudonyms that no honest party would send.
        """
        if party in self._requests:
            raise ProtocolViolation(f"{party!r} asked twice for one matching")
        self._requests[party] = decode(content, party, self._parties)
        if len(self._requests) < len(self._parties):
            return False
        requests = [self._requests[name] for name in self._parties]
        self._requests.clear()
        if len({request.joint for request in requests}) != 1:
            raise ProtocolViolation(
                "the parties asked for different matchings: other ranges, minima or receivers"
            )
        self._serve(requests)
        return True

    def _serve(self, requests: Sequence[MatchRequest]) -> None:
        request, matched = requests[0], 0
        held: list[list[np.ndarray]] = []
        for number in range(len(request.counts)):
            tables = self._receive([each.counts[number] for each in requests], number, requests)
            found = intersection.common(tables)
            matched += int(found[0].sum())
            held.append([np.packbits(bits) for bits in found])
            if matched >= request.minimum:
                self._send(held, request)
                held = []
        enough = matched >= request.minimum
        for party in self._parties:
            told = matched if enough and party in request.number_to else None
            self._mesh.post_message(party, {"enough": enough, "matched": told})
        self._mesh.wait()

    def _receive(
        self, counts: Sequence[int], number: int, requests: Sequence[MatchRequest]
    ) -> list[intersection.Table]:
        """Read one range of every party."""
        shape = intersection.PSEUDONYM_BYTES
        tables = [np.empty((count, shape), dtype=np.uint8) for count in counts]
        self._mesh.wait(
            [
                self._mesh.expect(party, table.data.cast("B"))
                for party, table in zip(self._parties, tables, strict=True)
                if len(table)
            ]
        )
        for party, table in zip(self._parties, tables, strict=True):
            fault = intersection.fault(table, number, len(requests[0].counts))
            if fault is not None:
                raise ProtocolViolation(f"{party!r} sent {fault}")
        return tables

    def _send(self, ranges: Sequence[Sequence[np.ndarray]], request: MatchRequest) -> None:
        for packed in ranges:
            for party, bits in zip(self._parties, packed, strict=True):
                if party in request.bits_to and len(bits):
                    self._mesh.post(party, bits.data)
