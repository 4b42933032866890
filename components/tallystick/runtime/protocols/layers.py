"""Layers of networks on shares, forward and backward, on the protocols for products and signs.

What a layer multiplies is masked and opened once and serves the forward and the backward pass:

===========  ======================================  =========================================
layer        forward                                 backward
===========  ======================================  =========================================
matmul,      mask x, w; x w                          mask g; g w', x' g
linear
conv2d       mask x, w; x * w                        mask g; transposed convolution, kernels
relu         x - x [x < 0]                           mask g; g - g [x < 0], the same bits
batch norm   mask x - mean; variance, scale          mask g; sums over g and g x, then one
                                                     sum of products
cross        softmax, then the logarithm at each      a product with the loss's own gradient
entropy      row's class
===========  ======================================  =========================================

Rounds: 2 for a product; 2 for both gradients of one. ReLU 6, and 1 backward. Batch normalisation
with the statistics of the batch: mean 1, variance 3, inverse root of C numbers 13, result 4;
backward 13. Bytes to each peer for an element: product 8 for each of its input and its result, ReLU
14, and 8 backward; batch normalisation 16, and 16 backward. For what the dealer sends, what is
learnt, and the adversary, see products.py and comparison.py.

Fractions have 16 bits. Shares are int64 modulo 2**64.
"""

# B = batch, C = channels.

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tallystick.runtime.dealer.kinds import Options
from tallystick.runtime.protocols.comparison import Compared, below_nought
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.functions import PRECISION_BITS, inv_sqrt, log, softmax
from tallystick.runtime.protocols.products import (
    Masked,
    Sum,
    mask,
    product,
    products,
    times,
    together,
)
from tallystick.runtime.protocols.truncation import truncate

_FINE_BITS = 28
"""Fraction bits of what is tiny: a mean over many elements times a gradient."""
_AT_ONCE = 64
"""The most products that are added up before a truncation; each must stay below 2**24."""


@dataclass(frozen=True, slots=True, eq=False)
class Matmul:
    """x y of matrices, and their gradients."""

    x: Masked
    y: Masked

    @classmethod
    def forward(cls, context: Context, x: Tensor, y: Tensor) -> tuple[Tensor, "Matmul"]:
        """Return this party's share of x y, and what the backward pass needs."""
        layer = cls(*mask(context, x, y))
        return product(context, "matmul", layer.x, layer.y, bits=PRECISION_BITS), layer

    def backward(
        self, context: Context, gradient: Tensor, *, wanted: tuple[bool, bool]
    ) -> list[Tensor | None]:
        """Return this party's shares of the gradients by x and by y, those that are wanted."""
        (g,) = mask(context, gradient)
        sums = [
            Sum([g, self.y], [("matmul_nt", 0, 1, ())], PRECISION_BITS),
            Sum([self.x, g], [("matmul_tn", 0, 1, ())], PRECISION_BITS),
        ]
        return _wanted(context, sums, wanted)


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """x w' + b for rows x and weights of shape [outputs, inputs], and the gradients by x and w."""

    x: Masked
    weights: Masked

    @classmethod
    def forward(
        cls, context: Context, x: Tensor, weights: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, "Linear"]:
        """Return this party's share of the result, and what the backward pass needs."""
        layer = cls(*mask(context, x, weights))
        terms = [("matmul_nt", 0, 1, ())]
        one = Sum([layer.x, layer.weights], terms, PRECISION_BITS, _raised(bias))
        return together(context, [one])[0], layer

    def backward(
        self, context: Context, gradient: Tensor, *, wanted: tuple[bool, bool]
    ) -> list[Tensor | None]:
        """Return this party's shares of the gradients by x and by the weights that are wanted."""
        (g,) = mask(context, gradient)
        sums = [
            Sum([g, self.weights], [("matmul", 0, 1, ())], PRECISION_BITS),
            Sum([g, self.x], [("matmul_tn", 0, 1, ())], PRECISION_BITS),
        ]
        return _wanted(context, sums, wanted)


