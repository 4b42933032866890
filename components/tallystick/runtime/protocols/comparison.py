"""The sign of a shared value: [1 if x < 0 else 0], exact for every x, for any number of parties.

Roles: parties P0..Pn-1 with additive shares of x modulo 2**64; a dealer.
Randomness: a uniform modulo 2**64, r = -a (shared by sum); a bit t for each element (shared by
xor); b = t xor the top bit of r (shared by sum); for each of the 16 digits p_j of r's low 63 bits
the table of [p_j = v] for v = 1..15 (shared by xor).
Message 1 (all parties to all):   [c] = [x] - [a] = [x] + [r],   opened, unless x is masked already.
Locally:            look the tables up at the digits c_j of c:
                        shares of lt_j = [c_j < p_j] and of eq_j = [c_j = p_j].
Messages 2 to 5:    a tree of four levels joins neighbouring digits (hi, lo), a level at once:
                        lt = lt_hi xor (eq_hi and lt_lo),   eq = eq_hi and eq_lo.
                    At its root lt is the borrow of c - r below the top bit.
Message 6:          z = borrow xor t,   opened. With m = z xor the top bit of c:
                        sign of x = top of c xor top of r xor borrow = m xor b,
                        so   [sign] = m + [b] - 2 m [b].

A gate multiplies by the sign without a message where the dealer also deals a b:
            x sign = (c + a) (m + (1 - 2 m) b) = m x + (1 - 2 m) (c b + a b),
and another value g under a mask of its own, as the gradient of a rectified value, with its mask's
product with b: one opening of g.

Rounds: 6. Bytes: 8 + 6 to each peer for each element (CrypTen's adder: over 150); the dealer sends
P0 38 (46 with a gate), and 4 for the ands. A further gate: 1 round, 8 bytes to each peer, 8 from
the dealer. Learnt: nothing; c, the ands' operands and z are masked by uniform values.
Adversary: semi-honest; dealer and parties do not collude.
Source: comparison by digits as in Rathee et al., "CrypTFlow2" (CCS 2020, section 3), its oblivious
transfers replaced by the dealer's one-time tables (Ishai et al., "On the Power of Correlated
Randomness in Secure Computation", TCC 2013).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tallystick.runtime.dealer import digits
from tallystick.runtime.dealer.correlations import Mask
from tallystick.runtime.dealer.kinds import Gate, Sign, flips
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.products import Masked, bitwise_and, mask


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The sign of a value, able to multiply others."""

    sign: Tensor
    """This party's int64 share of [x < 0]."""
    negated: Tensor
    """1 - 2 m, public."""
    masks: tuple[Mask, Mask]
    """a and t."""

    def times(self, context: Context, other: Tensor) -> Tensor:
        """Return this party's share of other * [x < 0]; one round."""
        (masked,) = mask(context, other)
        (dealt,) = context.obtain(Gate(tuple(other.shape)), (*self.masks, masked.mask))
        return self._gated(context, masked.opened, dealt, masked.mask_share)

    def _gated(self, context: Context, opened: Tensor, dealt: Tensor, share: Tensor) -> Tensor:
        """Return m y + (1 - 2 m) (opened b + dealt), for y = opened + its mask."""
        # opened times [sign] is done at the end; of the mask's part m and 1 - 2 m are public.
        rest = torch.where(self.negated < 0, share - dealt, dealt)
        return rest.addcmul_(opened, self.sign)


def negative(context: Context, share: Tensor) -> Tensor:
    """Return this party's int64 share of [x < 0], whole numbers nought or one.

    Args:
        context: the session's means.
        share: this party's int64 share of x, any shape.
    """
    return compare(context, share).sign


def compare(context: Context, share: Tensor) -> Compared:
    """Return the comparison of x with nought, fit to multiply others by [x < 0]."""
    (masked,) = mask(context, share)
    return _compare(context, masked, gates=0)[0]


def below_nought(context: Context, share: Tensor) -> tuple[Tensor, Compared]:
    """Return this party's share of min(x, 0), and the comparison for more of its kind."""
    (masked,) = mask(context, share)
    compared, (dealt,) = _compare(context, masked, gates=1)
    return compared._gated(context, masked.opened, dealt, masked.mask_share), compared


def _compare(context: Context, x: Masked, gates: int) -> tuple[Compared, list[Tensor]]:
    t = context.mask(flips(x.shape))
    if not x.opened.numel():
        return Compared(x.mask_share, x.mask_share, (x.mask, t)), [x.mask_share]
    request = Sign(x.shape, gates)
    tables, b, *dealt = context.obtain(request, (x.mask, t))
    c = x.opened.reshape(-1)
    lower, equal = digits.look_up(tables, c, first=context.rank == 0)
    while len(lower) > 1:
        lower, equal = _join(context, lower, equal)
    z = digits.unpack(context.open_xor(lower[0] ^ t.share), c.numel())
    m = z.bitwise_xor_((c < 0).long()).view(x.shape)
    negated = 1 - 2 * m
    sign = b.mul_(negated)
    if context.rank == 0:
        sign += m
    return Compared(sign, negated, (x.mask, t)), dealt


def _join(context: Context, lower: Tensor, equal: Tensor) -> tuple[Tensor, Tensor]:
    """Join pairs of neighbouring digits: one level of the tree, one round."""
    operands = [lower[0::2]] if len(lower) == 2 else [lower[0::2], equal[0::2]]
    joined = bitwise_and(context, equal[1::2], torch.stack(operands))
    return lower[1::2] ^ joined[0], joined[-1]
