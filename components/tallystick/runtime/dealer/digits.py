"""Digits of 63-bit numbers, one-time tables that compare them, and bits packed into words.

A number's low 63 bits are 16 digits of 4 bits, the lowest first; the highest has 3. For a secret
digit p the table holds, for each v from 0 to 15, the two bits [v < p] and [v = p]: 32 bits, so
that two digits fill a word and one element takes 8 words.
"""

import numpy as np
import torch
from torch import Tensor

DIGITS = 16
WORDS = DIGITS // 2
_DIGIT_BITS = 4
_AT_ONCE = 1 << 14
"""Elements that are looked up at once, so that they stay in the processor's cache."""


def _table_of(p: int) -> int:
    below = sum(1 << (2 * v) for v in range(p))
    return below | 2 << (2 * p)


_TABLE = torch.tensor([_table_of(p) for p in range(16)], dtype=torch.int64)


def digit(ring: Tensor, index: int) -> Tensor:
    """Return one digit of every element's low 63 bits, as int64."""
    mask = 7 if index == DIGITS - 1 else 15
    return (ring >> (_DIGIT_BITS * index)) & mask


def tables(secret: Tensor) -> Tensor:
    """Return every element's comparison tables: int64 words of shape [8, *shape]."""
    words = torch.empty((WORDS, *secret.shape), dtype=torch.int64)
    for index in range(WORDS):
        low, high = _TABLE[digit(secret, 2 * index)], _TABLE[digit(secret, 2 * index + 1)]
        words[index] = low | high << 32
    return words


def look_up(words: Tensor, public: Tensor) -> tuple[Tensor, Tensor]:
    """Read the tables at a public number's digits.

    Args:
        words: (a share of) tables, of shape [8, n].
        public: int64 of shape [n].

    Returns:
        (shares of) the bits [v_j < p_j] and [v_j = p_j] for the digits j from the lowest, each
        packed along n: int64 words of shape [16, ceil(n / 64)].
    """
    count = public.numel()
    below = torch.empty((DIGITS, (count + 63) // 64), dtype=torch.int64)
    equal = torch.empty_like(below)
    for begin in range(0, count, _AT_ONCE):
        rows, packed = slice(begin, begin + _AT_ONCE), slice(begin // 64, (begin + _AT_ONCE) // 64)
        entries = _entries(words[:, rows], public[rows])
        below[:, packed], equal[:, packed] = pack(entries & 1), pack(entries >> 1)
    return below, equal


def _entries(words: Tensor, public: Tensor) -> Tensor:
    """Return the table entries, two bits each: uint8 of shape [16, n]."""
    entries = torch.empty((DIGITS, public.numel()), dtype=torch.uint8)
    for index in range(DIGITS):
        shift = digit(public, index).bitwise_left_shift_(1)
        if index % 2:
            shift += 32
        entries[index] = (words[index // 2] >> shift).bitwise_and_(3)
    return entries


def pack(bits: Tensor) -> Tensor:
    """Pack uint8 bits along the last dimension into int64 words."""
    packed = np.packbits(bits.numpy(), axis=-1)
    padding = -packed.shape[-1] % 8
    packed = np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, padding)])
    return torch.from_numpy(packed.view(np.int64))


def unpack(words: Tensor, count: int) -> Tensor:
    """Return the first ``count`` bits of packed words of shape [w], as int64."""
    bits = np.unpackbits(words.numpy().view(np.uint8), count=count)
    return torch.from_numpy(bits.astype(np.int64))
