"""A party's side of the dealer: draw one's own shares, and as P0 take what the dealer sends."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tallystick.runtime.dealer.correlations import (
    Correlation,
    Drawn,
    Mask,
    Name,
    Part,
    source,
)
from tallystick.runtime.dealer.foresight import Count, Foresight, Wanted
from tallystick.runtime.dealer.matching import Matching
from tallystick.runtime.dealer.requests import encode_name
from tallystick.runtime.dealer.takes import Takes
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.frames import Receipt
from tallystick.runtime.mesh import Mesh
from tallystick.runtime.orders import Selection
from tallystick.runtime.process_group import payload
from tallystick.runtime.randomness import KEY_BYTES, Stream


@dataclass(slots=True)
class _Asked:
    """A request under way: its stream's number, and at P0 what the dealer sends."""

    number: int
    derived: list[Tensor]
    receipts: list[Receipt]


class DealerClient:
    """What a session may ask of the dealer.

    Args:
        mesh: the session's links, the dealer's among them.
        dealer: the dealer's name.
        rank: this party's rank.
    """

    def __init__(self, mesh: Mesh, dealer: str, rank: int) -> None:
        self._mesh = mesh
        self._dealer = dealer
        self._rank = rank
        self._key = _key(mesh.message(dealer), dealer)
        self._number = 0
        self._masks = 0
        self._takes = Takes()
        self._requests: dict[Correlation, Correlation] = {}
        self._kinds: dict[Correlation, int] = {}
        self._foresight = Foresight(self._takes.get)
        self._under_way: deque[_Asked] = deque()

    def mask(self, part: Part) -> Mask:
        """Draw this party's share of a fresh mask; the dealer need not know yet."""
        return self._named(part, Drawn(self.reserve()))

    def reserve(self) -> int:
        """Return the number of a mask that is not drawn at once, but by :meth:`take`."""
        self._masks += 1
        return self._masks - 1

    def take(self, table: int, rows: Selection, width: int) -> Mask:
        """Draw this party's share of some rows of a mask: [rows.count, width]."""
        return self._named(Part((rows.count, width)), self._takes.take(table, rows))

    def foretell(self, coming: Iterable[tuple[int, Selection]]) -> None:
        """Say which rows of which masks will be taken, so that the dealer can be asked ahead."""
        self._takes.foretell(coming)

    def _named(self, part: Part, name: Name) -> Mask:
        return Mask(name, part.draw(source(self._key, name)))

    def obtain(self, request: Correlation, operands: Sequence[Mask] = ()) -> list[Tensor]:
        """Return this party's shares of the request's masks and derived values, in order.

        Args:
            request: what is asked for.
            operands: the masks of its operands, each of as many elements as the request says.
        """
        request = self._known(request)
        names = tuple(mask.name for mask in operands)
        if not self._foresight.needs(request, names, Count(self._masks, self._takes.count)):
            self._under_way = self._ask([(request, names)])
        asked = self._under_way.popleft()
        self._under_way += self._ask(self._foresight.ahead())
        stream = Stream(self._key, asked.number)
        masks = [part.draw(stream) for part in request.masks]  # while the dealer computes
        if self._rank != 0:
            return masks + [part.draw(stream) for part in request.derived]
        if not all(receipt.done for receipt in asked.receipts):
            self._mesh.wait(asked.receipts, counted=False)
        return masks + asked.derived

    def _known(self, request: Correlation) -> Correlation:
        """Return the equal request that was checked, and has its sizes computed."""
        found = self._requests.get(request)
        if found is None:
            request.check()
            found = self._requests[request] = request
        return found

    def _ask(self, requests: Sequence[Wanted]) -> deque[_Asked]:
        """Number the requests; as P0 send them and be ready for what comes."""
        asked: deque[_Asked] = deque()
        for request, _ in requests:
            derived, receipts = [], []
            if self._rank == 0:
                derived = [torch.empty(part.shape, dtype=torch.int64) for part in request.derived]
                receipts = [
                    self._mesh.expect(self._dealer, payload(t)) for t in derived if t.numel()
                ]
            asked.append(_Asked(self._number, derived, receipts))
            self._number += 1
        if requests and self._rank == 0:
            named = [[self._name(request), *map(encode_name, names)] for request, names in requests]
            self._mesh.post_message(self._dealer, {"deal": named})
        return asked

    def _name(self, request: Correlation) -> int | dict[str, Any]:
        """Describe a request once; later its number among those described is enough."""
        if request in self._kinds:
            return self._kinds[request]
        self._kinds[request] = len(self._kinds)
        return request.encode()

    def match(self, counts: Sequence[int], **wanted: Any) -> Matching:
        """Begin a matching of pseudonyms (aided PSI); for the arguments see :class:`Matching`."""
        return Matching(self._mesh, self._dealer, counts=counts, **wanted)


def _key(message: object, dealer: str) -> bytes:
    try:
        key = bytes.fromhex(message["key"])  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ProtocolViolation(f"the dealer {dealer!r} sent no proper key")
    return key


def shapes(*tensors: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return sizes as plain tuples, as requests hold them."""
    return tuple(tuple(int(n) for n in size) for size in tensors)