@dataclass(frozen=True, slots=True, eq=False)
class Conv2d:
    """A convolution of images with kernels, not in groups, and its gradients."""

    images: Masked
    kernels: Masked
    places: dict[str, tuple[int, int]]
    """Stride, padding, dilation."""

    @classmethod
    def forward(
        cls,
        context: Context,
        images: Tensor,
        kernels: Tensor,
        places: dict[str, tuple[int, int]],
        bias: Tensor | None = None,
    ) -> tuple[Tensor, "Conv2d"]:
        """Return this party's share of the convolution, and what the backward pass needs."""
        x, w = mask(context, images, kernels)
        terms = [("conv2d", 0, 1, _options(places))]
        plus = None if bias is None else _raised(bias.view(-1, 1, 1))
        return together(context, [Sum([x, w], terms, PRECISION_BITS, plus)])[0], cls(x, w, places)

    def backward(
        self, context: Context, gradient: Tensor, *, wanted: tuple[bool, bool]
    ) -> list[Tensor | None]:
        """Return this party's shares of the gradients by images and kernels that are wanted."""
        (g,) = mask(context, gradient)
        kernel = self.kernels.shape[2:]
        stride, padding, dilation = (self.places[n] for n in ("stride", "padding", "dilation"))
        rim = tuple(
            self.images.shape[i + 2]
            - (g.shape[i + 2] - 1) * stride[i]
            + 2 * padding[i]
            - dilation[i] * (kernel[i] - 1)
            - 1
            for i in range(2)
        )
        by_images = _options({**self.places, "output_padding": rim})
        by_kernels = _options({**self.places, "kernel": kernel})
        sums = [
            Sum([g, self.kernels], [("conv_transpose2d", 0, 1, by_images)], PRECISION_BITS),
            Sum([self.images, g], [("conv2d_kernel", 0, 1, by_kernels)], PRECISION_BITS),
        ]
        return _wanted(context, sums, wanted)


def relu(context: Context, x: Tensor) -> tuple[Tensor, Compared]:
    """Return this party's share of max(x, 0), and the signs for :func:`relu_gradient`."""
    below, compared = below_nought(context, x)
    return torch.sub(x, below, out=below), compared


def relu_gradient(context: Context, compared: Compared, gradient: Tensor) -> Tensor:
    """Return this party's share of the gradient where x was not below nought."""
    return gradient - compared.times(context, gradient)


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
            x: [B, C, ...], below 2**12 in magnitude.
            weight: [C].
            bias: [C].
            epsilon: added to the variance.
        """
        mean = _mean(context, _by_channel(x), x.numel() // x.shape[1])
        (centred,) = mask(context, x - _along(mean, x))
        squares = _dot(context, centred, centred, PRECISION_BITS)
        variance = _mean(context, squares, x.numel() // x.shape[1])
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


def blend(
    context: Context, old: Sequence[Tensor], new: Sequence[Tensor], part: float
) -> list[Tensor]:
    """Return this party's shares of old + part (new - old), for several values of one shape."""
    before, now = torch.stack(list(old)), torch.stack(list(new))
    step = (now - before) * round(part * 2**PRECISION_BITS)
    return list((before + truncate(context, step, PRECISION_BITS)).unbind(0))


@dataclass(frozen=True, slots=True, eq=False)
class CrossEntropy:
    """The mean over rows of -log softmax(x) at the row's class, and its gradient."""

    excess: Tensor
    """softmax(x) - target: [B, K]."""

    @classmethod
    def forward(
        cls, context: Context, x: Tensor, target: Tensor, *, wanted: bool
    ) -> tuple[Tensor, "CrossEntropy"]:
        """Return this party's share of the loss, nought if it is not wanted.

        Args:
            context: the session's means.
            x: scores, [B, K].
            target: one-hot, in fixed point, [B, K].
            wanted: whether anybody will look at the loss.
        """
        likely = softmax(context, x)
        layer = cls(likely - target)
        if not wanted:
            return torch.zeros((), dtype=torch.int64), layer
        p, t = mask(context, likely, target)
        chosen = product(context, "dot", p, t, bits=PRECISION_BITS)
        return -_mean(context, log(context, chosen).sum(), len(x)), layer

    def backward(self, context: Context, gradient: Tensor) -> Tensor:
        """Return this party's share of the gradient by x."""
        factor, bits = _reciprocal(len(self.excess))
        return times(context, self.excess * factor, gradient, PRECISION_BITS + bits)


def _wanted(context: Context, sums: list[Sum], wanted: tuple[bool, bool]) -> list[Tensor | None]:
    found = iter(together(context, [one for one, yes in zip(sums, wanted, strict=True) if yes]))
    return [next(found) if yes else None for yes in wanted]


def _raised(bias: Tensor | None) -> Tensor | None:
    """Return a bias with the fraction bits of a product."""
    return None if bias is None else bias << PRECISION_BITS


def _options(places: Mapping[str, tuple[int, ...]]) -> Options:
    return tuple(sorted((name, tuple(value)) for name, value in places.items()))


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


def _reciprocal(count: int) -> tuple[int, int]:
    """Return 1 / count as a whole number of at least 13 bits, and its fraction bits."""
    bits = 13 + count.bit_length()
    return round(2**bits / count), bits


def _mean(context: Context, total: Tensor, count: int) -> Tensor:
    factor, bits = _reciprocal(count)
    return truncate(context, total * factor, bits)


def _means(context: Context, *totals: Tensor, count: int) -> list[Tensor]:
    """Divide sums of 24 fraction bits, to 28."""
    factor, bits = _reciprocal(count)
    return list(truncate(context, torch.stack(totals) * factor, bits - 4).unbind(0))
