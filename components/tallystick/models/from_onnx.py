"""From an ONNX file to a graph: each operator by its meaning in the ONNX standard.

What follows from constants and shapes alone, such as the target of a Reshape, is computed by ONNX's
own reference implementation. An operator without a counterpart is refused with its node's name.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from tallystick.models.assembly import Assembly, Shape, Value
from tallystick.models.graph import Graph
from tallystick.models.operations_of_onnx import OPERATORS, Call
from tallystick.models.operations_of_torch import Refusal
from tallystick.runtime.errors import ConfigError, DataError

Constant = NDArray[Any]
_STANDARD = ("", "ai.onnx")


def read(path: Path, feature_shape: Shape) -> tuple[Graph, dict[str, Tensor]]:
    """Read a model.

    Args:
        path: the file; what it keeps in files beside it is read too.
        feature_shape: of one row.

    Returns:
        The graph, and the values of its parameters and running statistics, float64.

    Raises:
        ConfigError: an operator that cannot be done on shares, or another input or output.
        DataError: it is no ONNX file.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, the checker and missing files each raise their own
        raise DataError(
            f"{path.name} cannot be read as ONNX ({type(error).__name__}); export the model again"
        ) from None
    return convert(model, feature_shape)


def convert(model: onnx.ModelProto, feature_shape: Shape) -> tuple[Graph, dict[str, Tensor]]:
    """Convert a model that was read; see :func:`read`."""
    return _Conversion(model, feature_shape).graph()


class _Conversion:
    def __init__(self, model: onnx.ModelProto, feature_shape: Shape) -> None:
        self._graph = model.graph
        self._assembly = Assembly(feature_shape)
        self._known: dict[str, Value | Constant] = {
            entry.name: onnx.numpy_helper.to_array(entry) for entry in self._graph.initializer
        }
        self._opset = max(
            (entry.version for entry in model.opset_import if entry.domain in _STANDARD), default=1
        )
        self._rows = self._take_input(feature_shape)

    def graph(self) -> tuple[Graph, dict[str, Tensor]]:
        for number, node in enumerate(self._graph.node):
            self._convert(node, node.name or f"{node.op_type}_{number}")
        if len(self._graph.output) != 1:
            raise ConfigError(
                f"the model has {len(self._graph.output)} outputs; one with the scores is needed"
            )
        last = self._known[self._graph.output[0].name]
        if not isinstance(last, Value):
            raise ConfigError("the model's output does not depend on its input")
        return self._assembly.finish(last)

    def _take_input(self, feature_shape: Shape) -> int:
        """Take the one input; return for how many rows at once the file was made, 1 if any."""
        inputs = [entry for entry in self._graph.input if entry.name not in self._known]
        if len(inputs) != 1:
            names = ", ".join(entry.name for entry in inputs) or "none"
            raise ConfigError(f"the model has the inputs {names}; it must have exactly one")
        dims = inputs[0].type.tensor_type.shape.dim
        declared = [dim.dim_value for dim in dims]
        fits = len(declared) == len(feature_shape) + 1 and all(
            size in (0, wanted) for size, wanted in zip(declared[1:], feature_shape, strict=True)
        )
        if not fits:
            raise ConfigError(
                f"the model takes rows of the shape {[size or 'any' for size in declared[1:]]}, "
                f"and feature_shape is {list(feature_shape)}; they must be the same"
            )
        self._known[inputs[0].name] = self._assembly.input
        return declared[0] or 1

    def _convert(self, node: onnx.NodeProto, name: str) -> None:
        inputs = [self._known[tensor] if tensor else None for tensor in node.input]
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.domain in _STANDARD:
            constants = self._constants(node, inputs)
            if constants is not None:
                self._known.update(zip(node.output, constants, strict=True))
                return
        call = Call(
            assembly=self._assembly,
            name=name,
            inputs=inputs,
            names=list(node.input),
            settings=settings,
            opset=self._opset,
            rows=self._rows,
        )
        operator = node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"
        try:
            if operator not in OPERATORS:
                raise Refusal(f"the operator {operator}")
            if sum(bool(output) for output in node.output) > 1:
                raise Refusal(f"the operator {operator} with several results")
            self._known[node.output[0]] = OPERATORS[operator](call)
        except Refusal as refusal:
            raise ConfigError(
                f"the model cannot be shared: {refusal} at the node {name!r} ({operator}) has no "
                "counterpart on shares; the operators that have one are listed in the predict "
                "step's README"
            ) from None

    def _constants(
        self, node: onnx.NodeProto, inputs: list[Value | Constant | None]
    ) -> list[Constant] | None:
        """Compute what depends on constants and shapes alone; None for everything else."""
        if node.op_type == "Shape" and isinstance(inputs[0], Value):
            begin, end = (_attribute(node, key) for key in ("start", "end"))
            return [np.array(inputs[0].shape, dtype=np.int64)[begin:end]]
        if any(isinstance(value, Value) for value in inputs):
            return None
        known = dict(zip(node.input, inputs, strict=True))
        known.pop("", None)
        try:
            return [*ReferenceEvaluator(node).run(None, known)]
        except Exception:  # an operator that the reference does not have
            return None


def _attribute(node: onnx.NodeProto, name: str) -> int | None:
    return next((int(entry.i) for entry in node.attribute if entry.name == name), None)
