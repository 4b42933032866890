"""An engine without peers: it computes one party's part on nothing, and counts what that costs.

What the parties do depends on public shapes alone, never on values. So a rehearsal with noughts
takes the same rounds, sends as many bytes and asks the dealer for the same as the session will.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tallystick.runtime.adaptation import world
from tallystick.runtime.dealer.correlations import Correlation, Mask, Part, deal
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.randomness import Stream, new_key


@dataclass(kw_only=True, slots=True)
class Cost:
    """What a computation takes at the first party, which alone hears from the dealer."""

    rounds: float = 0
    """How often it waits for the other parties."""
    sent_bytes: float = 0
    """To all other parties together; as many come from them."""
    dealer_bytes: float = 0
    """From the dealer."""
    compute_s: float = 0
    """Processor time of the party, on this machine."""
    dealer_s: float = 0
    """Processor time of the dealer, on this machine; it computes beside the parties."""

    def plus(self, other: "Cost", times: float = 1) -> "Cost":
        """Return the sum with another cost, so many times."""
        names = Cost.__slots__
        return Cost(**{n: getattr(self, n) + times * getattr(other, n) for n in names})


class Rehearsal(Engine):
    """The first party's engine, alone; use it as a context.

    Args:
        world_size: how many parties there will be.
    """

    def __init__(self, world_size: int) -> None:
        self.rank, self.world_size = 0, world_size
        self.cost = Cost()
        self._keys = [new_key() for _ in range(world_size)]
        self.context = Context(
            rank=0,
            world_size=world_size,
            obtain=self._obtain,
            mask=self._mask,
            open_sums=self._opened,
            open_xors=self._opened,
        )

    def __enter__(self) -> Self:
        self._began = time.process_time()
        self._world = world.computing(self)
        self._world.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._world.__exit__(None, None, None)

    def take(self) -> Cost:
        """Return the cost since the beginning, or since this was last asked."""
        now = time.process_time()
        cost, self.cost = self.cost, Cost()
        cost.compute_s = now - self._began - cost.dealer_s
        self._began = now
        return cost

    def open(self, secret: Secret, receivers: Sequence[int]) -> Tensor | None:
        """Count an opening; what is opened is nought."""
        self._opened([secret.share])
        return torch.zeros(secret.share.shape, dtype=torch.float64) if 0 in receivers else None

    def _mask(self, part: Part) -> Mask:
        return Mask(part, 0, part.draw(Stream(self._keys[0], 0)))

    def _obtain(self, request: Correlation, operands: Sequence[Mask] = ()) -> list[Tensor]:
        request.check()
        begin = time.process_time()
        derived = deal(request, self._streams(), [self._streams() for _ in operands])
        self.cost.dealer_s += time.process_time() - begin
        self.cost.dealer_bytes += 8 * sum(part.elements for part in request.derived)
        own = Stream(self._keys[0], 0)
        return [part.draw(own) for part in request.masks] + derived

    def _streams(self) -> list[Stream]:
        return [Stream(key, 0) for key in self._keys]

    def _opened(self, shares: Sequence[Tensor]) -> list[Tensor]:
        self.cost.rounds += 1
        self.cost.sent_bytes += 8 * (self.world_size - 1) * sum(share.numel() for share in shares)
        totals = [share.clone() for share in shares]
        for total, share in zip(totals, shares, strict=True):
            for _ in range(self.world_size - 1):  # it costs time to add the others' shares
                total += share
        return totals
