"""Products of int64 tensors modulo 2**64, for every bilinear operation that is dealt for.

Torch multiplies integer matrices well and convolves integers badly, so a convolution is a product
of matrices here. With X = patches(x), of one row for each element of the kernel and one column for
each place that the kernel is laid on:

=======================  ==========================================  =======================
operation                result                                      as matrices
=======================  ==========================================  =======================
mul                      x * y, shapes broadcast
dot                      sum over the last dimension of x * y
matmul                   x y
matmul_tn, matmul_nt     x' y, x y'                                  no copy is transposed
conv2d                   images x, kernels y                         y X
conv2d_kernel            gradient by the kernel: images x, gradient  y X'
                         y of the result
conv_transpose2d         gradient by the images: gradient x of the   y' x, patches added up
                         result, kernels y
conv1d, convolutions     torch's own
with groups
=======================  ==========================================  =======================

What is wider than operands and result, such as patches, is made for some rows or images at a time.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tallystick.runtime.dealer.shapes import Options, Shape, kernel_of, pairs, product_shape

OPERATIONS = frozenset(
    {
        "mul",
        "dot",
        "matmul",
        "matmul_tn",
        "matmul_nt",
        "conv1d",
        "conv2d",
        "conv2d_kernel",
        "conv_transpose1d",
        "conv_transpose2d",
    }
)


AT_ONCE = 1 << 24
"""So many numbers are held between operands and result: 128 MiB; or those of one row, if more."""


def apply(operation: str, x: Tensor, y: Tensor, options: Options) -> Tensor:
    """Return ``x operation y``."""
    parts = [
        _apply(operation, some_x, some_y, options)
        for (some_x,), (some_y,) in _pieces(operation, [x], [y], options)
    ]
    if len(parts) == 1:
        return parts[0]
    return torch.stack(parts).sum(0) if operation == "conv2d_kernel" else torch.cat(parts)


def _apply(operation: str, x: Tensor, y: Tensor, options: Options) -> Tensor:
    groups = options.get("groups", 1)
    match operation:
        case "mul":
            return x * y
        case "dot":
            return (x * y).sum(-1)
        case "matmul":
            return _matmul(x, y)
        case "matmul_tn":
            return _matmul(x.transpose(-1, -2), y)
        case "matmul_nt":
            return _matmul(x, y.transpose(-1, -2))
        case "conv2d" if groups == 1:
            return _convolve(_patches(x, kernel_of(y.shape), options), y, x.shape, options)
        case "conv2d_kernel":
            return _by_kernel(x, y, options)
        case "conv_transpose2d" if groups == 1:
            return _by_images(x, y, options)
    result: Tensor = getattr(torch, operation)(x, y, **options)
    return result


def add(
    total: Tensor,
    operation: str,
    left: tuple[Tensor, Tensor],
    right: tuple[Tensor, Tensor],
    options: Options,
) -> Tensor:
    """Add two products to a tensor, in place where that is fastest; return it.

    Args:
        total: of the operation's shape.
        operation: of both.
        left: the left operand of the first and of the second product.
        right: the right ones.
        options: of both.
    """
    if operation == "mul":
        return total.addcmul_(left[0], right[0]).addcmul_(left[1], right[1])
    if operation == "conv2d" and options.get("groups", 1) == 1:
        done = 0
        for images, (first, second) in _pieces(operation, left, right, options):
            here = total[done : done + len(images[0])]
            done += len(images[0])
            patches = torch.cat([_patches(x, kernel_of(first.shape), options) for x in images])
            kernels = torch.cat([first.flatten(1), second.flatten(1)], dim=1)
            kernels = kernels.view(len(kernels), -1, *kernel_of(first.shape))
            here.add_(_convolve(patches, kernels, images[0].shape, options))
        return total
    for x, y in zip(left, right, strict=True):
        total.add_(apply(operation, x, y, options))
    return total


def _pieces(
    operation: str, left: Sequence[Tensor], right: Sequence[Tensor], options: Options
) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
    """Give the operands some rows at a time, so that what lies between stays small."""
    rows, width = _between(operation, left[0].shape, right[0].shape, options)
    step = max(1, AT_ONCE // max(1, width * len(left)))
    if rows <= step:
        yield left, right
        return
    if operation == "dot":
        size = np.broadcast_shapes(left[0].shape, right[0].shape)
        left, right = ([x.expand(size) for x in side] for side in (left, right))
    both = operation in ("dot", "conv2d_kernel")
    for first in range(0, rows, step):
        some = slice(first, first + step)
        yield [x[some] for x in left], [y[some] for y in right] if both else right


def held(operation: str, left: Shape, right: Shape, options: Options) -> int:
    """Return how many numbers lie in memory at once between operands and result."""
    rows, width = _between(operation, left, right, options)
    return min(rows * width, max(width, AT_ONCE))


def _between(operation: str, left: Shape, right: Shape, options: Options) -> tuple[int, int]:
    """Return how many rows may be computed one after the other, and how wide each is in between."""
    match operation:
        case "mul":
            return 1, 0
        case "dot":
            shape = left if left == right else np.broadcast_shapes(left, right)
            return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, shape[0])
        case "matmul" | "matmul_tn" | "matmul_nt":
            if left[:-2] == right[:-2]:
                return 1, 0
            stacks = math.prod(np.broadcast_shapes(left[:-2], right[:-2]))
            return 1, stacks * (math.prod(left[-2:]) + math.prod(right[-2:]))
        case "conv2d_kernel":
            kernel, places = pairs(options, "kernel", 1), right[2:]
        case _ if operation.startswith("conv_transpose"):
            return left[0], math.prod(right[1:]) * math.prod(left[2:])
        case _:
            kernel, places = right[2:], product_shape(operation, left, right, options)[2:]
    return left[0], left[1] * math.prod(kernel) * math.prod(places)


def work(operation: str, left: Shape, right: Shape, options: Options) -> int:
    """Return how many numbers are multiplied."""
    made = math.prod(product_shape(operation, left, right, options))
    match operation:
        case "mul":
            return made
        case "dot":
            return made * max(left[-1], right[-1])
        case "matmul" | "matmul_nt":
            return made * left[-1]
        case "matmul_tn":
            return made * left[-2]
        case "conv2d_kernel":
            return made * right[0] * math.prod(right[2:])
        case "conv1d" | "conv2d":
            return made * math.prod(right[1:])
    return math.prod(left) * math.prod(right[1:])


def _matmul(x: Tensor, y: Tensor) -> Tensor:
    if y.shape[-1] == 1 and y.dim() == x.dim() == 2:  # torch is slow where one side is a vector
        return (x * y.view(-1)).sum(1, keepdim=True)
    return x @ y


def _patches(x: Tensor, kernel: Shape, options: Options, *, upright: bool = True) -> Tensor:
    """Return what lies under a kernel at each place: [C kh kw, B oh ow], or transposed."""
    stride, padding = pairs(options, "stride", 1), pairs(options, "padding", 0)
    dilation = pairs(options, "dilation", 1)
    if any(padding):
        x = torch.nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    spans = [dilation[i] * (kernel[i] - 1) + 1 for i in range(2)]
    windows = x.unfold(2, spans[0], stride[0]).unfold(3, spans[1], stride[1])
    windows = windows[..., :: dilation[0], :: dilation[1]]  # B C oh ow kh kw
    rows = x.shape[1] * math.prod(kernel)
    if upright:
        return windows.permute(1, 4, 5, 0, 2, 3).reshape(rows, -1)
    return windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, rows)


def _convolve(patches: Tensor, kernels: Tensor, images: Shape, options: Options) -> Tensor:
    one = (1, images[1], *kernel_of(kernels.shape))
    size = product_shape("conv2d", images, one, options)[2:]
    flat = kernels.flatten(1) @ patches
    return flat.view(len(kernels), images[0], *size).transpose(0, 1)


def _by_kernel(x: Tensor, gradient: Tensor, options: Options) -> Tensor:
    kernel = pairs(options, "kernel", 1)
    places = {name: value for name, value in options.items() if name != "kernel"}
    patches = _patches(x, kernel, places, upright=False)
    flat = gradient.transpose(0, 1).reshape(gradient.shape[1], -1) @ patches
    return flat.view(gradient.shape[1], x.shape[1], *kernel)


def _by_images(gradient: Tensor, kernels: Tensor, options: Options) -> Tensor:
    stride, padding = pairs(options, "stride", 1), pairs(options, "padding", 0)
    dilation = pairs(options, "dilation", 1)
    shape = product_shape("conv_transpose2d", gradient.shape, kernels.shape, options)
    batch, _, high, wide = gradient.shape
    flat = gradient.transpose(0, 1).reshape(gradient.shape[1], -1)
    patches = kernels.flatten(1).t() @ flat
    patches = patches.view(*kernels.shape[1:], batch, high, wide)
    padded = (shape[2] + 2 * padding[0], shape[3] + 2 * padding[1])
    total = torch.zeros((shape[1], batch, *padded), dtype=torch.int64)
    for i in range(kernels.shape[2]):
        rows = slice(i * dilation[0], i * dilation[0] + stride[0] * (high - 1) + 1, stride[0])
        for j in range(kernels.shape[3]):
            first = j * dilation[1]
            columns = slice(first, first + stride[1] * (wide - 1) + 1, stride[1])
            total[:, :, rows, columns] += patches[:, i, j]
    inner = total[:, :, padding[0] : padded[0] - padding[0], padding[1] : padded[1] - padding[1]]
    return inner.transpose(0, 1)
