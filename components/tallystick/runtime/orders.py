"""Public orders of rows: the same at every member, and said in a few numbers.

The randomness comes from an agreed seed and hides nothing. It is drawn as raw words of Philox,
keyed by SHA-256 of the purpose and the seed, and sorted. NumPy promises the words of a bit
generator for ever, but not what its ``permutation`` makes of them (NEP 19), and two members may
not differ by a NumPy version.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NATURAL = ""
"""The key of the order in which rows stand."""
MAX_ROWS = 1 << 26
"""The most rows that an order may have: seconds of one core to sort."""


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


@lru_cache(maxsize=16)
def _remembered(rows: int, key: str) -> NDArray[np.uint32]:
    """Return an order that is read batch by batch; a dealer does so in several sessions."""
    return order(rows, key).astype(np.uint32)


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
        return _remembered(self.table_rows, self.key)[self.begin : end].astype(np.int64)

    @property
    def valid(self) -> bool:
        """Whether there are such rows."""
        known = self.key == NATURAL or (
            len(self.key) == 32 and all(digit in "0123456789abcdef" for digit in self.key)
        )
        fits = 0 <= self.begin and 0 < self.count and self.begin + self.count <= self.table_rows
        return known and fits and self.table_rows <= MAX_ROWS


def whole(rows: int, at_once: int) -> list[Selection]:
    """Cut all rows, as they stand, into pieces of at most so many."""
    return [
        Selection(rows, NATURAL, begin, min(at_once, rows - begin))
        for begin in range(0, rows, at_once)
    ]
