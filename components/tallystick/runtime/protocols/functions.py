"""Functions of shared real numbers, with their domains, error bounds, and what they do outside.

===============  =====================  ==========================  ==============================
function         domain                 error in the domain         outside
===============  =====================  ==========================  ==============================
sigmoid, tanh    all                    2**-12 absolute             (tends to its limit)
softplus         all                    2**-12 absolute             (tends to its limit)
exp              -12 <= x <= 10         2**-9 of exp(x) + 2**-12    0 below, exp(10) above
reciprocal       2**-8 <= |x|           2**-9 of 1/x + 2**-14       sign times 2**8 nearer to 0
inv_sqrt         2**-12 <= x            2**-9 of it + 2**-14        as at 2**-12 below
sqrt             2**-12 <= x            2**-9 of it                 as at 2**-12 below
log              2**-12 <= x            2**-12 absolute             as at 2**-12 below

softmax          all                    2**-11 absolute
===============  =====================  ==========================  ==============================

"All" is what is shared at all: |x| < 2**20. CrypTen's own versions return nonsense without notice
outside narrow domains: sigmoid(1000) = -3e9, reciprocal(1e4) = 7e12.

The smooth middle of a function is a Fourier series (fourier.py). The functions of a magnitude bring
x to [1/2, 1) or [1/4, 1) by a power of two, found by comparing x with all of them at once, where a
series holds. Source: Catrina and Saxena, "Secure Computation with Fixed-Point Numbers", FC 2010,
with the normalisation done by comparisons, and no iteration after it.

Rounds: sigmoid and tanh 9, softplus 10, exp 15, reciprocal 13 (23 where the sign is not known),
inv_sqrt and sqrt 13, log 12, softmax of up to 10 values 21.

Precision is 16 bits after the point throughout; shares are int64 modulo 2**64.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tallystick.runtime.protocols.comparison import compare, negative
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.fourier import Series, evaluate, fit
from tallystick.runtime.protocols.largest import largest
from tallystick.runtime.protocols.products import square, times
from tallystick.runtime.protocols.truncation import truncate

PRECISION_BITS = 16
"""Fraction bits of a shared real number."""
RIM = 12.0
_SIGMOID = fit(lambda x: 1 / (1 + np.exp(-x)), domain=(-RIM, RIM), period_log2=5)
_LOG_COSH = fit(lambda x: np.log(2 * np.cosh(x / 2)), domain=(-RIM, RIM), period_log2=5)
_EXP_LOW, _EXP_HIGH = -12.0, 10.0
_EXP_EIGHTH = fit(lambda x: np.exp(x / 8), domain=(_EXP_LOW - 1, _EXP_HIGH + 1), period_log2=6)
_LOG = fit(np.log, domain=(0.45, 1.1), period_log2=1)
_RECIPROCAL = fit(np.reciprocal, domain=(0.45, 1.1), period_log2=1)
_INV_SQRT = fit(lambda x: x**-0.5, domain=(0.22, 1.1), period_log2=1)
_SQRT = fit(np.sqrt, domain=(0.22, 1.1), period_log2=1)
_EXP_BELOW_0 = fit(np.exp, domain=(_EXP_LOW - 0.5, 0.5), period_log2=5)
_FEW = 10
_RECIPROCAL_OF_FEW = fit(np.reciprocal, domain=(0.9, _FEW + 1), period_log2=4)


def sigmoid(context: Context, x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    (middle,) = evaluate(context, x, [_SIGMOID], PRECISION_BITS)
    low, high = _beyond(context, x, -RIM, RIM)
    return middle + _select(context, low, high, -middle, _plus(context, -middle, 1.0))


def tanh(context: Context, x: Tensor) -> Tensor:
    """Return the hyperbolic tangent, 2 sigmoid(2 x) - 1."""
    return _plus(context, 2 * sigmoid(context, 2 * x), -1.0)


def softplus(context: Context, x: Tensor) -> Tensor:
    """Return log(1 + exp(x)) = log(2 cosh(x / 2)) + x / 2; far out the former is |x| / 2."""
    (middle,) = evaluate(context, x, [_LOG_COSH], PRECISION_BITS)
    half = truncate(context, x, 1)
    low, high = _beyond(context, x, -RIM, RIM)
    return middle + half + _select(context, low, high, -half - middle, half - middle)


def exp(context: Context, x: Tensor) -> Tensor:
    """Return e to the power x, as the eighth power of e**(x / 8)."""
    (power,) = evaluate(context, x, [_EXP_EIGHTH], PRECISION_BITS)
    for _ in range(3):
        power = square(context, power, PRECISION_BITS)
    low, high = _beyond(context, x, _EXP_LOW, _EXP_HIGH)
    top = _plus(context, -power, float(np.exp(_EXP_HIGH)))
    return power + _select(context, low, high, -power, top)


def reciprocal(context: Context, x: Tensor, *, positive: bool = False) -> Tensor:
    """Return 1 / x.

    Args:
        context: the session's means.
        x: this party's share.
        positive: whether x is known to be above nought, which saves a comparison.
    """
    if not positive:
        sign = _plus(context, -2 * (negative(context, x) << PRECISION_BITS), 1.0)
        magnitude = reciprocal(context, _times(context, x, sign), positive=True)
        return _times(context, magnitude, sign)
    inverse, above = _inverse(context, x, range(-8, _HIGHEST))
    limit = _plus(context, -inverse, 2.0**8)
    return inverse + times(context, _not(context, above), limit)


def _inverse(context: Context, x: Tensor, steps: range) -> tuple[Tensor, Tensor]:
    """Return 1 / x for x from two to the first step to below the last, and whether it is above."""
    above = _at_least(context, x, [2.0**k for k in steps])
    # 2**-(k+1) for 2**k <= x < 2**(k+1): a public combination of the bits.
    powers = [2.0 ** -(k + 1) for k in steps]
    c = _staircase(context, above, powers, 2.0 ** -steps[0], _POWER_BITS)
    of_u = _of_normalised(context, x, c, _RECIPROCAL)
    return _denormalised(context, of_u, c), above[0]


def _of_normalised(context: Context, x: Tensor, c: Tensor, series: Series) -> Tensor:
    """Return the series at u = x c, below 1 in magnitude, with more fraction bits than x has."""
    u = times(context, x, c, PRECISION_BITS + _POWER_BITS - _NORMAL_BITS)
    return evaluate(context, u, [series], _NORMAL_BITS)[0]


def _denormalised(context: Context, of_u: Tensor, c: Tensor) -> Tensor:
    """Return the product of what was found at u and a power of two."""
    return times(context, of_u, c, _NORMAL_BITS + _POWER_BITS - PRECISION_BITS)


def inv_sqrt(context: Context, x: Tensor) -> Tensor:
    """Return one over the square root."""
    of_u, above = _of_quarters(context, x, _INV_SQRT)
    c = _staircase(context, above, [2.0**-k for k in _ROOTS], 2.0**6, _POWER_BITS)
    return _denormalised(context, of_u, c)


def sqrt(context: Context, x: Tensor) -> Tensor:
    """Return the square root."""
    of_u, above = _of_quarters(context, x, _SQRT)
    c = _staircase(context, above, [2.0**k for k in _ROOTS], 2.0**-6, _POWER_BITS)
    return _denormalised(context, of_u, c)


_HIGHEST = 20
"""What is shared is below 2**20."""
_NORMAL_BITS = 22
"""Fraction bits of what lies between 1/4 and 1, where 16 would leave 14 significant ones."""
_POWER_BITS = 24
"""Fraction bits of a power of two that brings x there: as small as 2**-20."""
_ROOTS = range(-5, _HIGHEST // 2 + 1)
"""Exponents k: x is brought to u = x / 4**k in [1/4, 1)."""


def _of_quarters(context: Context, x: Tensor, series: Series) -> tuple[Tensor, Tensor]:
    """Return the series at u in [1/4, 1), and the bits [x >= 4**(k-1)] of the exponents."""
    above = _at_least(context, x, [4.0 ** (k - 1) for k in _ROOTS])
    # Below the domain: as at its rim.
    rise = _plus(context, -x, 4.0 ** (_ROOTS[0] - 1))
    x = x + times(context, _not(context, above[0]), rise)
    c = _staircase(context, above, [4.0**-k for k in _ROOTS], 4.0**6, _POWER_BITS)
    return _of_normalised(context, x, c, series), above


def softmax(context: Context, x: Tensor) -> Tensor:
    """Return exp(x) over the sum of exp(x), along the last dimension."""
    powers, total, _ = _powers(context, x)
    return _shared_out(context, powers, total)


def log_softmax(context: Context, x: Tensor) -> Tensor:
    """Return x minus the logarithm of the sum of exp(x), along the last dimension."""
    powers, total, top = _powers(context, x)
    return x - (top + _log_of_total(context, powers, total)).unsqueeze(-1)


def softmax_and_log_sum(context: Context, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the softmax along the last dimension, and the logarithm of the sum of exp(x)."""
    powers, total, top = _powers(context, x)
    log_sum = top + _log_of_total(context, powers, total)
    return _shared_out(context, powers, total), log_sum


