"""An engine without peers: it computes one party's part on nothing, and counts what that costs.

What the parties do depends on public shapes alone, never on values. So a rehearsal with noughts
takes the same rounds, sends as many bytes and asks the dealer for the same as the session will.
"""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from tallystick.runtime.adaptation import world
from tallystick.runtime.dealer.correlations import (
    Correlation,
    Drawn,
    Mask,
    Part,
    Taken,
    deal,
    source,
)
from tallystick.runtime.dealer.foresight import Count, Foresight, Step
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.frames import HEADER
from tallystick.runtime.orders import NATURAL, Selection
from tallystick.runtime.process_group import payload
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.randomness import Stream, new_key

# What the links add to a member's processor time: what trainings took on two quiet cores, with two
# and three parties, beyond what they rehearsed. It is far more than where they do nothing else
# than open: whoever waited finds the caches full of what the others did meanwhile. Another machine,
# or this one while its host is busy, takes so much more or less: see _pace.
_PACE_S = 1.33e-5
_ROUND_S = 7e-5
_PEER_S = 1.6e-4
"""For each peer in a round."""
_REQUEST_S = 7e-5
_BYTE_S = 1.5e-9
"""To send and receive it among the parties, or to receive it from the dealer."""
_TURN_S = 1.5e-4
"""In a round, how long whoever is first waits for the last, where all share a machine."""
_TURNS = 4
"""From the third turn of a loop on nothing is asked of the dealer in vain."""
_REPEATS = 16
"""What is asked ahead spans fewer batches."""


