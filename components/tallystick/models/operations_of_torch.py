"""Which of PyTorch's layers, functions and methods have a counterpart on shares.

Each entry takes what the call was given and returns our operation with its attributes, or raises
:class:`Refusal` with the setting that has none.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from tallystick.models.graph import Attribute


class Refusal(Exception):
    """What about a call has no counterpart."""


@dataclass(frozen=True, slots=True)
class Found:
    """Our operation for a call."""

    op: str
    inputs: Sequence[Any]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


def _linear(x: Any, weight: str, bias: str | None = None) -> Found:
    return Found("linear", [x], {}, _named(weight=weight, bias=bias))


def _convolution(dims: int) -> Callable[..., Found]:
    def found(
        x: Any,
        weight: str,
        bias: str | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Found:
        if isinstance(padding, str):
            raise Refusal(f"a convolution with padding={padding!r}")
        attributes: dict[str, Attribute] = {
            "stride": _each(stride, dims),
            "padding": _each(padding, dims),
            "dilation": _each(dilation, dims),
        }
        if groups != 1:
            attributes["groups"] = groups
        return Found("convolution", [x], attributes, _named(weight=weight, bias=bias))

    return found


def _max_pool(dims: int) -> Callable[..., Found]:
    def found(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Found:
        if return_indices or _each(dilation, dims) != [1] * dims:
            raise Refusal("max-pooling with dilation or return_indices")
        window = _window(kernel_size, stride, padding, dims)
        if ceil_mode:
            window["ceil_mode"] = True
        return Found("max_pool", [x], window)

    return found


def _avg_pool(dims: int) -> Callable[..., Found]:
    def found(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Found:
        padded = _each(padding, dims) != [0] * dims
        if ceil_mode or divisor_override is not None or (padded and not count_include_pad):
            raise Refusal("pooling with ceil_mode, divisor_override or uncounted padding")
        return Found("avg_pool", [x], _window(kernel_size, stride, padding, dims))

    return found


def _adaptive_avg_pool(dims: int) -> Callable[..., Found]:
    def found(x: Any, output_size: Any) -> Found:
        sides = x.meta["shape"][-dims:]
        asked = output_size if isinstance(output_size, Sequence) else [output_size] * dims
        wanted = [side if size is None else size for side, size in zip(sides, asked, strict=True)]
        if any(side % size for side, size in zip(sides, wanted, strict=True)):
            raise Refusal(f"adaptive pooling of {list(sides)} to {list(wanted)}, uneven windows,")
        kernel = [side // size for side, size in zip(sides, wanted, strict=True)]
        return Found("avg_pool", [x], _window(kernel, kernel, 0, dims))

    return found


def _batch_norm(module: nn.Module, name: str, arguments: Sequence[Any]) -> Found:
    settings: Any = module
    if not (settings.track_running_stats and settings.affine) or settings.momentum is None:
        raise Refusal("a BatchNorm without affine, running statistics or momentum")
    roles = ("weight", "bias", "running_mean", "running_var")
    parameters = {role: f"{name}.{role}" for role in roles}
    (x,) = arguments
    return _normalised(x, parameters, settings.momentum, settings.eps, settings.training)


def _batch_norm_function(
    x: Any,
    running_mean: str | None,
    running_var: str | None,
    weight: str | None = None,
    bias: str | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> Found:
    parameters = _named(
        weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    if len(parameters) != 4 or momentum is None:
        raise Refusal("a BatchNorm without affine, running statistics or momentum")
    return _normalised(x, parameters, momentum, eps, training)


def _normalised(
    x: Any, parameters: Mapping[str, str], momentum: float, eps: float, training: bool
) -> Found:
    """Return a BatchNorm; one that keeps to its running statistics in training as well is fixed."""
    attributes: dict[str, Attribute] = {"eps": float(eps), "momentum": float(momentum)}
    if not training:
        attributes["fixed"] = True
    return Found("batch_norm", [x], attributes, parameters)


def _plain(op: str) -> Callable[..., Found]:
    """An operation without settings; ``inplace`` makes no difference here."""

    def found(x: Any, inplace: bool = False) -> Found:
        return Found(op, [x])

    return found


def _leaky(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Found:
    return Found("leaky_relu", [x], {"slope": float(negative_slope)})


def _clamp(x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Found:
    return Found("clamp", [x], {"low": float(min_val), "high": float(max_val)})


def _relu6(x: Any, inplace: bool = False) -> Found:
    return _clamp(x, 0.0, 6.0)


def _softmax(x: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Found:
    if dim is None or dtype is not None:
        raise Refusal("a softmax without dim, or with dtype,")
    return Found("softmax", [x], {"dim": _dim(x, dim)})


def _dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Found:
    if not training:
        return _reshape(x)
    if p >= 1:
        raise Refusal("a dropout of everything")
    return Found("dropout", [x], {"p": float(p)})


def _reshape(x: Any, *_: Any, **__: Any) -> Found:
    return Found("reshape", [x])


def _sum(x: Any, y: Any, alpha: float = 1) -> Found:
    if alpha != 1:
        raise Refusal("an addition with alpha")
    x, y = (y, x) if isinstance(x, int | float) else (x, y)
    return (
        Found("shift", [x], {"by": float(y)}) if isinstance(y, int | float) else _pair("add", x, y)
    )


def _difference(x: Any, y: Any, alpha: float = 1) -> Found:
    if alpha != 1 or isinstance(x, int | float):
        raise Refusal("a subtraction from a number, or with alpha,")
    return _sum(x, -y) if isinstance(y, int | float) else _pair("subtract", x, y)


def _product(x: Any, y: Any) -> Found:
    x, y = (y, x) if isinstance(x, int | float) else (x, y)
    if isinstance(y, int | float):
        return Found("scale", [x], {"by": float(y)})
    return _pair("multiply", x, y)


def _quotient(x: Any, y: Any) -> Found:
    if not isinstance(y, int | float):
        raise Refusal("a division by a tensor")
    return Found("scale", [x], {"by": 1 / y})


def _pair(op: str, x: Any, y: Any) -> Found:
    if isinstance(x, str) or isinstance(y, str) or x.meta["shape"] != y.meta["shape"]:
        raise Refusal("an operation on two tensors of different shapes, or on a bare parameter,")
    return Found(op, [x, y])


def _concatenation(tensors: Sequence[Any], dim: int = 0) -> Found:
    return Found("concatenate", list(tensors), {"dim": _dim(tensors[0], dim)})


def _mean(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Found:
    if dim is None or dtype is not None:
        raise Refusal("a mean over everything, or with dtype,")
    dims = [_dim(x, d) for d in (dim if isinstance(dim, Sequence) else [dim])]
    return Found("mean", [x], {"dims": dims})


def _dim(x: Any, dim: int) -> int:
    """Return a dimension counted from the front; the rows' own is refused."""
    counted = dim % len(x.meta["shape"])
    if counted == 0:
        raise Refusal("an operation along the rows")
    return counted


