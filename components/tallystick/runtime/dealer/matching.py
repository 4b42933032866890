"""A party's side of the dealer's matching; see ``matchmaker.py`` for the dealer's."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tallystick.runtime.dealer import intersection
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.frames import Receipt
from tallystick.runtime.mesh import Mesh


class Matching:
    """One matching: send pseudonyms range by range, and take in which of them match.

    Args:
        mesh: the session's links.
        dealer: the dealer's name.
        counts: how many pseudonyms this party has in each range; as many ranges at every party.
        minimum: the smallest result that anybody may learn; the same at every party.
        bits_to: names of those who learn which of their own pseudonyms match; likewise.
        number_to: names of those who learn how many match; likewise.
        party: this party's name.
    """

    def __init__(
        self,
        mesh: Mesh,
        dealer: str,
        *,
        counts: Sequence[int],
        minimum: int,
        bits_to: Sequence[str],
        number_to: Sequence[str],
        party: str,
    ) -> None:
        self._mesh = mesh
        self._dealer = dealer
        self._counts = counts
        self._learns_bits = party in bits_to
        self.enough = False
        """Whether at least the minimum match; known at the end."""
        self.matched: int | None = None
        """How many match; None at a party that does not learn it."""
        request = {
            "counts": list(counts),
            "minimum": minimum,
            "bits_to": list(bits_to),
            "number_to": list(number_to),
        }
        mesh.post_message(dealer, {"match": request})

    def run(self, tables: Iterable[intersection.Table]) -> Iterator[intersection.Bits]:
        """Send the pseudonyms.

        Args:
            tables: uint8 [K, 16] for each range, ascending and without duplicates. The next is
                asked for when the last is on its way.

        Yields:
            For each range which of its pseudonyms match, as soon as the dealer says so; nothing
            where this party does not learn it, or where too few match.

        Raises:
            ProtocolViolation: the dealer's answer is of another form.
        """
        end = self._mesh.messages([self._dealer])[self._dealer]
        expected: deque[tuple[int, np.ndarray, Receipt | None]] = deque()
        for table, count in zip(tables, self._counts, strict=True):
            assert len(table) == count
            if self._learns_bits:
                expected.append(self._expect(count))
            if count:
                self._mesh.post(self._dealer, np.ascontiguousarray(table).data.cast("B"))
                self._mesh.wait()
            while expected and (expected[0][2] is None or expected[0][2].done) and not end.done:
                yield _unpacked(*expected.popleft())
        self._mesh.wait([end])
        self._take(end.message, end.ended)
        if self.enough:
            for count, packed, receipt in expected:
                if receipt is not None and not receipt.done:
                    raise self._violation()
                yield _unpacked(count, packed, receipt)

    def _expect(self, count: int) -> tuple[int, np.ndarray, Receipt | None]:
        packed = np.empty((count + 7) // 8, dtype=np.uint8)
        receipt = self._mesh.expect(self._dealer, packed.data) if count else None
        return count, packed, receipt

    def _take(self, message: Any, ended: bool) -> None:
        match message:
            case {"enough": bool(enough), "matched": None | int() as matched, **rest} if (
                not rest and not ended and (matched is None or matched >= 0)
            ):
                self.enough, self.matched = enough, matched
            case _:
                raise self._violation()

    def _violation(self) -> ProtocolViolation:
        return ProtocolViolation(
            f"the dealer {self._dealer!r} sent no proper answer to a matching; "
            "check that it runs the same version of tallystick"
        )


def _unpacked(count: int, packed: np.ndarray, receipt: Receipt | None) -> intersection.Bits:
    return np.unpackbits(packed, count=count).astype(np.bool_)
