"""Which rows were taken of masked tables, and which will be.

A training knows long before which rows it takes when, for the order of its batches is public. What
it foretells is asked of the dealer ahead (foresight.py).
"""

from collections import deque
from collections.abc import Iterable, Iterator

from tallystick.runtime.dealer.correlations import Taken
from tallystick.runtime.orders import Selection

_REMEMBERED = 64
"""How many of the last ones a request that repeats itself may name."""


class Takes:
    """Numbers what is taken, in one session."""

    def __init__(self) -> None:
        self.count = 0
        """How many were taken so far."""
        self._known: deque[Taken] = deque()
        self._coming: Iterator[tuple[int, Selection]] = iter(())

    def foretell(self, coming: Iterable[tuple[int, Selection]]) -> None:
        """Say which rows of which table will be taken from now on, in this order."""
        while self._known and self._known[-1].number >= self.count:
            self._known.pop()
        self._coming = iter(coming)

    def take(self, table: int, rows: Selection) -> Taken:
        """Take some rows of a table.

        Raises:
            ValueError: others were foretold.
        """
        taken = Taken(self.count, table, rows)
        foretold = self.get(self.count)
        if foretold is None:
            self._known.append(taken)
        elif foretold != taken:
            raise ValueError("other rows are taken than were foretold")
        self.count += 1
        while self._known[0].number < self.count - _REMEMBERED:
            self._known.popleft()
        return taken

    def get(self, number: int) -> Taken | None:
        """Return one by its number; None if nobody knows, or remembers."""
        while (self._known[-1].number if self._known else self.count - 1) < number:
            following = next(self._coming, None)
            if following is None:
                return None
            last = self._known[-1].number if self._known else self.count - 1
            self._known.append(Taken(last + 1, *following))
        first = self._known[0].number if self._known else number + 1
        return self._known[number - first] if number >= first else None
