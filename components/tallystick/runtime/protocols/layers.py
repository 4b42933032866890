"""Layers of networks on shares, forward and backward, on the protocols for products and signs.

What a layer multiplies is masked and opened once and serves the forward and the backward pass:

===========  ======================================  =========================================
layer        forward                                 backward
===========  ======================================  =========================================
linear       mask x, w; x w'                         mask g; g w, g' x
conv2d       mask x, w; x * w                        mask g; transposed convolution, kernels
relu         x - x [x < 0]                           mask g; g - g [x < 0], the same bits
===========  ======================================  =========================================

Rounds: 2 for a product; 2 for both gradients of one. ReLU 6, and 1 backward. Bytes to each peer for
an element: product 8 for each of its input and its result, ReLU 14, and 8 backward. For what the
dealer sends, what is learnt, and the adversary, see products.py and comparison.py. Batch
normalisation is in batch_norm.py.

Fractions have 16 bits. Shares are int64 modulo 2**64.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tallystick.runtime.dealer.kinds import Options
from tallystick.runtime.protocols.comparison import Compared, below_nought
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.functions import PRECISION_BITS
from tallystick.runtime.protocols.products import Masked, Sum, mask, together


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
        return layer.result(context, bias), layer

    def result(self, context: Context, bias: Tensor | None = None) -> Tensor:
        """Return this party's share of x w' + b."""
        terms = [("matmul_nt", 0, 1, ())]
        one = Sum([self.x, self.weights], terms, PRECISION_BITS, _raised(bias))
        return together(context, [one])[0]

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


def _wanted(context: Context, sums: list[Sum], wanted: tuple[bool, bool]) -> list[Tensor | None]:
    found = iter(together(context, [one for one, yes in zip(sums, wanted, strict=True) if yes]))
    return [next(found) if yes else None for yes in wanted]


def _raised(bias: Tensor | None) -> Tensor | None:
    """Return a bias with the fraction bits of a product."""
    return None if bias is None else bias << PRECISION_BITS


def _options(places: Mapping[str, tuple[int, ...]]) -> Options:
    return tuple(sorted((name, tuple(value)) for name, value in places.items()))
