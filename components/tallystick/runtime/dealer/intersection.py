"""Sorted pseudonyms, range by range: which of them does everybody hold?

Pseudonyms are 16 bytes that look random, and compare as bytes do. The space of all pseudonyms is
cut into R equal ranges, R a power of two, so that each range holds about as many of them. What all
parties hold in one range is found without looking at another: whoever matches needs the memory of
one range of each party, whatever the sizes of the sets.
"""

# K = pseudonyms of one party in one range, N = of one party in all.

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.uint8]
Bits = NDArray[np.bool_]

PSEUDONYM_BYTES = 16
RANGE_ROWS = 1 << 17
"""About so many pseudonyms of the largest set are in one range."""
MAX_RANGE_ROWS = 1 << 19
"""No honest party has more in one: that would be a chance below 2**-10000."""
MAX_RANGES = 1 << 12


def num_ranges(largest: int) -> int:
    """Return R for sets of which the largest has so many pseudonyms."""
    ranges = 1
    while ranges * RANGE_ROWS < largest and ranges < MAX_RANGES:
        ranges *= 2
    return ranges


def leading(keys: Table) -> NDArray[np.uint64]:
    """Return the first eight bytes of each row, as numbers that compare like the bytes."""
    words: NDArray[np.uint64] = np.ascontiguousarray(keys[:, :8]).view(">u8").astype(np.uint64)
    return words.reshape(-1)


def fault(keys_K16: Table, number: int, ranges: int) -> str | None:
    """Say what is wrong with the pseudonyms of one range; None if nothing is.

    Duplicates would count as matches and make up the minimum, and pseudonyms out of their range or
    out of order would never be found.
    """
    if not len(keys_K16):
        return None
    high_K = leading(keys_K16)
    width = (1 << 64) // ranges
    if int(high_K[0]) < number * width or int(high_K[-1]) >= (number + 1) * width:
        return "pseudonyms out of their range"
    rising = high_K[1:] > high_K[:-1]
    if not rising.all():
        low_K = leading(keys_K16[:, 8:])
        rising |= (high_K[1:] == high_K[:-1]) & (low_K[1:] > low_K[:-1])
    return None if rising.all() else "pseudonyms out of order, or one twice"


def common(tables: Sequence[Table]) -> list[Bits]:
    """Find the rows that all tables have.

    Args:
        tables: one for each party, uint8 [K_i, 16], each ascending and without duplicates.

    Returns:
        For each table, which of its rows all others have.
    """
    words = [(leading(table), leading(table[:, 8:])) for table in tables]
    if any((high_K[1:] == high_K[:-1]).any() for high_K, _ in words):
        return _common_slowly(tables)
    (first_high_K, first_low_K), *others = words
    everywhere_K = np.ones(len(first_high_K), dtype=np.bool_)
    places: list[NDArray[np.intp]] = []
    for high_K, low_K in others:
        # With no word twice, the place of a word is the only one where its pseudonym can be.
        place_K = np.searchsorted(high_K, first_high_K)
        within_K = place_K < len(high_K)
        place_K[~within_K] = 0
        if len(high_K):
            within_K &= (high_K[place_K] == first_high_K) & (low_K[place_K] == first_low_K)
        everywhere_K &= within_K
        places.append(place_K)
    found = [everywhere_K]
    for table, place_K in zip(tables[1:], places, strict=True):
        bits_K = np.zeros(len(table), dtype=np.bool_)
        bits_K[place_K[everywhere_K]] = True
        found.append(bits_K)
    return found


def _common_slowly(tables: Sequence[Table]) -> list[Bits]:
    """Do the same where two pseudonyms of a table begin alike, which happens next to never."""
    columns = [
        np.ascontiguousarray(table).view(f"V{PSEUDONYM_BYTES}").reshape(-1) for table in tables
    ]
    sets = [{row.tobytes() for row in column} for column in columns]
    shared = set.intersection(*sets)
    return [
        np.fromiter((row.tobytes() in shared for row in column), dtype=np.bool_, count=len(column))
        for column in columns
    ]
