"""A party's side of the dealer: draw one's own shares, and as P0 take what the dealer sends."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tallystick.runtime.dealer.correlations import MASKS, Correlation, Mask, Part
from tallystick.runtime.dealer.foresight import Foresight, Wanted
from tallystick.runtime.dealer.matches import Matching
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.frames import Receipt
from tallystick.runtime.mesh import Mesh
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
        self._kinds: dict[Correlation, int] = {}
        self._foresight = Foresight()
        self._under_way: deque[_Asked] = deque()

    def mask(self, part: Part) -> Mask:
        """Draw this party's share of a fresh mask; the dealer need not know yet."""
        number = self._masks
        self._masks += 1
        return Mask(part, number, part.draw(Stream(self._key, MASKS + number)))

    def obtain(self, request: Correlation, operands: Sequence[Mask] = ()) -> list[Tensor]:
        """Return this party's shares of the request's masks and derived values, in order.

        Args:
            request: what is asked for.
            operands: the masks of its operands, each of as many elements as the request says.
        """
        if request not in self._kinds:
            request.check()
        numbers = tuple(mask.number for mask in operands)
        if not self._foresight.needs(request, numbers, self._masks):
            self._under_way = self._ask([(request, numbers)])
        asked = self._under_way.popleft()
        self._under_way += self._ask(self._foresight.ahead())
        stream = Stream(self._key, asked.number)
        masks = [part.draw(stream) for part in request.masks]  # while the dealer computes
        if self._rank != 0:
            return masks + [part.draw(stream) for part in request.derived]
        if not all(receipt.done for receipt in asked.receipts):
            self._mesh.wait(asked.receipts, counted=False)
        return masks + asked.derived

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
            named = [[self._name(request), *operands] for request, operands in requests]
            self._mesh.post_message(self._dealer, {"deal": named})
        return asked

    def _name(self, request: Correlation) -> int | dict[str, Any]:
        """Describe a request once; later its number among those described is enough."""
        if request in self._kinds:
            return self._kinds[request]
        self._kinds[request] = len(self._kinds)
        return request.encode()

    def keep(self) -> None:
        """Tell the dealer that the session goes on, though nothing is asked for."""
        if self._rank == 0:
            self._mesh.post_message(self._dealer, {"deal": []})

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
