"""Functions of shared real numbers, with their domains, error bounds, and what they do outside.

===============  =====================  ==========================  ==============================
function         domain                 error in the domain         outside
===============  =====================  ==========================  ==============================
sigmoid, tanh    all                    2**-12 absolute             (tends to its limit)
softplus         all                    2**-12 absolute             (tends to its limit)
exp              -12 <= x <= 10         2**-9 of exp(x) + 2**-12    0 below, exp(10) above
reciprocal       2**-8 <= |x| < 2**16   2**-9 of 1/x + 2**-14       sign times 2**8 nearer to 0
inv_sqrt         2**-12 <= x < 2**16    2**-9 of it + 2**-14        as at 2**-12 below
sqrt             2**-12 <= x < 2**16    2**-9 of it                 as at 2**-12 below
log              2**-12 <= x < 2**16    2**-12 absolute             as at 2**-12 below
===============  =====================  ==========================  ==============================

"All" is what fixed point holds with room for a product: |x| < 2**20. CrypTen's own versions return
nonsense without notice outside narrow domains: sigmoid(1000) = -3e9, reciprocal(1e4) = 7e12.

The smooth middle of a function is a Fourier series (fourier.py). The functions of a magnitude bring
x to [1/2, 1) or [1/4, 1) by a power of two, found by comparing x with all of them at once, and then
use Newton's iteration. Source: Catrina and Saxena, "Secure Computation with Fixed-Point Numbers",
FC 2010, with the normalisation done by comparisons.

Precision is 16 bits after the point throughout; shares are int64 modulo 2**64.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tallystick.runtime.protocols.comparison import negative
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.fourier import evaluate, fit
from tallystick.runtime.protocols.products import square, times
from tallystick.runtime.protocols.truncation import truncate

PRECISION_BITS = 16
RIM = 12.0
_SIGMOID = fit(lambda x: 1 / (1 + np.exp(-x)), domain=(-RIM, RIM), period_log2=5)
_LOG_COSH = fit(lambda x: np.log(2 * np.cosh(x / 2)), domain=(-RIM, RIM), period_log2=5)
_EXP_LOW, _EXP_HIGH = -12.0, 10.0
_EXP_EIGHTH = fit(lambda x: np.exp(x / 8), domain=(_EXP_LOW - 1, _EXP_HIGH + 1), period_log2=6)
_LOG = fit(np.log, domain=(0.45, 1.1), period_log2=1)


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
    steps = range(-8, 16)
    above = _at_least(context, x, [2.0**k for k in steps])
    # 2**-(k+1) for 2**k <= x < 2**(k+1): a public combination of the bits. Below all, c is 2**8.
    c = _staircase(context, above, [2.0 ** -(k + 1) for k in steps], 2.0**8)
    u = _times(context, x, c)
    y = _plus(context, -2 * u, 2.9142)
    for _ in range(4):
        y = _times(context, y, _plus(context, -_times(context, u, y), 2.0))
    inverse = _times(context, y, c)
    limit = _plus(context, -inverse, 2.0**8)
    return inverse + times(context, _not(context, above[0]), limit)


def inv_sqrt(context: Context, x: Tensor) -> Tensor:
    """Return one over the square root."""
    _, y, above = _root(context, x)
    return _times(context, y, _staircase(context, above, [2.0**-k for k in _ROOTS], 2.0**6))


def sqrt(context: Context, x: Tensor) -> Tensor:
    """Return the square root."""
    u, y, above = _root(context, x)
    root = _times(context, u, y)
    return _times(context, root, _staircase(context, above, [2.0**k for k in _ROOTS], 2.0**-6))


_ROOTS = range(-5, 9)
"""Exponents k: x is brought to u = x / 4**k in [1/4, 1)."""


def _root(context: Context, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return u in [1/4, 1), one over its root, and the bits [x >= 4**(k-1)] of the exponents."""
    above = _at_least(context, x, [4.0 ** (k - 1) for k in _ROOTS])
    # Below the domain: as at its rim.
    rise = _plus(context, -x, 4.0 ** (_ROOTS[0] - 1))
    x = x + times(context, _not(context, above[0]), rise)
    c = _staircase(context, above, [2.0**-k for k in _ROOTS], 2.0**6)
    u = _times(context, _times(context, x, c), c)
    # The line 2.25 - 1.3 u is within 14 % of 1 / sqrt(u); Newton squares the error each time.
    y = _plus(context, -_scaled(context, u, 1.3), 2.25)
    for _ in range(4):
        uyy = _times(context, u, square(context, y, PRECISION_BITS))
        y = truncate(context, _times(context, y, _plus(context, -uyy, 3.0)), 1)
    return u, y, above


def log(context: Context, x: Tensor) -> Tensor:
    """Return the natural logarithm; with x = u 2**k it is that of u, plus k times that of 2."""
    steps = range(-12, 16)
    above = _at_least(context, x, [2.0**k for k in steps])
    floor = times(context, _not(context, above[0]), _plus(context, -x, 2.0**-12))
    x = x + floor
    c = _staircase(context, above, [2.0 ** -(k + 1) for k in steps], 2.0**11)
    shift = _staircase(
        context, above, [(k + 1) * float(np.log(2)) for k in steps], -11 * float(np.log(2))
    )
    (of_u,) = evaluate(context, _times(context, x, c), [_LOG], PRECISION_BITS)
    return of_u + shift


def _plus(context: Context, x: Tensor, constant: float) -> Tensor:
    return x + round(constant * 2**PRECISION_BITS) if context.rank == 0 else x


def _scaled(context: Context, x: Tensor, factor: float) -> Tensor:
    return truncate(context, x * round(factor * 2**PRECISION_BITS), PRECISION_BITS)


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
    context: Context, above: Tensor, values: Sequence[float], below_all: float
) -> Tensor:
    """Return values[k] for the highest k with above[k], without a message."""
    heights = [below_all, *values]
    total = _plus(context, torch.zeros_like(above[0]), below_all)
    for bit, (before, after) in zip(above, itertools.pairwise(heights), strict=True):
        total = total + bit * round((after - before) * 2**PRECISION_BITS)
    return total