def _window(kernel: Any, stride: Any, padding: Any, dims: int) -> dict[str, Attribute]:
    kernel = _each(kernel, dims)
    return {
        "kernel": kernel,
        "stride": kernel if stride is None or stride == [] else _each(stride, dims),
        "padding": _each(padding, dims),
    }


def _each(value: Any, dims: int) -> list[int]:
    values = list(value) if isinstance(value, Sequence) else [value]
    return [int(v) for v in (values * dims if len(values) == 1 else values)]


def _named(**roles: str | None) -> dict[str, str]:
    if not all(name is None or isinstance(name, str) for name in roles.values()):
        raise Refusal("weights that are computed")
    return {role: name for role, name in roles.items() if name is not None}


def _layer(function: Callable[..., Found], *settings: str) -> Callable[..., Found]:
    """A layer that is a function of its input and of some of the module's fields."""

    def found(module: nn.Module, name: str, arguments: Sequence[Any]) -> Found:
        (x,) = arguments
        return function(x, **{setting: getattr(module, setting) for setting in settings})

    return found


def _weighted(function: Callable[..., Found], *settings: str) -> Callable[..., Found]:
    """As :func:`_layer`, for one with weight and bias."""

    def found(module: nn.Module, name: str, arguments: Sequence[Any]) -> Found:
        if getattr(module, "padding_mode", "zeros") != "zeros":
            raise Refusal("a convolution whose padding is not nought")
        (x,) = arguments
        bias = None if module.bias is None else f"{name}.bias"
        return function(
            x, f"{name}.weight", bias, **{setting: getattr(module, setting) for setting in settings}
        )

    return found


