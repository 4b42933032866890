"""Exact truncation: [x] becomes [floor(x / 2**f)], off by at most one, for any number of parties.

Roles: parties P0..Pn-1 with additive shares modulo 2**64 of x, |x| < 2**62; a dealer.
Randomness: r uniform modulo 2**64, s = (r mod 2**63) >> f, t = the top bit of r; r, s, t shared.
Message (all parties to all):     [c] = [x] + 2**62 + [r],   opened.
Locally:                          u = top bit of c
                                  [w] = u + [t] - 2 u [t]   (u xor t: whether x + 2**62 + r wrapped)
                                  [y] = ((c mod 2**63) >> f) - [s] + [w] 2**(63-f) - 2**(62-f)

Why: with x' = x + 2**62 in [0, 2**63), c = x' + r. The lower 63 bits of x' + r carry into the top
bit exactly when u differs from t, so x' = (c mod 2**63) - (r mod 2**63) + w 2**63 over the
integers. Shifting the parts instead of the sum loses at most one unit in the last place.
CrypTen truncates each share by itself (two parties) or leaves out a term (three or more); both are
wrong by 2**(64-f) now and then.

A product that is truncated deals s and t of the mask that its own formula leaves on the result; see
products.py.

Rounds: 1. Bytes: 8 to each peer for each element; the dealer sends P0 16.
Learnt: nothing; c is masked by r, which is uniform. Adversary: semi-honest; dealer and parties do
not collude.
Source: Dalskov, Escudero, Keller, "Secure Evaluation of Quantized Neural Networks", PETS 2020,
section on truncation with the top bit known, here with the dealer's r.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tallystick.runtime.dealer.kinds import Truncation
from tallystick.runtime.protocols.context import Context

_OFFSET = 1 << 62
"""Makes every x of the domain positive."""
_LOW = torch.iinfo(torch.int64).max
_AT_ONCE = 1 << 15
"""Elements whose formula is computed at once: three times as fast as passes over all of them."""


def truncate(context: Context, share: Tensor, bits: int) -> Tensor:
    """Divide a shared value by 2**bits, rounding down, off by at most one.

    Args:
        context: the session's means.
        share: this party's int64 share of x, |x| < 2**62, any shape.
        bits: from 1 to 61.

    Returns:
        This party's int64 share of the quotient.
    """
    r, s, t = context.obtain(Truncation(tuple(share.shape), bits))
    return finish(context, [(r.add_(share), s, t, bits)])[0]


def reciprocal(count: int) -> tuple[int, int]:
    """Return 1 / count as a whole number of at least 13 bits, and its fraction bits."""
    bits = 13 + count.bit_length()
    return round(2**bits / count), bits


def divided(context: Context, total: Tensor, count: int, more: int = 0) -> Tensor:
    """Return this party's share of total / count, rounded down, with more fraction bits.

    Args:
        context: the session's means.
        total: this party's share, |total| below 2**48.
        count: above nought.
        more: at most as many as the count has.
    """
    factor, bits = reciprocal(count)
    return truncate(context, total * factor, bits - more)


Unfinished = tuple[Tensor, Tensor, Tensor, int]
"""Shares of x + r, of r's low 63 bits shifted, and of its top bit; the number of bits."""


def finish(context: Context, masked: Sequence[Unfinished]) -> list[Tensor]:
    """Open masked values and truncate them, all in one round; the shares of x + r are used up."""
    totals = [total for total, *_ in masked]
    if context.rank == 0:
        for total in totals:
            total += _OFFSET
    opened = context.open_sums(totals)
    first = context.rank == 0
    return [
        _quotients(c, s, t, bits, first=first)
        for c, (_, s, t, bits) in zip(opened, masked, strict=True)
    ]


def _quotients(c: Tensor, s: Tensor, t: Tensor, bits: int, *, first: bool) -> Tensor:
    quotient = torch.empty_like(c)
    pieces = (torch.split(x.reshape(-1), _AT_ONCE) for x in (quotient, c, s, t))
    for out, c_piece, s_piece, t_piece in zip(*pieces, strict=True):
        _quotient(out, c_piece, s_piece, t_piece, bits, first=first)
    return quotient


def _quotient(out: Tensor, c: Tensor, s: Tensor, t: Tensor, bits: int, *, first: bool) -> None:
    """Compute the formula for a piece that stays in the processor's cache."""
    top = c >> 63  # minus u
    torch.mul(t, top.mul(2).add_(1), out=out)
    if first:
        out.sub_(top)
    out.bitwise_left_shift_(63 - bits).sub_(s)
    if first:
        out.add_(c.bitwise_and(_LOW).bitwise_right_shift_(bits).sub_(1 << (62 - bits)))
