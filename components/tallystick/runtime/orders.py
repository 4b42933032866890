"""Public orders of rows: the same at every member, and said in a few numbers.

The randomness comes from an agreed seed and hides nothing. It is drawn as raw words of Philox,
keyed by SHA-256 of the purpose and the seed, and sorted. NumPy promises the words of a bit
generator for ever, but not what its ``permutation`` makes of them (NEP 19), and two members may
not differ by a NumPy version.
"""

import hashlib
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NATURAL = ""
"""The key of the order in which rows stand."""
MAX_ROWS = 1 << 26
"""The most rows that an order may have: it takes one core some ten seconds to sort so many."""
_MAX_TABLE_ROWS = 1 << 32
_REMEMBERED = 2
"""Orders that are read batch by batch: that of this epoch, and of the next."""


def key(purpose: str, seed: int) -> str:
    """Return the key of an order: 32 hexadecimal digits, others for each purpose."""
    return hashlib.sha256(f"tallystick {purpose}, seed {seed}".encode()).hexdigest()[:32]


def order(rows: int, key: str) -> NDArray[np.int64]:
    """Return the order of range(rows) that belongs to a key."""
    if key == NATURAL:
        return np.arange(rows)
    coins = np.random.Philox(key=int(key, 16)).random_raw(rows)
    result: NDArray[np.int64] = np.argsort(coins, kind="stable").astype(np.int64)
    return result


class _Memory(threading.local):
    """What each thread remembers; a dealer has one for each session, and forgets it with that."""

    def __init__(self) -> None:
        self._orders: dict[tuple[int, str], NDArray[np.uint32]] = {}

    def order(self, rows: int, key: str) -> NDArray[np.uint32]:
        found = self._orders.get((rows, key))
        if found is None:
            while len(self._orders) >= _REMEMBERED:
                del self._orders[next(iter(self._orders))]
            found = self._orders[rows, key] = order(rows, key).astype(np.uint32)
        return found


_memory = _Memory()


@dataclass(frozen=True, slots=True)
class Selection:
    """Some rows of a table: those that stand at ``begin`` and after it in some order."""

    table_rows: int
    key: str
    """Of the order."""
    begin: int
    count: int

    def positions(self) -> NDArray[np.int64]:
        """Return which rows of the table they are."""
        end = self.begin + self.count
        if self.key == NATURAL:
            return np.arange(self.begin, end)
        return _memory.order(self.table_rows, self.key)[self.begin : end].astype(np.int64)

    @property
    def valid(self) -> bool:
        """Whether there are such rows."""
        if self.key == NATURAL:
            known = self.table_rows <= _MAX_TABLE_ROWS
        else:
            digits = len(self.key) == 32 and all(digit in "0123456789abcdef" for digit in self.key)
            known = digits and self.table_rows <= MAX_ROWS
        return known and 0 <= self.begin and 0 < self.count <= self.table_rows - self.begin


def pieces(rows: int, at_once: int, key: str = NATURAL) -> list[Selection]:
    """Cut all rows, in some order, into pieces of at most so many."""
    return [
        Selection(rows, key, begin, min(at_once, rows - begin)) for begin in range(0, rows, at_once)
    ]
