"""Batch normalisation on shares, forward and backward; what is masked once serves both.

Forward:    mask x - mean; variance; one over the deviation;   y = (x - mean) scale + bias.
Backward:   mask g; its sums and those of g (x - mean), then one sum of products.

Rounds: with the statistics of the batch mean 1, variance 3, inverse root of C numbers 13, result 4;
backward 13. Bytes to each peer for an element: 16, and 16 backward. For what the dealer sends, what
is learnt, and the adversary, see products.py.

Fractions have 16 bits. Shares are int64 modulo 2**64.
Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015, for the gradient.
"""

# B = batch, C = channels.

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.functions import PRECISION_BITS, inv_sqrt
from tallystick.runtime.protocols.products import (
    Masked,
    Sum,
    mask,
    product,
    products,
    times,
    together,
)
from tallystick.runtime.protocols.truncation import divided, reciprocal, truncate

_FINE_BITS = 28
"""Fraction bits of what is tiny: a mean over many elements times a gradient."""
_AT_ONCE = 64
"""The most products that are added up before a truncation; each must stay below 2**24."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchNorm:
    """(x - mean) / deviation * weight + bias for each channel, and its gradients."""

    centred: Masked
    """x - mean: [B, C, ...]."""
    inverse: Tensor
    """One over the deviation: [C]."""
    scale: Tensor
    """weight / deviation: [C]."""
    of_batch: bool
    """Whether mean and deviation are those of the batch, which the gradient must regard."""

    @classmethod
    def of_the_batch(
        cls, context: Context, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float
    ) -> tuple[Tensor, "BatchNorm", tuple[Tensor, Tensor]]:
        """Return this party's share of the result, what the backward pass needs, mean and variance.

        Args:
            context: the session's means.
            x: [B, C, ...], below 2**12 in magnitude, of a variance below 2**20 in each channel.
            weight: [C].
            bias: [C].
            epsilon: added to the variance.
        """
        count = x.numel() // x.shape[1]
        mean = divided(context, _by_channel(x), count)
        (centred,) = mask(context, x - _along(mean, x))
        # Their sum must stay below 2**48 in units, so many squares have fewer fraction bits each.
        fewer = max(0, count.bit_length() - 12)
        squares = _dot(context, centred, centred, PRECISION_BITS + fewer)
        variance = divided(context, squares, count, fewer)
        layer = cls(centred, *deviations(context, variance, weight, epsilon), of_batch=True)
        return layer._scaled(context, bias), layer, (mean, variance)

    @classmethod
    def with_statistics(
        cls, context: Context, x: Tensor, mean: Tensor, found: tuple[Tensor, Tensor], bias: Tensor
    ) -> tuple[Tensor, "BatchNorm"]:
        """Normalise with a known mean [C] and what :func:`deviations` found."""
        (centred,) = mask(context, x - _along(mean, x))
        layer = cls(centred, *found, of_batch=False)
        return layer._scaled(context, bias), layer

    def _scaled(self, context: Context, bias: Tensor) -> Tensor:
        (factor,) = mask(context, _along(self.scale, self.centred.opened))
        result = product(context, "mul", self.centred, factor, bits=PRECISION_BITS)
        return result.add_(_along(bias, result))

    def backward(
        self, context: Context, gradient: Tensor, *, wanted: bool
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return this party's shares of the gradients by x, if wanted, by weight and by bias."""
        (g,) = mask(context, gradient)
        coarse = _FINE_BITS - 4
        by_bias = _by_channel(gradient)
        moment = _dot(context, g, self.centred, 2 * PRECISION_BITS - coarse)
        by_weight = times(context, moment, self.inverse, coarse)
        if not wanted:
            return None, by_weight, by_bias
        factor = self.scale << _FINE_BITS - PRECISION_BITS
        if not self.of_batch:
            (steep,) = mask(context, _along(factor, gradient))
            return product(context, "mul", g, steep, bits=_FINE_BITS), by_weight, by_bias
        # scale (g - mean(g) - (x - mean) mean(g (x - mean)) / deviation**2)
        mean_g, mean_moment = _means(
            context,
            by_bias << coarse - PRECISION_BITS,
            moment,
            count=gradient.numel() // len(moment),
        )
        # One factor after the other: one over the variance has few bits where that is large.
        turned = times(context, mean_moment, self.inverse, PRECISION_BITS)
        turned = times(context, turned, self.inverse, PRECISION_BITS)
        both = times(
            context, torch.stack([mean_g, turned]), self.scale.unsqueeze(0), PRECISION_BITS
        )
        factors = mask(context, _along(factor, gradient), _along(-both[1], gradient))
        by_x = together(
            context,
            [
                Sum(
                    [g, self.centred, *factors],
                    [("mul", 0, 2, ()), ("mul", 1, 3, ())],
                    _FINE_BITS,
                    plus=_along(-both[0], gradient) << PRECISION_BITS,
                )
            ],
        )[0]
        return by_x, by_weight, by_bias


def deviations(
    context: Context, variance: Tensor, weight: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return this party's shares of one over the deviation, and of that times the weight: [C]."""
    guard = round(epsilon * 2**PRECISION_BITS) if context.rank == 0 else 0
    inverse = inv_sqrt(context, variance + guard)
    return inverse, times(context, inverse, weight, PRECISION_BITS)


def known_deviations(context: Context, variance: Any, weight: Any, epsilon: float) -> Any:
    """Return :func:`deviations`, found once for as long as nobody changes what they are of.

    Args:
        context: the session's means.
        variance: a secret, [C]; what is found stays with it.
        weight: a secret, [C].
        epsilon: added to the variance.
    """
    of = [variance.share, weight.share]
    now = (*(tensor._version for tensor in of), epsilon)
    before, then, known = vars(variance).get("_deviations", ((None, None), None, None))
    if before[0] is of[0] and before[1] is of[1] and then == now:
        return known
    found = deviations(context, variance.share, weight.share, epsilon)
    vars(variance)["_deviations"] = of, now, found
    return found


def _along(channels: Tensor, x: Tensor) -> Tensor:
    """Return [C] in a shape that broadcasts with [B, C, ...]."""
    return channels.view(1, -1, *[1] * (x.dim() - 2))


def _by_channel(x: Tensor) -> Tensor:
    """Sum over everything but the channels."""
    return x.sum([0, *range(2, x.dim())])


def _dot(context: Context, x: Masked, y: Masked, bits: int) -> Tensor:
    """Return this party's share of the sum of x * y for each channel.

    It is truncated in groups of at most 64, so that the sum before the truncation fits the ring.
    """
    batch, channels = x.shape[:2]
    each = math.prod(x.shape[2:])
    group = max(n for n in range(1, _AT_ONCE + 1) if each % n == 0)
    grouped = [masked.view(batch, channels, each // group, group) for masked in (x, y)]
    if x is y:
        part = products(context, grouped[:1], [("dot", 0, 0, ())], bits)
    else:
        part = products(context, grouped, [("dot", 0, 1, ())], bits)
    return _by_channel(part)


def _means(context: Context, *totals: Tensor, count: int) -> list[Tensor]:
    """Divide sums of 24 fraction bits, to 28."""
    factor, bits = reciprocal(count)
    return list(truncate(context, torch.stack(totals) * factor, bits - 4).unbind(0))
