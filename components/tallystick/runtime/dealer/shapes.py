"""The shape of a product, for each bilinear operation; checked against torch in the tests.

Asking torch itself, on its meta device, costs seconds of imports in each process.
"""

import numpy as np

Shape = tuple[int, ...]
Options = dict[str, int | Shape]


def product_shape(operation: str, left: Shape, right: Shape, options: Options) -> Shape:
    """Return the shape of ``left op right``.

    Raises:
        ValueError: the shapes or the options do not fit the operation.
    """
    if operation == "mul":
        _only(options, set())
        return tuple(np.broadcast_shapes(left, right))
    if operation == "dot":
        _only(options, set())
        if not left or not right:
            raise ValueError("dot needs dimensions")
        return tuple(np.broadcast_shapes(left, right))[:-1]
    if operation in ("matmul", "matmul_tn", "matmul_nt"):
        _only(options, set())
        return _matmul(*_turned(operation, left, right))
    if operation == "conv2d_kernel":
        return _kernel_gradient(left, right, options)
    dims = int(operation[-2])
    if len(left) != dims + 2 or len(right) != dims + 2:
        raise ValueError(f"{operation} needs two tensors of {dims + 2} dimensions")
    if 0 in left[1:] or 0 in right:
        raise ValueError(f"{operation} of nothing")
    if operation.startswith("conv_transpose"):
        return _transposed(dims, left, right, options)
    return _convolution(dims, left, right, options)


def pairs(options: Options, name: str, default: int) -> Shape:
    """Return an option of a two-dimensional convolution for each dimension."""
    return _each(options, name, default, 2)


def kernel_of(kernels: Shape) -> Shape:
    """Return the size of two-dimensional kernels of shape [O, C, kh, kw]."""
    return tuple(kernels[2:])


def _turned(operation: str, left: Shape, right: Shape) -> tuple[Shape, Shape]:
    """Return the operands' shapes as plain matmul would have them."""
    if operation == "matmul":
        return left, right
    if len(left) < 2 or len(right) < 2:
        raise ValueError("a vector is not transposed")
    if operation == "matmul_tn":
        return (*left[:-2], left[-1], left[-2]), right
    return left, (*right[:-2], right[-1], right[-2])


def _only(options: Options, allowed: set[str]) -> None:
    if not options.keys() <= allowed:
        raise ValueError("an option that the operation does not have")


def _matmul(left: Shape, right: Shape) -> Shape:
    if not left or not right:
        raise ValueError("matmul needs dimensions")
    rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
    if left[-1] != (right[-2] if len(right) > 1 else right[0]):
        raise ValueError("the inner dimensions differ")
    return (*np.broadcast_shapes(left[:-2], right[:-2]), *rows, *columns)


def _each(options: Options, name: str, default: int, dims: int) -> Shape:
    value = options.get(name, default)
    values = (value,) * dims if isinstance(value, int) else value
    values = values * dims if len(values) == 1 else values
    if len(values) != dims or any(v < (1 if default else 0) for v in values):
        raise ValueError(f"{name} does not fit")
    return values


def _convolution(dims: int, left: Shape, right: Shape, options: Options) -> Shape:
    _only(options, {"stride", "padding", "dilation", "groups"})
    groups = _each(options, "groups", 1, 1)[0]
    if left[1] != right[1] * groups or right[0] % groups:
        raise ValueError("the channels do not fit")
    stride, dilation = _each(options, "stride", 1, dims), _each(options, "dilation", 1, dims)
    padding = _each(options, "padding", 0, dims)
    sizes = [
        (left[i + 2] + 2 * padding[i] - dilation[i] * (right[i + 2] - 1) - 1) // stride[i] + 1
        for i in range(dims)
    ]
    return _checked((left[0], right[0], *sizes))


def _kernel_gradient(left: Shape, right: Shape, options: Options) -> Shape:
    """Images and the gradient of the result: the kernels' shape, if these belong together."""
    _only(options, {"stride", "padding", "dilation", "kernel"})
    if len(left) != 4 or len(right) != 4 or 0 in left or 0 in right:
        raise ValueError("conv2d_kernel needs two tensors of 4 dimensions")
    kernels = (right[1], left[1], *_each(options, "kernel", 1, 2))
    places = {name: value for name, value in options.items() if name != "kernel"}
    if _convolution(2, left, kernels, places) != right:
        raise ValueError("the gradient does not fit the images")
    return kernels


def _transposed(dims: int, left: Shape, right: Shape, options: Options) -> Shape:
    _only(options, {"stride", "padding", "dilation", "groups", "output_padding"})
    groups = _each(options, "groups", 1, 1)[0]
    if left[1] != right[0] or left[1] % groups:
        raise ValueError("the channels do not fit")
    stride, dilation = _each(options, "stride", 1, dims), _each(options, "dilation", 1, dims)
    padding, extra = _each(options, "padding", 0, dims), _each(options, "output_padding", 0, dims)
    if any(extra[i] >= max(stride[i], dilation[i]) for i in range(dims)):
        raise ValueError("output_padding does not fit")
    sizes = [
        (left[i + 2] - 1) * stride[i]
        - 2 * padding[i]
        + dilation[i] * (right[i + 2] - 1)
        + extra[i]
        + 1
        for i in range(dims)
    ]
    return _checked((left[0], right[1] * groups, *sizes))


def _checked(shape: Shape) -> Shape:
    if any(size < 1 for size in shape[2:]):
        raise ValueError("the kernel is larger than the input")
    return shape
