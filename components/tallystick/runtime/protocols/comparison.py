"""The sign of a shared value: [1 if x < 0 else 0], exact for every x, for any number of parties.

Roles: parties P0..Pn-1 with additive shares of x modulo 2**64; a dealer.
Randomness: r uniform modulo 2**64 (shared by sum); a bit t for each element (shared by xor); b = t
xor the top bit of r (shared by sum); for each of the 16 digits p_j of r's low 63 bits a table of
[v < p_j] and [v = p_j] for all v (shared by xor).
Message 1 (all parties to all):   [c] = [x] + [r],   opened.
Locally:    look the tables up at the digits of c: shares of lt_j = [c_j < p_j] and eq_j = [c_j =
    p_j].
Messages 2 to 5: a tree of four levels joins neighbouring digits (hi, lo), all ands of a level at
once:
            lt = lt_hi xor (eq_hi and lt_lo),   eq = eq_hi and eq_lo.
            At its root lt is the borrow of c - r below the top bit.
Message 6:  z = borrow xor t,   opened. With m = z xor the top bit of c:
            sign of x = top of c xor top of r xor borrow = m xor b,   so   [sign] = m + [b] - 2 m
            [b].

Rounds: 6. Bytes: 8 + 6 to each peer for each element (CrypTen's adder: over 150); the dealer sends
P0 72, and 4 for the ands. Learnt: nothing; c, the ands' operands and z are masked by uniform
values.
Adversary: semi-honest; dealer and parties do not collude.
Source: comparison by digits as in Rathee et al., "CrypTFlow2" (CCS 2020, section 3), its oblivious
transfers replaced by the dealer's one-time tables (Ishai et al., "On the Power of Correlated
Randomness in Secure Computation", TCC 2013).
"""

import torch
from torch import Tensor

from tallystick.runtime.dealer import digits
from tallystick.runtime.dealer.correlations import SignMask
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.products import bitwise_and


def negative(context: Context, share: Tensor) -> Tensor:
    """Return this party's int64 share of [x < 0], whole numbers nought or one.

    Args:
        context: the session's means.
        share: this party's int64 share of x, any shape.
    """
    if share.numel() == 0:
        return share.clone()
    flat = share.reshape(-1)
    r, t, tables, b = context.obtain(SignMask(tuple(flat.shape)))
    c = context.open_sum(flat + r)
    lower, equal = digits.look_up(tables, c)
    while len(lower) > 1:
        lower, equal = _join(context, lower, equal)
    z = digits.unpack(context.open_xor(lower[0] ^ t), flat.numel())
    m = z ^ (c < 0).long()
    sign = b * (1 - 2 * m)
    if context.rank == 0:
        sign += m
    return sign.view(share.shape)


def _join(context: Context, lower: Tensor, equal: Tensor) -> tuple[Tensor, Tensor]:
    """Join pairs of neighbouring digits: one level of the tree, one round."""
    operands = [lower[0::2]] if len(lower) == 2 else [lower[0::2], equal[0::2]]
    joined = bitwise_and(context, equal[1::2], torch.stack(operands))
    return lower[1::2] ^ joined[0], joined[-1]
