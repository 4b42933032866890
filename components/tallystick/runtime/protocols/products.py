"""Products of shared values, for any bilinear operation: element-wise, matrices, convolutions.

Roles: parties P0..Pn-1 with additive shares of the operands x, y, ... modulo 2**64; a dealer. What
is truncated must be below 2**62: of two numbers with 16 fraction bits the product below 2**30. Else
it wraps, and nobody notices.
Randomness: a mask a for each operand, uniform; c = a_x op a_y, or what truncates it; all shared.
Message 1 (all parties to all):   [e_x] = [x] - [a_x],   opened, once for each operand.
Locally, for each product:        [z] = [c] + e_x op [a_y] + [a_x] op e_y + e_x op e_y
where P0 alone adds e_x op e_y, which it folds into the second term: e_x op ([a_y] + e_y). Several
products may be added up.

With truncation by f bits the dealer draws v instead of dealing c, and what truncates (see
truncation.py) under the mask r = v - a_x op a_y, so that v - r takes the place of c:
Message 2 (all parties to all):   [z + r + 2**62] = [v] + e_x op [a_y] + ... + 2**62,   opened.

Rounds: 1 for masking, whatever is masked together; 1 more with truncation. Bytes: 8 to each peer
for each element that is masked, and for each of z with truncation; the dealer sends P0 8 for each
of z, 16 with truncation.

An operand that goes into several products is masked and opened once: a :class:`Masked`. It holds
e_x and this party's share of a_x; the value behind it can never change, for nothing changes either.
So one mask is never on two values: opening x - a and then x' - a would show x - x'. That one mask
serves several products is safe, for each product's c (or v and r) is shared afresh, and e_x is the
same message seen once.

Learnt: nothing; each e is masked by a uniform value that masks nothing else. Adversary:
semi-honest; dealer and parties do not collude.
Source: Beaver, "Efficient Multiparty Protocols Using Circuit Randomization", CRYPTO 1991; masks
that are reused with their value as in Mohassel and Zhang, "SecureML", S&P 2017, section IV-C.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from tallystick.runtime.dealer import bilinear
from tallystick.runtime.dealer.correlations import Mask, Part
from tallystick.runtime.dealer.kinds import And, Options, Product, Term
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.truncation import Unfinished, finish


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A shared value that was opened under a mask, fit for any number of products.

    In another shape it is still the same value under the same mask.
    """

    mask: Mask
    opened: Tensor
    """x - a, which every party knows."""
    mask_share: Tensor = field(repr=False)
    """This party's share of a, in the value's shape."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value."""
        return tuple(self.opened.shape)

    def view(self, *shape: int) -> "Masked":
        """Return the same value in another shape."""
        return Masked(self.mask, self.opened.view(*shape), self.mask_share.view(*shape))


def mask(context: Context, *values: Tensor) -> list[Masked]:
    """Mask shared values and open them, all in one round.

    Args:
        context: the session's means.
        values: this party's shares, of any shape.
    """
    masks = [context.mask(Part(tuple(value.shape))) for value in values]
    opened = context.open_sums([x - m.share for x, m in zip(values, masks, strict=True)])
    return [Masked(m, e, m.share) for m, e in zip(masks, opened, strict=True)]


def product(
    context: Context, operation: str, x: Masked, y: Masked, options: Options = (), bits: int = 0
) -> Tensor:
    """Return this party's int64 share of x op y, truncated by ``bits``; fraction bits add up."""
    if x is y:
        return products(context, [x], [(operation, 0, 0, options)], bits)
    return products(context, [x, y], [(operation, 0, 1, options)], bits)


def products(
    context: Context, operands: Sequence[Masked], terms: Sequence[Term], bits: int = 0
) -> Tensor:
    """Return this party's share of a sum of products of operands, truncated by ``bits``."""
    return together(context, [Sum(operands, terms, bits)])[0]


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """A sum of products of masked operands, and what else is added before truncation."""

    operands: Sequence[Masked]
    terms: Sequence[Term]
    bits: int
    plus: Tensor | None = None
    """This party's share of something of a shape that broadcasts, with as many fraction bits."""


def together(context: Context, sums: Sequence[Sum]) -> list[Tensor]:
    """Return this party's shares of several sums, all of them truncated, in one round, or none."""
    totals: list[Tensor] = []
    truncations: list[Unfinished] = []
    for one in sums:
        request = Product(tuple(x.shape for x in one.operands), tuple(one.terms), one.bits)
        total, *truncation = context.obtain(request, [x.mask for x in one.operands])
        for operation, left, right, options in one.terms:
            x, y = one.operands[left], one.operands[right]
            second = y.mask_share + y.opened if context.rank == 0 else y.mask_share
            pairs = (x.opened, x.mask_share), (second, y.opened)
            total = bilinear.add(total, operation, *pairs, dict(options))
        if one.plus is not None:
            total += one.plus
        totals.append(total)
        if one.bits:
            s, t = truncation
            truncations.append((total, s, t, one.bits))
    if not truncations:
        return totals
    return finish(context, truncations)


def times(context: Context, x: Tensor, y: Tensor, bits: int = 0) -> Tensor:
    """Return this party's share of the element-wise product of two values not yet masked."""
    a, b = mask(context, x, y)
    return product(context, "mul", a, b, bits=bits)


def square(context: Context, x: Tensor, bits: int = 0) -> Tensor:
    """Return this party's share of x * x."""
    (masked,) = mask(context, x)
    return product(context, "mul", masked, masked, bits=bits)


def bitwise_and(context: Context, x: Tensor, y: Tensor) -> Tensor:
    """Return this party's share of x & y, words shared by exclusive or; shapes may broadcast."""
    a, b, c = context.obtain(And(tuple(x.shape), tuple(y.shape)))
    e, d = context.open_xors([x ^ a, y ^ b])
    right = b ^ d if context.rank == 0 else b
    return c ^ (e & right) ^ (a & d)
