"""What is asked of the dealer before anybody needs it, so that the parties seldom wait for it.

A request names its operands' masks. Asked ahead, it names the masks that will have been drawn by
then: a loop draws as many each time, so a mask is told by how many masks ago it was drawn. Rows of
a masked table are told in the same way, by how many takes ago they were taken; which rows that will
be was foretold (takes.py).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from tallystick.runtime.dealer.correlations import Correlation, Drawn, Name, Taken
from tallystick.runtime.dealer.prediction import Predictor

MAX_AHEAD = 64
"""The most requests that are under way before anybody needs them."""
ENOUGH_AHEAD_BYTES = 64 << 20
"""Nothing more is asked for while so much is under way; the last request may go beyond it."""

Wanted = tuple[Correlation, tuple[Name, ...]]
"""A request, and the names of its operands' masks."""


class Count(NamedTuple):
    """How many masks there were up to some request, or between two."""

    drawn: int
    taken: int

    def plus(self, other: Self) -> "Count":
        """Return the sum."""
        return Count(self.drawn + other.drawn, self.taken + other.taken)

    def minus(self, other: Self) -> "Count":
        """Return the difference."""
        return Count(self.drawn - other.drawn, self.taken - other.taken)

    def ago(self, name: Name) -> "Ago":
        """Return how long before this the mask of a name was drawn or taken."""
        if isinstance(name, Drawn):
            return Ago(self.drawn - name.number, 0)
        return Ago(self.taken - name.number, name.rows.count)


class Ago(NamedTuple):
    """How long before a request the mask of an operand was made."""

    masks: int
    """So many of its kind ago."""
    rows: int
    """How many rows were taken; nought where it was drawn."""


@dataclass(frozen=True, slots=True)
class Step:
    """A request as it repeats itself in a loop: what a prediction is made of."""

    request: Correlation
    since: Count
    """How many masks there were since the request before."""
    ago: tuple[Ago, ...]
    """Its operands."""


class Foresight:
    """Knows what is under way, and decides what else to ask for.

    Args:
        taken: the rows of a number, as far as they are known.
    """

    def __init__(self, taken: Callable[[int], Taken | None]) -> None:
        self._taken = taken
        self._predictor = Predictor()
        self._under_way: deque[Wanted] = deque()
        self._bytes = 0
        self._masks = Count(0, 0)
        """How many masks there were at the request that was needed last."""
        self._masks_ahead = Count(0, 0)
        """How many there will be at the last request that is under way."""

    def needs(self, request: Correlation, operands: Sequence[Name], masks: Count) -> bool:
        """Take note of what is needed now, and say whether it is under way as the next.

        If it is not, whatever is under way was a wrong guess, and is dropped as it comes.

        Args:
            request: what is needed.
            operands: the names of its operands' masks.
            masks: how many there were so far.
        """
        wanted = request, tuple(operands)
        known = bool(self._under_way) and self._under_way[0] == wanted
        if known:
            self._under_way.popleft()
            self._bytes -= request.derived_bytes
        else:
            self._under_way.clear()
            self._bytes = 0
            self._masks_ahead = masks
        ago = tuple(masks.ago(name) for name in operands)
        self._predictor.record(Step(request, masks.minus(self._masks), ago))
        self._masks = masks
        return known

    def ahead(self) -> list[Wanted]:
        """Return what to ask for before it is needed."""
        if len(self._under_way) > MAX_AHEAD // 2:
            return []
        asked: list[Wanted] = []
        while len(self._under_way) < MAX_AHEAD and self._bytes < ENOUGH_AHEAD_BYTES:
            guess = self._predictor.guess(len(self._under_way))
            if not isinstance(guess, Step):
                break
            masks = self._masks_ahead.plus(guess.since)
            names = self.names(masks, guess.ago)
            if names is None:
                break
            self._masks_ahead = masks
            self._bytes += guess.request.derived_bytes
            asked.append((guess.request, names))
            self._under_way.append(asked[-1])
        return asked

    def names(self, masks: Count, agos: Sequence[Ago]) -> tuple[Name, ...] | None:
        """Return the masks that were made so long before; None if there are none such."""
        names: list[Name] = []
        for ago, rows in agos:
            if not rows:
                names.append(Drawn(masks.drawn - ago))
            elif (taken := self._taken(masks.taken - ago)) and taken.rows.count == rows:
                names.append(taken)
        fit = len(names) == len(agos) and all(name.number >= 0 for name in names)
        return tuple(names) if fit else None
