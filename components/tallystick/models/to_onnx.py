"""From a graph to ONNX: each operation by operators of the standard.

The model takes ``features`` [rows, *feature_shape], float32, and gives ``scores`` [rows, K], what
stands before a sigmoid or softmax.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from tallystick import __version__
from tallystick.models.graph import INPUT, Graph, Node

OPSET = 18
IR_VERSION = 8
FEATURES, SCORES = "features", "scores"


def write(
    path: Path, graph: Graph, parameters: Mapping[str, Tensor], properties: Mapping[str, Any]
) -> None:
    """Write a model.

    Args:
        path: the file.
        graph: its architecture.
        parameters: by name.
        properties: what the file says of itself; values become JSON.
    """
    onnx.save(convert(graph, parameters, properties), str(path))


def convert(
    graph: Graph, parameters: Mapping[str, Tensor], properties: Mapping[str, Any]
) -> onnx.ModelProto:
    """Return the model; for the arguments see :func:`write`."""
    writer = _Writer(parameters)
    for node in graph.nodes:
        # Results have names of their own: a layer may be called as a parameter, or "scores".
        inputs = tuple(f"/{name}" for name in node.inputs)
        writer.add(dataclasses.replace(node, name=f"/{node.name}", inputs=inputs))
    writer.emit("Identity", [f"/{graph.nodes[-1].name}"], SCORES)
    made = helper.make_graph(
        writer.nodes,
        "tallystick",
        [_value(FEATURES, graph.feature_shape)],
        [_value(SCORES, (graph.outputs,))],
        writer.constants,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tallystick",
        producer_version=__version__,
    )
    helper.set_model_props(model, {name: json.dumps(v) for name, v in properties.items()})
    onnx.checker.check_model(model)
    return model


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *shape])


class _Writer:
    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._made: set[str] = set()

    def add(self, node: Node) -> None:
        """Write one operation; its result has the node's name."""
        if node.op == INPUT:
            self.emit("Identity", [FEATURES], node.name)
        elif node.op in _SIMPLE:
            self.emit(_SIMPLE[node.op], list(node.inputs), node.name)
        else:
            _OPERATIONS[node.op](self, node)

    def emit(self, operator: str, inputs: list[str], output: str, **settings: Any) -> str:
        """Write one operator; return the name of its result."""
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{output}/{operator}", **settings)
        )
        return output

    def parameter(self, node: Node, role: str, shape: tuple[int, ...] = ()) -> str:
        """Write a parameter, in another shape where one is given; return its name."""
        name = node.parameters[role]
        values = self._parameters[name].detach().float().numpy()
        if not shape:
            return self.constant(name, values)
        return self.constant(f"{node.name}/{role}", values.reshape(shape))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Write a constant once; return its name."""
        if name not in self._made:
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
            self._made.add(name)
        return name

    def number(self, node: Node, attribute: str) -> str:
        """Write an attribute as a constant; return its name."""
        value = np.array(node.number(attribute), dtype=np.float32)
        return self.constant(f"{node.name}/{attribute}", value)


def _linear(writer: _Writer, node: Node) -> None:
    inputs = [node.inputs[0], writer.parameter(node, "weight")]
    if len(node.shape) == 1:
        bias = [writer.parameter(node, "bias")] if "bias" in node.parameters else []
        writer.emit("Gemm", [*inputs, *bias], node.name, transB=1)
        return
    turned = writer.emit("Transpose", [inputs[1]], f"{node.name}/turned", perm=[1, 0])
    has_bias = "bias" in node.parameters
    product = f"{node.name}/product" if has_bias else node.name
    writer.emit("MatMul", [inputs[0], turned], product)
    if has_bias:
        writer.emit("Add", [product, writer.parameter(node, "bias")], node.name)


def _convolution(writer: _Writer, node: Node) -> None:
    bias = [writer.parameter(node, "bias")] if "bias" in node.parameters else []
    writer.emit(
        "Conv",
        [node.inputs[0], writer.parameter(node, "weight"), *bias],
        node.name,
        strides=node.numbers("stride"),
        pads=node.numbers("padding") * 2,
        dilations=node.numbers("dilation"),
        group=node.groups,
    )


def _batch_norm(writer: _Writer, node: Node) -> None:
    roles = ("weight", "bias", "running_mean", "running_var")
    writer.emit(
        "BatchNormalization",
        [node.inputs[0], *(writer.parameter(node, role) for role in roles)],
        node.name,
        epsilon=node.number("eps"),
        momentum=1 - node.number("momentum"),
    )


def _affine(writer: _Writer, node: Node) -> None:
    along = (-1, *[1] * (len(node.shape) - 1))
    scaled = f"{node.name}/scaled"
    writer.emit("Mul", [node.inputs[0], writer.parameter(node, "weight", along)], scaled)
    writer.emit("Add", [scaled, writer.parameter(node, "bias", along)], node.name)


def _pool(operator: str, **settings: int) -> Callable[[_Writer, Node], None]:
    def emit(writer: _Writer, node: Node) -> None:
        rounded = {"ceil_mode": 1} if node.attributes.get("ceil_mode") else {}
        writer.emit(
            operator,
            [node.inputs[0]],
            node.name,
            kernel_shape=node.numbers("kernel"),
            strides=node.numbers("stride"),
            pads=node.numbers("padding") * 2,
            **rounded,
            **settings,
        )

    return emit


def _reshape(writer: _Writer, node: Node, of: str = "") -> None:
    # Nought keeps the size that stands there: that of the rows.
    target = writer.constant(f"{node.name}/shape", np.array([0, *node.shape], dtype=np.int64))
    writer.emit("Reshape", [of or node.inputs[0], target], node.name)


def _mean(writer: _Writer, node: Node) -> None:
    axes = writer.constant(f"{node.name}/axes", np.array(node.numbers("dims"), dtype=np.int64))
    mean = writer.emit("ReduceMean", [node.inputs[0], axes], f"{node.name}/mean", keepdims=1)
    _reshape(writer, node, mean)


def _silu(writer: _Writer, node: Node) -> None:
    gate = writer.emit("Sigmoid", [node.inputs[0]], f"{node.name}/gate")
    writer.emit("Mul", [node.inputs[0], gate], node.name)


def _leaky(writer: _Writer, node: Node) -> None:
    writer.emit("LeakyRelu", [node.inputs[0]], node.name, alpha=node.number("slope"))


def _clamp(writer: _Writer, node: Node) -> None:
    bounds = [writer.number(node, name) for name in ("low", "high")]
    writer.emit("Clip", [node.inputs[0], *bounds], node.name)


def _softmax(writer: _Writer, node: Node) -> None:
    writer.emit("Softmax", [node.inputs[0]], node.name, axis=node.whole("dim"))


def _concatenate(writer: _Writer, node: Node) -> None:
    writer.emit("Concat", list(node.inputs), node.name, axis=node.whole("dim"))


def _with_number(operator: str) -> Callable[[_Writer, Node], None]:
    def emit(writer: _Writer, node: Node) -> None:
        writer.emit(operator, [node.inputs[0], writer.number(node, "by")], node.name)

    return emit


_SIMPLE = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "dropout": "Identity",
}
_OPERATIONS: Mapping[str, Callable[[_Writer, Node], None]] = {
    "linear": _linear,
    "convolution": _convolution,
    "batch_norm": _batch_norm,
    "affine": _affine,
    "max_pool": _pool("MaxPool"),
    "avg_pool": _pool("AveragePool", count_include_pad=1),
    "leaky_relu": _leaky,
    "clamp": _clamp,
    "softmax": _softmax,
    "concatenate": _concatenate,
    "reshape": _reshape,
    "mean": _mean,
    "silu": _silu,
    "scale": _with_number("Mul"),
    "shift": _with_number("Add"),
}
