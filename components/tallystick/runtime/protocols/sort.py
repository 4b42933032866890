"""Sort shared rows by a shared key, and bring marked rows to the front: shuffle first, then open.

Roles: parties P0..Pn-1 with additive shares modulo 2**64, N rows of C values; a dealer.

**sort**, by a key of N values, stable:
    1. Locally, make keys distinct: [key] = [key] 2**b + i for row i < 2**b = N's next power of two.
    2. Shuffle the rows with their keys (shuffle.py).
    3. Quicksort with opened comparisons: [key_i < key_j], one bit for each, in batches: each round
       splits every part of more than 8 rows at its first row; then all pairs of the small parts.
    4. Locally, put the shuffled rows into the order that is now public.
**partition**, by a shared bit m of each row: marked rows first, otherwise in the same order:
    1. [place] = m ? marked rows before : rows marked at all + unmarked rows before; one product.
    2. Shuffle the rows with their places, open the places, and locally put every row in its place.

What is opened says nothing: let q be the shuffle's order, uniform and unknown to everybody. The
keys are distinct, so the shuffled rows' true order is a fixed order composed with q, which is
uniform whatever the keys are. Every comparison of step 3, and which are made, is a function of that
order alone. A simulator draws any uniform order and answers the comparisons by it; it tells what
the dealer sees as well, which is how many comparisons are made at a time. Without step 1 ties would
show: which shuffled rows are equal, and so how many. The places of a partition are a permutation of
0..N-1 under q, hence uniform as well, and say not even how many rows are marked.
The masks of shuffle and comparison are theirs.

Rounds: sort n + 1, and 7 for each of about 2 log2 N levels; partition n + 3.
Bytes: sort about 14 to each peer for each of 1.4 N log2 N comparisons; the dealer sends P0 42 for
each. That is 33 MB and 100 MB for 10**5 rows, and the shuffle's 8 n (C + 1) N.
Learnt: nothing. Adversary: semi-honest; dealer and parties do not collude.
Source: shuffle and sort with opened comparisons: Hamada et al., "Practically Efficient Multi-party
Sorting Protocols from Comparison Sort Algorithms" (ICISC 2012). Partition: one pass of the radix
sort of Asharov et al., "Efficient Secure Three-Party Sorting" (CCS 2022). The whole radix sort was
the other choice: as many bytes, fewer rounds, but for the bits of every key a circuit more.
"""

# N = rows, C = values of a row. Shares are int64 modulo 2**64.

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.runtime.dealer import digits
from tallystick.runtime.protocols.comparison import negative
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.products import times
from tallystick.runtime.protocols.shuffle import shuffle

_AT_ONCE = 1 << 18
"""Comparisons of one batch: it bounds the memory, 100 bytes for each."""
_SMALL = 8
"""Parts of as many rows are sorted by comparing all pairs."""

Less = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
Rows = NDArray[np.int64]


def sort(context: Context, keys_N: Tensor, columns_CN: Tensor) -> Tensor:
    """Return this party's share of the rows in ascending order of their keys; ties keep theirs.

    Args:
        context: the session's means.
        keys_N: int64 share; times N's next power of two a key must stay below 2**62.
        columns_CN: int64 share of the values that are sorted; row i is column i.
    """
    rows = keys_N.numel()
    if rows < 2:
        return columns_CN.clone()
    distinct_N = keys_N << (rows - 1).bit_length()
    if context.rank == 0:
        distinct_N += torch.arange(rows)
    shuffled_CN = shuffle(context, torch.cat([distinct_N.unsqueeze(0), columns_CN]))
    keys_N = shuffled_CN[0]

    def less(left: Rows, right: Rows) -> NDArray[np.bool_]:
        return _open_less(context, keys_N[torch.from_numpy(left)], keys_N[torch.from_numpy(right)])

    return shuffled_CN[1:, torch.from_numpy(arrange(rows, less))]


def partition(context: Context, marks_N: Tensor, columns_CN: Tensor) -> Tensor:
    """Return this party's share of the rows, the marked ones first.

    Args:
        context: the session's means.
        marks_N: int64 share of whole numbers nought or one.
        columns_CN: int64 share of the values that move; row i is column i.
    """
    rows = marks_N.numel()
    marked_N, number_N = marks_N.cumsum(0), torch.zeros(rows, dtype=torch.int64)
    if context.rank == 0:
        number_N = torch.arange(rows)
    # Of a marked row: the marked rows before it. Of another: all marked ones and what lies between.
    front_N = marked_N - (1 if context.rank == 0 else 0)
    back_N = marks_N.sum() + number_N - marked_N
    places_N = back_N + times(context, marks_N, front_N - back_N)
    shuffled_CN = shuffle(context, torch.cat([places_N.unsqueeze(0), columns_CN]))
    sorted_CN = torch.empty_like(columns_CN)
    sorted_CN[:, context.open_sum(shuffled_CN[0])] = shuffled_CN[1:]
    return sorted_CN


def arrange(count: int, less: Less) -> Rows:
    """Quicksort that knows the rows by comparisons alone.

    Args:
        count: of rows, which must come in random order.
        less: says of pairs of row numbers whether the left one's key is the smaller; called once a
            level.

    Returns:
        The row numbers in ascending order of their keys.
    """
    places = np.arange(count)
    order, begins = places.copy(), np.zeros(count, dtype=np.int64)
    while (large := _lengths(begins) > _SMALL).any():
        others = np.flatnonzero(large & (places != begins))
        pivots = begins[others]
        side = np.zeros(count, dtype=np.int8)
        side[pivots] = 1
        side[others] = np.where(less(order[others], order[pivots]), 0, 2)
        moved = np.lexsort((side, begins))
        order, side, begins = order[moved], side[moved], begins[moved]
        new = np.flatnonzero((np.diff(begins) != 0) | (np.diff(side) != 0)) + 1
        begins = np.zeros(count, dtype=np.int64)
        begins[new] = new
        begins = np.maximum.accumulate(begins)
    return _arrange_small(order, begins, less)


def _arrange_small(order: Rows, begins: Rows, less: Less) -> Rows:
    """Compare all pairs within each part; a row's place is the number of smaller ones."""
    pairs = []
    for distance in range(1, min(_SMALL, len(order))):
        left = np.flatnonzero(begins[distance:] == begins[: len(begins) - distance])
        pairs.append(np.stack([left, left + distance]))
    left, right = np.concatenate(pairs, axis=1)
    smaller = less(order[left], order[right])
    places = begins + np.bincount(np.where(smaller, right, left), minlength=len(order))
    arranged = np.empty_like(order)
    arranged[places] = order
    return arranged


def _lengths(begins: Rows) -> Rows:
    """Return for each place the number of rows in its part."""
    firsts, counts = np.unique(begins, return_counts=True)
    return counts[np.searchsorted(firsts, begins)]


def _open_less(context: Context, left: Tensor, right: Tensor) -> NDArray[np.bool_]:
    """Open [left < right]: the sum of the shares is nought or one, so their lowest bits decide."""
    pieces = []
    for begin in range(0, left.numel(), _AT_ONCE):
        piece = slice(begin, begin + _AT_ONCE)
        lowest = (negative(context, left[piece] - right[piece]) & 1).to(torch.uint8)
        opened = context.open_xor(digits.pack(lowest))
        pieces.append(digits.unpack(opened, lowest.numel()).numpy().astype(bool))
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=bool)
