"""Which of ONNX's operators have a counterpart on shares, and which one.

Each entry takes a :class:`Call` and returns the result, or raises
:class:`~tallystick.models.operations_of_torch.Refusal` with what has none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tallystick.models.assembly import Assembly, Shape, Value
from tallystick.models.graph import Attribute
from tallystick.models.operations_of_torch import Found, Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One node of the file."""

    assembly: Assembly
    name: str
    inputs: Sequence[Value | NDArray[Any] | None]
    names: Sequence[str]
    """Of the inputs; those of constants become names of parameters."""
    settings: Mapping[str, Any]
    opset: int
    rows: int
    """For how many rows at once the file was made."""

    def value(self, index: int = 0) -> Value:
        """Return an input that depends on the features."""
        found = self.inputs[index]
        if not isinstance(found, Value):
            raise Refusal("an operation on a constant alone")
        return found

    def constant(self, index: int) -> NDArray[Any] | None:
        """Return an input that is a constant; None where it was left out."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(found, Value):
            raise Refusal("a setting or weight that is computed from the features")
        return found

    def setting(self, name: str, index: int, default: Any = None) -> Any:
        """Return a setting that newer files give as an input, and older ones as an attribute."""
        found = self.constant(index)
        if found is not None:
            return found.tolist()
        return self.settings.get(name, default)

    def parameter(self, index: int, *, transposed: bool = False, buffer: bool = False) -> str:
        """Make a constant input a parameter; return its name."""
        found = self.constant(index)
        if found is None:
            raise Refusal("a layer without its weight")
        tensor = torch.from_numpy(np.array(found, dtype=np.float64))
        name = f"{self.names[index]}.transposed" if transposed else self.names[index]
        return self.assembly.parameter(name, tensor.t() if transposed else tensor, buffer=buffer)

    def add(
        self,
        op: str,
        attributes: Mapping[str, Attribute] | None = None,
        parameters: Mapping[str, str] | None = None,
        *,
        inputs: Sequence[Value] = (),
        shape: Shape | None = None,
    ) -> Value:
        """Add our operation, by default to the first input."""
        found = Found(op, inputs or [self.value()], attributes or {}, parameters or {})
        return self.assembly.add(self.name, found, shape)


def _conv(call: Call) -> Value:
    weight = call.constant(1)
    if weight is None or weight.ndim not in (3, 4):
        raise Refusal("a convolution that is of neither one nor two dimensions")
    dims = weight.ndim - 2
    dilation = [int(n) for n in call.settings.get("dilations", [1] * dims)]
    spans = [d * (size - 1) + 1 for d, size in zip(dilation, weight.shape[2:], strict=True)]
    stride = [int(n) for n in call.settings.get("strides", [1] * dims)]
    attributes: dict[str, Attribute] = {
        "stride": stride,
        "padding": _padding(call, spans, stride),
        "dilation": dilation,
    }
    if (groups := int(call.settings.get("group", 1))) != 1:
        attributes["groups"] = groups
    parameters = {"weight": call.parameter(1)}
    if call.constant(2) is not None:
        parameters["bias"] = call.parameter(2)
    return call.add("convolution", attributes, parameters)


def _padding(call: Call, spans: Sequence[int], stride: Sequence[int]) -> list[int]:
    """Return the padding of each side, which must be the same before and after."""
    dims = len(spans)
    pads = [int(n) for n in call.settings.get("pads", [0] * 2 * dims)]
    before, after = pads[:dims], pads[dims:]
    mode = call.settings.get("auto_pad", b"NOTSET").decode()
    if mode.startswith("SAME"):
        sides = call.value().shape[2:]
        total = [
            max(0, (math.ceil(side / step) - 1) * step + span - side)
            for side, step, span in zip(sides, stride, spans, strict=True)
        ]
        before, after = [n // 2 for n in total], [n - n // 2 for n in total]
    elif mode == "VALID":
        before, after = [0] * dims, [0] * dims
    if before != after:
        raise Refusal(f"padding of {before} before and {after} after")
    return before


def _gemm(call: Call) -> Value:
    if call.settings.get("transA") or any(call.settings.get(n, 1) != 1 for n in ("alpha", "beta")):
        raise Refusal("a Gemm with transA, alpha or beta")
    transposed = not call.settings.get("transB", 0)
    weight, bias = call.constant(1), call.constant(2)
    parameters = {"weight": call.parameter(1, transposed=transposed)}
    assert weight is not None
    if bias is not None:
        if bias.shape != (weight.shape[1 if transposed else 0],):
            raise Refusal("a Gemm whose bias is not one for each output")
        parameters["bias"] = call.parameter(2)
    return call.add("linear", {}, parameters)


def _matmul(call: Call) -> Value:
    weight = call.constant(1)
    if weight is None or weight.ndim != 2:
        raise Refusal("a product with anything but a constant matrix")
    return call.add("linear", {}, {"weight": call.parameter(1, transposed=True)})


def _batch_norm(call: Call) -> Value:
    if call.settings.get("training_mode"):
        raise Refusal("a BatchNormalization in training mode")
    roles = ("weight", "bias", "running_mean", "running_var")
    parameters = {
        role: call.parameter(index, buffer=index > 2) for index, role in enumerate(roles, start=1)
    }
    eps = float(call.settings.get("epsilon", 1e-5))
    momentum = 1 - float(call.settings.get("momentum", 0.9))
    return call.add("batch_norm", {"eps": eps, "momentum": momentum}, parameters)


def _pool(op: str) -> Callable[[Call], Value]:
    def pool(call: Call) -> Value:
        kernel = [int(n) for n in call.settings["kernel_shape"]]
        stride = [int(n) for n in call.settings.get("strides", [1] * len(kernel))]
        if any(n != 1 for n in call.settings.get("dilations", [])):
            raise Refusal("pooling with dilation")
        padding = _padding(call, kernel, stride)
        attributes: dict[str, Attribute] = {"kernel": kernel, "stride": stride, "padding": padding}
        ceil_mode = bool(call.settings.get("ceil_mode", 0))
        if op == "avg_pool":
            counted = call.settings.get("count_include_pad", 0) or not any(padding)
            if ceil_mode or not counted:
                raise Refusal("average pooling with ceil_mode or uncounted padding")
        elif ceil_mode:
            attributes["ceil_mode"] = True
        return call.add(op, attributes)

    return pool


def _global_pool(op: str) -> Callable[[Call], Value]:
    def pool(call: Call) -> Value:
        kernel = list(call.value().shape[2:])
        return call.add(op, {"kernel": kernel, "stride": kernel, "padding": [0] * len(kernel)})

    return pool


def _plain(op: str) -> Callable[[Call], Value]:
    return lambda call: call.add(op, shape=call.value().shape[1:])


def _same(call: Call) -> Value:
    return call.value()


def _leaky(call: Call) -> Value:
    return call.add("leaky_relu", {"slope": float(call.settings.get("alpha", 0.01))})


def _clip(call: Call) -> Value:
    low, high = call.setting("min", 1), call.setting("max", 2)
    if low == 0 and high is None:
        return call.add("relu")
    if low is None or high is None:
        raise Refusal("a Clip at one side, other than at nought,")
    return call.add("clamp", {"low": float(low), "high": float(high)})


def _softmax(call: Call) -> Value:
    shape = call.value().shape
    axis = int(call.settings.get("axis", -1 if call.opset >= 13 else 1)) % len(shape)
    if axis == 0 or (call.opset < 13 and axis != len(shape) - 1):
        raise Refusal("a softmax along the rows, or along several dimensions,")
    return call.add("softmax", {"dim": axis})


def _mean(call: Call) -> Value:
    shape = call.value().shape
    axes = call.setting("axes", 1)
    dims = sorted(int(axis) % len(shape) for axis in axes or [])
    if not dims or dims[0] == 0:
        raise Refusal("a mean along the rows")
    kept = call.settings.get("keepdims", 1)
    sizes = [
        1 if dim in dims else size for dim, size in enumerate(shape) if kept or dim not in dims
    ]
    return call.add("mean", {"dims": [int(dim) for dim in dims]}, shape=tuple(sizes[1:]))


def _flatten(call: Call) -> Value:
    shape = call.value().shape
    if int(call.settings.get("axis", 1)) % len(shape) != 1:
        raise Refusal("a Flatten across the rows")
    return call.add("reshape", shape=(math.prod(shape[1:]),))


def _reshape(call: Call) -> Value:
    shape = call.value().shape
    wanted = [int(size) for size in call.setting("shape", 1)]
    if wanted and wanted[0] == call.rows:
        wanted[0] = 1  # a file that was made for so many rows at once
    if not call.settings.get("allowzero"):
        wanted = [shape[dim] if size == 0 else size for dim, size in enumerate(wanted)]
    known = math.prod(size for size in wanted if size != -1)
    sizes = [math.prod(shape) // max(known, 1) if size == -1 else size for size in wanted]
    return _to(call, sizes)


def _squeeze(call: Call) -> Value:
    shape = call.value().shape
    axes = [axis % len(shape) for axis in call.setting("axes", 1, [])]
    if not axes:
        raise Refusal("a Squeeze that does not say of what")
    return _to(call, [size for dim, size in enumerate(shape) if dim not in axes])


def _unsqueeze(call: Call) -> Value:
    axes = call.setting("axes", 1)
    sizes: list[int] = list(call.value().shape)
    for axis in sorted(axis % (len(sizes) + len(axes)) for axis in axes):
        sizes.insert(axis, 1)
    return _to(call, sizes)


def _to(call: Call, sizes: Sequence[int]) -> Value:
    if not sizes or sizes[0] != 1 or math.prod(sizes) != math.prod(call.value().shape):
        raise Refusal("a change of shape across the rows")
    return call.add("reshape", shape=tuple(sizes[1:]))


def _concat(call: Call) -> Value:
    values = [call.value(index) for index in range(len(call.inputs))]
    dim = int(call.settings["axis"]) % len(values[0].shape)
    if dim == 0:
        raise Refusal("a Concat of rows")
    return call.add("concatenate", {"dim": dim}, inputs=values)


def _arithmetic(op: str) -> Callable[[Call], Value]:
    """Add, subtract or multiply: two results, or one and a constant."""

    def apply(call: Call) -> Value:
        left, right = call.inputs
        if isinstance(left, Value) and isinstance(right, Value):
            if left.shape != right.shape:
                raise Refusal("an operation on two results of different shapes")
            if op == "divide":
                raise Refusal("a division by a result")
            return call.add(op, inputs=[left, right])
        value, constant = (left, right) if isinstance(left, Value) else (right, left)
        if not isinstance(value, Value) or constant is None:
            raise Refusal("an operation on constants alone")
        if value is right and op in ("subtract", "divide"):
            raise Refusal("a constant less, or divided by, a result")
        return _with_constant(call, op, value, np.asarray(constant, dtype=np.float64))

    return apply


def _with_constant(call: Call, op: str, value: Value, constant: NDArray[np.float64]) -> Value:
    if op in ("subtract", "divide"):
        op, constant = ("add", -constant) if op == "subtract" else ("multiply", 1 / constant)
    if constant.size == 1:
        by = {"by": float(constant.reshape(()))}
        return call.add("shift" if op == "add" else "scale", by, inputs=[value])
    channels = value.shape[1]
    aligned = (1,) * (len(value.shape) - constant.ndim) + constant.shape
    if len(value.shape) < constant.ndim or aligned != (1, channels, *[1] * (len(value.shape) - 2)):
        raise Refusal("a constant that is neither one number nor one for each channel")
    each = torch.from_numpy(constant.reshape(-1).copy())
    neutral = torch.ones(channels) if op == "add" else torch.zeros(channels)
    weight, bias = (neutral, each) if op == "add" else (each, neutral)
    parameters = {
        "weight": call.assembly.parameter(f"{call.name}.weight", weight),
        "bias": call.assembly.parameter(f"{call.name}.bias", bias),
    }
    return call.add("affine", {}, parameters, inputs=[value])


def _pad(call: Call) -> Value:
    if any(call.setting("pads", 1)):
        raise Refusal("a Pad of its own")
    return call.value()


OPERATORS: Mapping[str, Callable[[Call], Value]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "MaxPool": _pool("max_pool"),
    "AveragePool": _pool("avg_pool"),
    "GlobalAveragePool": _global_pool("avg_pool"),
    "GlobalMaxPool": _global_pool("max_pool"),
    "ReduceMean": _mean,
    "Relu": _plain("relu"),
    "LeakyRelu": _leaky,
    "Clip": _clip,
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "Softmax": _softmax,
    "Add": _arithmetic("add"),
    "Sub": _arithmetic("subtract"),
    "Mul": _arithmetic("multiply"),
    "Div": _arithmetic("divide"),
    "Concat": _concat,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "Identity": _same,
    "Dropout": _same,
}
"""By name, in the standard's own domain."""