def _powers(context: Context, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(x - the largest x), the sum of these, and the largest x."""
    top, _ = largest(context, x)
    powers = _exp_below_0(context, x - top.unsqueeze(-1))
    return powers, powers.sum(-1), top


def _shared_out(context: Context, powers: Tensor, total: Tensor) -> Tensor:
    """Divide by the total, which lies between 1 and the number of powers."""
    count = powers.shape[-1]
    if count <= _FEW:
        (inverse,) = evaluate(context, total, [_RECIPROCAL_OF_FEW], PRECISION_BITS)
    else:
        inverse, _ = _inverse(context, total, range(count.bit_length()))
    return _times(context, powers, inverse.unsqueeze(-1))


def _log_of_total(context: Context, powers: Tensor, total: Tensor) -> Tensor:
    """Return the logarithm of the total, which lies between 1 and the number of powers."""
    steps = range(powers.shape[-1].bit_length())
    return _log(context, total, _at_least(context, total, [2.0**k for k in steps]), steps)


def _exp_below_0(context: Context, x: Tensor) -> Tensor:
    """Return e to the power x, which is known not to be above nought; 0 below -12."""
    (power,) = evaluate(context, x, [_EXP_BELOW_0], PRECISION_BITS)
    low = compare(context, _plus(context, x, -_EXP_LOW))
    return power - low.times(context, power)


def log(context: Context, x: Tensor) -> Tensor:
    """Return the natural logarithm."""
    steps = range(-12, _HIGHEST)
    above = _at_least(context, x, [2.0**k for k in steps])
    # Below the domain: as at its rim.
    x = x + times(context, _not(context, above[0]), _plus(context, -x, 2.0 ** steps[0]))
    return _log(context, x, above, steps)


def _log(context: Context, x: Tensor, above: Tensor, steps: range) -> Tensor:
    """Return the logarithm for x from two to the first step to below the last.

    With x = u 2**k it is that of u, plus k times that of 2.
    """
    exponents = [k + 1 for k in steps]
    c = _staircase(context, above, [2.0**-k for k in exponents], 2.0 ** -steps[0], _POWER_BITS)
    of_u = _of_normalised(context, x, c, _LOG)
    log_2 = float(np.log(2))
    shift = _staircase(
        context, above, [k * log_2 for k in exponents], steps[0] * log_2, PRECISION_BITS
    )
    return truncate(context, of_u, _NORMAL_BITS - PRECISION_BITS) + shift


def _plus(context: Context, x: Tensor, constant: float) -> Tensor:
    return x + round(constant * 2**PRECISION_BITS) if context.rank == 0 else x


def _not(context: Context, bit: Tensor) -> Tensor:
    return 1 - bit if context.rank == 0 else -bit


def _times(context: Context, x: Tensor, y: Tensor) -> Tensor:
    """Return x * y, both with fraction bits."""
    return times(context, x, y, PRECISION_BITS)


def _beyond(context: Context, x: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Return shared bits: x < low, x > high."""
    both = torch.stack([_plus(context, x, -low), _plus(context, -x, high)])
    below, above = negative(context, both).unbind(0)
    return below, above


def _select(context: Context, low: Tensor, high: Tensor, if_low: Tensor, if_high: Tensor) -> Tensor:
    """Return low * if_low + high * if_high for shared bits, both products at once."""
    bits, values = torch.stack([low, high]), torch.stack([if_low, if_high])
    return times(context, bits, values).sum(0)


def _at_least(context: Context, x: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Return shared bits [x >= threshold], along a new first dimension; one comparison's rounds."""
    below = negative(context, torch.stack([_plus(context, x, -t) for t in thresholds]))
    return _not(context, below)


def _staircase(
    context: Context, above: Tensor, values: Sequence[float], below_all: float, bits: int
) -> Tensor:
    """Return values[k] for the highest k with above[k], with fraction bits; without a message."""
    heights = [round(value * 2**bits) for value in (below_all, *values)]
    total = torch.full_like(above[0], heights[0] if context.rank == 0 else 0)
    for bit, (before, after) in zip(above, itertools.pairwise(heights), strict=True):
        total = total + bit * (after - before)
    return total