_POOL = ("kernel_size", "stride", "padding", "ceil_mode")
_CONVOLUTION = ("stride", "padding", "dilation", "groups")
MODULES: Mapping[type[nn.Module], Callable[..., Found]] = {
    nn.Linear: _weighted(_linear),
    nn.Conv1d: _weighted(_convolution(1), *_CONVOLUTION),
    nn.Conv2d: _weighted(_convolution(2), *_CONVOLUTION),
    nn.MaxPool1d: _layer(_max_pool(1), *_POOL, "dilation", "return_indices"),
    nn.MaxPool2d: _layer(_max_pool(2), *_POOL, "dilation", "return_indices"),
    nn.AvgPool1d: _layer(_avg_pool(1), *_POOL, "count_include_pad"),
    nn.AvgPool2d: _layer(_avg_pool(2), *_POOL, "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool1d: _layer(_adaptive_avg_pool(1), "output_size"),
    nn.AdaptiveAvgPool2d: _layer(_adaptive_avg_pool(2), "output_size"),
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: _layer(_plain("relu")),
    nn.LeakyReLU: _layer(_leaky, "negative_slope"),
    nn.ReLU6: _layer(_relu6),
    nn.Hardtanh: _layer(_clamp, "min_val", "max_val"),
    nn.Sigmoid: _layer(_plain("sigmoid")),
    nn.Tanh: _layer(_plain("tanh")),
    nn.SiLU: _layer(_plain("silu")),
    nn.Softmax: _layer(_softmax, "dim"),
    nn.Dropout: _layer(_dropout, "p", "training"),
    nn.Flatten: _layer(_reshape),
    nn.Identity: _layer(_reshape),
}
FUNCTIONS: Mapping[Callable[..., Any], Callable[..., Found]] = {
    functional.linear: _linear,
    functional.conv1d: _convolution(1),
    functional.conv2d: _convolution(2),
    torch.conv1d: _convolution(1),
    torch.conv2d: _convolution(2),
    functional.max_pool1d: _max_pool(1),
    functional.max_pool2d: _max_pool(2),
    functional.avg_pool1d: _avg_pool(1),
    functional.avg_pool2d: _avg_pool(2),
    functional.adaptive_avg_pool1d: _adaptive_avg_pool(1),
    functional.adaptive_avg_pool2d: _adaptive_avg_pool(2),
    functional.batch_norm: _batch_norm_function,
    functional.relu: _plain("relu"),
    torch.relu: _plain("relu"),
    functional.leaky_relu: _leaky,
    functional.relu6: _relu6,
    functional.hardtanh: _clamp,
    torch.sigmoid: _plain("sigmoid"),
    functional.sigmoid: _plain("sigmoid"),
    torch.tanh: _plain("tanh"),
    functional.tanh: _plain("tanh"),
    functional.silu: _plain("silu"),
    functional.softmax: _softmax,
    torch.softmax: _softmax,
    functional.dropout: _dropout,
    torch.flatten: _reshape,
    torch.reshape: _reshape,
    torch.squeeze: _reshape,
    torch.unsqueeze: _reshape,
    torch.add: _sum,
    torch.sub: _difference,
    torch.mul: _product,
    torch.div: _quotient,
    operator.add: _sum,
    operator.iadd: _sum,
    operator.sub: _difference,
    operator.isub: _difference,
    operator.mul: _product,
    operator.imul: _product,
    operator.truediv: _quotient,
    torch.cat: _concatenation,
    torch.concat: _concatenation,
    torch.mean: _mean,
}
METHODS: Mapping[str, Callable[..., Found]] = {
    "relu": _plain("relu"),
    "relu_": _plain("relu"),
    "sigmoid": _plain("sigmoid"),
    "tanh": _plain("tanh"),
    "softmax": _softmax,
    "flatten": _reshape,
    "view": _reshape,
    "reshape": _reshape,
    "squeeze": _reshape,
    "unsqueeze": _reshape,
    "contiguous": _reshape,
    "add": _sum,
    "add_": _sum,
    "sub": _difference,
    "mul": _product,
    "div": _quotient,
    "mean": _mean,
}
