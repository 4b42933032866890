"""Digits of 63-bit numbers, one-time tables that compare them, and bits packed into words.

A number's low 63 bits are 16 digits of 4 bits, the lowest first; the highest has 3. Bits are kept
in planes: one bit of many numbers, 64 of them to a word, so that a word's operation serves 64
numbers. For a secret digit p the table is the planes of [p = v] for v = 1..15; together 240 planes,
30 bytes for a number. Read at a public digit c, both results are linear over the planes:

    [c < p] = xor over v of  [c < v] [p = v],        [c = p] = xor over v of  [c = v] [p = v],
    where [p = 0] = 1 xor all the others,

so shares of the planes by exclusive or give shares of the results.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DIGITS = 16
PLANES = DIGITS * 15
_AT_ONCE = 1 << 14
"""Numbers that are handled at once, so that their planes stay in the processor's cache."""
_BITS = (1 << np.arange(8, dtype=np.uint8)).reshape(1, 8, 1)
_TOP = np.int64(-1) << 63
Words = NDArray[np.int64]


def words(count: int) -> int:
    """Return how many words hold so many bits."""
    return (count + 63) // 64


def tables(secret: Tensor) -> Tensor:
    """Return the comparison tables of a flat tensor: int64 words of shape [240, words]."""
    count = secret.numel()
    made = np.empty((DIGITS, 15, words(count)), dtype=np.int64)
    for begin in range(0, count, _AT_ONCE):
        piece = secret[begin : begin + _AT_ONCE].numpy()
        made[:, :, begin // 64 : (begin + _AT_ONCE) // 64] = _one_hot(piece)[:, 1:]
    return torch.from_numpy(made.reshape(PLANES, -1))


def look_up(tables: Tensor, public: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """Read tables at public numbers' digits.

    Args:
        tables: a share of them, of shape [240, words].
        public: int64 of shape [n].
        first: whether this is the first share, which takes the constants.

    Returns:
        A share of the bits [c_j < p_j] and [c_j = p_j] for the digits j from the lowest, each
        packed along n: int64 words of shape [16, words].
    """
    count = public.numel()
    planes = tables.numpy().reshape(DIGITS, 15, -1)
    below = np.empty((DIGITS, words(count)), dtype=np.int64)
    equal = np.empty_like(below)
    for begin in range(0, count, _AT_ONCE):
        part = slice(begin // 64, (begin + _AT_ONCE) // 64)
        secret = planes[:, :, part]
        hot = _one_hot(public[begin : begin + _AT_ONCE].numpy())
        zero = np.bitwise_xor.reduce(secret, axis=1)
        if first:
            np.invert(zero, out=zero)
        zero &= hot[:, 0]
        equal[:, part] = np.bitwise_xor.reduce(secret & hot[:, 1:], axis=1) ^ zero
        less = np.bitwise_or.accumulate(hot[:, :15], axis=1)
        less &= secret
        below[:, part] = np.bitwise_xor.reduce(less, axis=1)
    return torch.from_numpy(below), torch.from_numpy(equal)


def _one_hot(numbers: Words) -> Words:
    """Return the planes of [digit = v]: [16 digits, 16 values, words]."""
    bits = _planes(numbers & ~_TOP).reshape(DIGITS, 2, 2, -1)
    low, high = bits[:, :, 0], bits[:, :, 1]
    # For both halves of a digit its four values: [16, 2 halves, 4, words].
    quarter = np.stack([~high & ~low, ~high & low, high & ~low, high & low], axis=2)
    hot = quarter[:, 1, :, None] & quarter[:, 0, None, :]
    return np.asarray(hot, dtype=np.int64).reshape(DIGITS, 16, -1)


def _planes(numbers: Words) -> Words:
    """Return the 64 bits of every number as planes, the lowest first: [64, words]."""
    octets = np.zeros((8, 64 * words(len(numbers))), dtype=np.uint8)
    octets[:, : len(numbers)] = numbers.view(np.uint8).reshape(-1, 8).T
    bits = octets[:, None] & _BITS
    return np.packbits(bits, axis=-1).view(np.int64).reshape(64, -1)


def pack(bits: Tensor) -> Tensor:
    """Pack uint8 bits along the last dimension into int64 words."""
    packed = np.packbits(bits.numpy(), axis=-1)
    padding = -packed.shape[-1] % 8
    packed = np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, padding)])
    return torch.from_numpy(packed.view(np.int64))


def unpack(packed: Tensor, count: int) -> Tensor:
    """Return the first ``count`` bits of packed words of shape [w], as int64."""
    bits = np.unpackbits(packed.numpy().view(np.uint8), count=count)
    return torch.from_numpy(bits.astype(np.int64))
