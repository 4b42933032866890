"""A party's side of the dealer: draw one's own shares, and as P0 take what the dealer sends."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tallystick.runtime.dealer.correlations import Correlation
from tallystick.runtime.dealer.matches import Matching
from tallystick.runtime.dealer.prediction import Predictor
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.frames import Receipt
from tallystick.runtime.mesh import Mesh
from tallystick.runtime.process_group import payload
from tallystick.runtime.randomness import KEY_BYTES, Stream

MAX_AHEAD = 64
"""The most requests that are under way before anybody needs them."""
MAX_AHEAD_BYTES = 64 << 20


@dataclass(slots=True)
class _Asked:
    """A request under way: its stream's number, and at P0 what the dealer sends."""

    request: Correlation
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
        self._kinds: dict[Correlation, int] = {}
        self._predictor = Predictor()
        self._ahead: deque[_Asked] = deque()
        self._ahead_bytes = 0

    def obtain(self, request: Correlation) -> list[Tensor]:
        """Return this party's shares of the request's masks and derived values, in order."""
        if request not in self._kinds:
            request.check()
        if self._ahead and self._ahead[0].request == request:
            asked = self._ahead.popleft()
            self._ahead_bytes -= _derived_bytes(request)
        else:  # a wrong guess, or none: what is under way is read and dropped as it comes
            self._ahead.clear()
            self._ahead_bytes = 0
            (asked,) = self._ask([request])
        self._predictor.record(request)
        self._ask_ahead()
        stream = Stream(self._key, asked.number)
        masks = [part.draw(stream) for part in request.masks]  # while the dealer computes
        if self._rank != 0:
            return masks + [part.draw(stream) for part in request.derived]
        if not all(receipt.done for receipt in asked.receipts):
            self._mesh.wait(asked.receipts)
        return masks + asked.derived

    def _ask_ahead(self) -> None:
        if len(self._ahead) > MAX_AHEAD // 2:
            return
        requests: list[Correlation] = []
        while len(self._ahead) + len(requests) < MAX_AHEAD:
            guess = self._predictor.guess(len(self._ahead) + len(requests))
            if not isinstance(guess, Correlation):
                break
            self._ahead_bytes += _derived_bytes(guess)
            requests.append(guess)
            if self._ahead_bytes > MAX_AHEAD_BYTES:
                break
        if requests:
            self._ahead.extend(self._ask(requests))

    def _ask(self, requests: list[Correlation]) -> list[_Asked]:
        """Number the requests; as P0 send them and be ready for what comes."""
        asked = []
        for request in requests:
            derived, receipts = [], []
            if self._rank == 0:
                derived = [torch.empty(part.shape, dtype=torch.int64) for part in request.derived]
                receipts = [
                    self._mesh.expect(self._dealer, payload(t)) for t in derived if t.numel()
                ]
            asked.append(_Asked(request, self._number, derived, receipts))
            self._number += 1
        if self._rank == 0:
            self._mesh.post_message(self._dealer, {"deal": [self._name(r) for r in requests]})
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


def _derived_bytes(request: Correlation) -> int:
    return 8 * sum(part.elements for part in request.derived)


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
