"""What will a computation ask for next? What followed when it asked for the same things before.

Training loops repeat their requests, so the dealer can be asked ahead and the parties seldom wait.
All parties see the same requests in the same order, hence make the same guesses, and number the
requests alike without a word. A wrong guess costs the dealer's work for it and nothing else: its
random numbers are used by nobody.

Where to look is decided anew only when a guess was wrong. So a loop foresees the end of an epoch,
with its shorter last batch, from the third one on.
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
        if self._next is not None and self._history[self._next] == self._history[-1]:
            self._next += 1
        else:
            self._next = self._follower.get(context)
        self._follower[context] = len(self._history)

    def guess(self, steps: int) -> Hashable | None:
        """Return the item expected after ``steps`` further ones; None without a precedent."""
        if self._next is None:
            return None
        period = len(self._history) - self._next
        return self._items[self._history[self._next + steps % period]]
