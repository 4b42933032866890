"""What is asked of the dealer before anybody needs it, so that the parties seldom wait for it.

A request names its operands' masks by number. Asked ahead, it names the masks that will have been
drawn by then: a loop draws as many each time, so a mask is told by how many masks ago it was drawn.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.runtime.dealer.correlations import Correlation
from tallystick.runtime.dealer.prediction import Predictor

MAX_AHEAD = 64
"""The most requests that are under way before anybody needs them."""
MAX_AHEAD_BYTES = 64 << 20

Wanted = tuple[Correlation, tuple[int, ...]]
"""A request, and the numbers of its operands' masks."""


@dataclass(frozen=True, slots=True)
class Step:
    """A request as it repeats itself in a loop: what a prediction is made of."""

    request: Correlation
    drawn: int
    """How many masks were drawn since the request before."""
    ago: tuple[int, ...]
    """How many masks ago its operands were drawn."""


class Foresight:
    """Knows what is under way, and decides what else to ask for."""

    def __init__(self) -> None:
        self._predictor = Predictor()
        self._under_way: deque[Wanted] = deque()
        self._bytes = 0
        self._masks = 0
        """How many masks were drawn at the request that was needed last."""
        self._masks_ahead = 0
        """How many there will be at the last request that is under way."""

    def needs(self, request: Correlation, operands: Sequence[int], masks: int) -> bool:
        """Take note of what is needed now, and say whether it is under way as the next.

        If it is not, whatever is under way was a wrong guess, and is dropped as it comes.

        Args:
            request: what is needed.
            operands: the numbers of its operands' masks.
            masks: how many masks were drawn so far.
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
        ago = tuple(masks - number for number in operands)
        self._predictor.record(Step(request, masks - self._masks, ago))
        self._masks = masks
        return known

    def ahead(self) -> list[Wanted]:
        """Return what to ask for before it is needed."""
        if len(self._under_way) > MAX_AHEAD // 2:
            return []
        asked: list[Wanted] = []
        while len(self._under_way) < MAX_AHEAD and self._bytes <= MAX_AHEAD_BYTES:
            guess = self._predictor.guess(len(self._under_way))
            if not isinstance(guess, Step):
                break
            masks = self._masks_ahead + guess.drawn
            if any(masks < ago for ago in guess.ago):
                break
            self._masks_ahead = masks
            self._bytes += guess.request.derived_bytes
            asked.append((guess.request, tuple(masks - ago for ago in guess.ago)))
            self._under_way.append(asked[-1])
        return asked