@dataclass(kw_only=True, slots=True)
class Cost:
    """What a computation takes at the first party, which alone hears from the dealer."""

    rounds: float = 0
    """How often it waits for the other parties."""
    waits: float = 0
    """How often it waits for the dealer, which it could not ask in time."""
    sent_bytes: float = 0
    """To all other parties together; as many come from them."""
    dealer_bytes: float = 0
    """From the dealer."""
    compute_s: float = 0
    """Processor time of the party, on this machine."""
    dealer_s: float = 0
    """Processor time of the dealer, on this machine; it computes beside the parties."""
    turns_s: float = 0
    """What rounds take on top where all share this machine, which gives them turns as it likes."""

    def plus(self, other: "Cost", times: float = 1) -> "Cost":
        """Return the sum with another cost, so many times."""
        names = Cost.__slots__
        return Cost(**{n: getattr(self, n) + times * getattr(other, n) for n in names})


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Some part of a computation that repeats itself."""

    cost: Cost
    steps: list[Step]
    """What it asks of the dealer."""
    times: float = 1
    """How often it comes in a turn of the loop."""
    dealt_s: dict[Correlation, float] = field(default_factory=dict)
    """How long the dealer takes for each."""


class Rehearsal(Engine):
    """The first party's engine, alone; use it as a context.

    Args:
        world_size: how many parties there will be.
    """

    def __init__(self, world_size: int) -> None:
        self.rank, self.world_size = 0, world_size
        self._cost = Cost()
        self._steps: list[Step] = []
        self._dealt_s: dict[Correlation, float] = {}
        self._masks = self._masks_before = Count(0, 0)
        self._dealing_s = 0.0
        self._keys = [new_key() for _ in range(world_size)]
        self.context = Context(
            rank=0,
            world_size=world_size,
            obtain=self._obtain,
            mask=self._mask,
            reserve=self._reserve,
            take=self._take,
            foretell=lambda coming: None,
            open_sums=self._opened,
            open_xors=self._opened,
        )

    def __enter__(self) -> Self:
        # More threads would wait for each other, and that counts as processor time too.
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self._pace = _pace()
        self._began = time.process_time()
        self._world = world.computing(self)
        self._world.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._world.__exit__(None, None, None)
        torch.set_num_threads(self._threads)

    def spent(self, times: float = 1) -> Stretch:
        """Return what was computed since the beginning, or since this was last asked."""
        cost, steps = self._cost, self._steps
        dealt_s = self._dealt_s
        self._cost, self._steps, self._dealt_s = Cost(), [], {}
        now = time.process_time()
        cost.compute_s += now - self._began - self._dealing_s
        cost.dealer_s += self._dealing_s
        self._began, self._dealing_s = now, 0.0
        return Stretch(cost=cost, steps=steps, times=times, dealt_s=dealt_s)

    def open(self, secret: Secret, receivers: Sequence[int]) -> Tensor | None:
        """Count an opening; what is opened is nought."""
        self._opened([secret.share])
        return torch.zeros(secret.share.shape, dtype=torch.float64) if 0 in receivers else None

    def _mask(self, part: Part) -> Mask:
        return Mask(Drawn(self._reserve()), part.draw(Stream(self._keys[0], 0)))

    def _reserve(self) -> int:
        self._masks = self._masks.plus(Count(1, 0))
        return self._masks.drawn - 1

    def _take(self, table: int, rows: Selection, width: int) -> Mask:
        self._masks = self._masks.plus(Count(0, 1))
        name = Taken(self._masks.taken - 1, table, rows)
        return Mask(name, Part((rows.count, width)).draw(source(self._keys[0], name)))

    def _obtain(self, request: Correlation, operands: Sequence[Mask] = ()) -> list[Tensor]:
        request.check()
        ago = tuple(self._masks.ago(mask.name) for mask in operands)
        self._steps.append(Step(request, self._masks.minus(self._masks_before), ago))
        self._masks_before = self._masks
        begin = time.process_time()
        sources = [[source(key, mask.name) for key in self._keys] for mask in operands]
        derived = deal(request, self._streams(), sources)
        dealing_s = time.process_time() - begin
        self._dealing_s += dealing_s
        self._cost.dealer_bytes += request.derived_bytes
        links_s = self._pace * (_REQUEST_S + _BYTE_S * request.derived_bytes)
        self._cost.compute_s += links_s
        self._cost.dealer_s += links_s
        self._dealt_s[request] = dealing_s + links_s
        own = Stream(self._keys[0], 0)
        return [part.draw(own) for part in request.masks] + derived

    def _streams(self) -> list[Stream]:
        return [Stream(key, 0) for key in self._keys]

    def _opened(self, shares: Sequence[Tensor]) -> list[Tensor]:
        peers = self.world_size - 1
        sent_bytes = peers * sum(HEADER.size + payload(share).nbytes for share in shares)
        self._cost.rounds += 1
        self._cost.sent_bytes += sent_bytes
        links_s = _ROUND_S + peers * _PEER_S + _BYTE_S * sent_bytes
        self._cost.compute_s += self._pace * links_s
        self._cost.turns_s += self._pace * _TURN_S
        totals = [share.clone() for share in shares]
        for total, share in zip(totals, shares, strict=True):
            for _ in range(peers):  # it costs time to add the others' shares
                total += share
        return totals


def _pace() -> float:
    """Return how much longer this machine takes for small work than where costs were measured."""
    key, found = new_key(), []
    for _ in range(9):
        begin = time.process_time()
        for number in range(100):
            Stream(key, number).elements((16,))
        found.append((time.process_time() - begin) / 100)
    return statistics.median(found) / _PACE_S


def of_loop(stretches: Sequence[Stretch], turns: int) -> Cost:
    """Return the cost of a loop, with what is asked of the dealer ahead and in vain.

    Args:
        stretches: one turn.
        turns: how many.
    """
    turn = Cost()
    for stretch in stretches:
        turn = turn.plus(stretch.cost, stretch.times)
    total = Cost().plus(turn, turns)
    surplus = _surplus(stretches, min(turns, _TURNS))
    for number in range(turns):
        # The last turn asks less ahead: nobody foretells what follows it.
        alike = min(number, len(surplus) - 2) if number < turns - 1 else -1
        total.waits += surplus[alike].waits
        total.dealer_bytes += surplus[alike].dealer_bytes
        total.dealer_s += surplus[alike].dealer_s
    return total


def _surplus(stretches: Sequence[Stretch], turns: int) -> list[Cost]:
    """Return for each turn what the dealer sends in vain, and how often it is waited for.

    What is asked ahead spans few repetitions: of a stretch with many, some are as good as all.
    """
    turn = [
        step
        for stretch in stretches
        for step in stretch.steps * min(math.ceil(stretch.times), _REPEATS)
    ]
    dealt_s = {request: s for stretch in stretches for request, s in stretch.dealt_s.items()}
    foresight = Foresight(dict(enumerate(_taken(turn * turns))).get)
    masks, found = Count(0, 0), []
    for _ in range(turns):
        cost = Cost()
        for step in turn:
            masks = masks.plus(step.since)
            names = foresight.names(masks, step.ago)
            assert names is not None
            asked = []
            if not foresight.needs(step.request, names, masks):
                cost.waits += 1
                asked.append(step.request)
            asked += [wanted for wanted, _ in foresight.ahead()]
            cost.dealer_bytes += sum(wanted.derived_bytes for wanted in asked)
            cost.dealer_bytes -= step.request.derived_bytes
            cost.dealer_s += sum(dealt_s[wanted] for wanted in asked) - dealt_s[step.request]
        found.append(cost)
    return found


def _taken(steps: Sequence[Step]) -> Iterator[Taken]:
    """Return what the steps take of masked tables: as many rows as they do, whichever."""
    number = 0
    for step in steps:
        for _ in range(step.since.taken):
            rows = max(ago.rows for ago in step.ago)
            yield Taken(number, 0, Selection(rows, NATURAL, 0, rows))
            number += 1
