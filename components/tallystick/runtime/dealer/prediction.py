"""What will a computation ask for next? What followed when it last asked for the same things.

Training loops repeat their requests, so the dealer can be asked ahead and the parties seldom wait.
All parties see the same requests in the same order, hence make the same guesses, and number the
requests alike without a word. A wrong guess costs the dealer's work for it and nothing else: its
random numbers are used by nobody.
"""

from collections.abc import Hashable

_CONTEXT = 6
_MAX_HISTORY = 1 << 17


class Predictor:
    """Guesses the next items of a sequence that repeats itself."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._names: dict[Hashable, int] = {}
        self._items: list[Hashable] = []
        self._history: list[int] = []
        self._follower: dict[tuple[int, ...], int] = {}
        self._next: int | None = None

    def record(self, item: Hashable) -> None:
        """Take the item that really came."""
        if len(self._history) >= _MAX_HISTORY:
            self._clear()
        if item not in self._names:
            self._names[item] = len(self._items)
            self._items.append(item)
        self._history.append(self._names[item])
        context = tuple(self._history[-_CONTEXT:])
        self._next = self._follower.get(context)
        self._follower[context] = len(self._history)

    def guess(self, steps: int) -> Hashable | None:
        """Return the item expected after ``steps`` further ones; None without a precedent."""
        if self._next is None:
            return None
        period = len(self._history) - self._next
        return self._items[self._history[self._next + steps % period]]
