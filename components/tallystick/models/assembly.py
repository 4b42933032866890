"""What every conversion ends with, and a graph put together without ``torch.fx``.

A converter looks each operation of a foreign model up, as in
:mod:`~tallystick.models.operations_of_torch`, and adds what it finds here.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tallystick.models import plain
from tallystick.models.graph import INPUT, Graph, Node
from tallystick.models.operations_of_torch import Found, Refusal
from tallystick.models.rewriting import pooled_first
from tallystick.runtime.errors import ConfigError

Shape = tuple[int, ...]
_FINAL = ("softmax", "sigmoid")
_FORM = ("reshape", "dropout")
"""What may follow it: neither changes a score, but that Dropout leaves some out in training."""


@dataclass(frozen=True, slots=True)
class Value:
    """The result of a node, as the tables of operations see it."""

    name: str
    meta: Mapping[str, Shape] = field(default_factory=dict)
    """``shape``: that of a single row, the 1 of the rows first."""

    @property
    def shape(self) -> Shape:
        """The shape of a single row's result, with the 1 of the rows."""
        return self.meta["shape"]


class Assembly:
    """A graph under construction.

    Args:
        feature_shape: of one row.
    """

    def __init__(self, feature_shape: Shape) -> None:
        self._nodes = [Node(name=INPUT, op=INPUT, shape=feature_shape)]
        self._parameters: dict[str, Tensor] = {}
        self._buffers: set[str] = set()
        self.input = Value(INPUT, {"shape": (1, *feature_shape)})

    def parameter(self, name: str, value: Tensor, *, buffer: bool = False) -> str:
        """Take in a parameter, float64, or a running statistic; return its name."""
        self._parameters[name] = value.detach().double().contiguous()
        if buffer:
            self._buffers.add(name)
        return name

    def add(self, name: str, found: Found, shape: Shape | None = None) -> Value:
        """Add an operation.

        Args:
            name: of its node, unlike all before.
            found: the operation.
            shape: of a row's result; by default it is computed.

        Raises:
            Refusal: it takes something that is no result of a node.
        """
        if not all(isinstance(value, Value) for value in found.inputs):
            raise Refusal("an operation on a constant tensor or a bare parameter")
        node = Node(
            name=name,
            op=found.op,
            inputs=tuple(value.name for value in found.inputs),
            parameters=found.parameters,
            attributes=found.attributes,
            shape=self._shape(found) if shape is None else shape,
        )
        self._nodes.append(node)
        return Value(name, {"shape": (1, *node.shape)})

    def finish(self, last: Value) -> tuple[Graph, dict[str, Tensor]]:
        """Return the graph whose scores are a node's result, and its parameters by name."""
        shapes = {name: tuple(value.shape) for name, value in self._parameters.items()}
        graph = finished(self._nodes, last.name, shapes, self._buffers)
        return graph, {name: self._parameters[name] for name in graph.shapes}

    def _shape(self, found: Found) -> Shape:
        node = Node(name="", op=found.op, attributes=found.attributes)
        own = {role: self._parameters[name] for role, name in found.parameters.items()}
        try:
            with torch.no_grad():
                inputs = [torch.zeros(v.shape, dtype=torch.float64) for v in found.inputs]
                return tuple(plain.step(node, own, inputs).shape[1:])
        except (RuntimeError, IndexError, ValueError):
            shapes = ", ".join(str(list(value.shape[1:])) for value in found.inputs)
            raise Refusal(f"{found.op} of a row's values of the shape {shapes}") from None


def finished(
    nodes: Sequence[Node], last: str, shapes: Mapping[str, Shape], buffers: Collection[str]
) -> Graph:
    """Return the graph of the nodes that a result depends on.

    Args:
        nodes: in an order in which they can be computed; the input stands first.
        last: the node whose result the scores are.
        shapes: of every parameter and running statistic.
        buffers: which of them no gradient changes.

    Raises:
        ConfigError: a row's result is not one score, or one for each class.
    """
    kept, final = _without_final(_needed(nodes, last))
    if kept[-1].shape == ():
        kept.append(Node(name="scores", op="reshape", inputs=(kept[-1].name,), shape=(1,)))
    if len(kept[-1].shape) != 1:
        raise ConfigError(
            f"the model gives each row a result of the shape {list(kept[-1].shape)}; "
            "a model gives one score, or one for each class"
        )
    kept = pooled_first(kept)
    used = {name for node in kept for name in node.parameters.values()}
    return Graph(
        nodes=tuple(kept),
        parameters={k: shape for k, shape in shapes.items() if k in used and k not in buffers},
        buffers={k: shape for k, shape in shapes.items() if k in used and k in buffers},
        final=final,
    )


def _needed(nodes: Sequence[Node], last: str) -> list[Node]:
    """Return the nodes that the result depends on, in order; the input always stands first."""
    wanted = {last, nodes[0].name}
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
    return [node for node in nodes if node.name in wanted]


def _without_final(nodes: list[Node]) -> tuple[list[Node], str]:
    """Leave a softmax or sigmoid at the end to the loss, whose gradient is exact with it.

    Each node from it on takes the one before it, and nothing else does: all others are needed for
    what it takes, so they stand before.
    """
    at = len(nodes) - 1
    while nodes[at].op in _FORM:
        at -= 1
    last = nodes[at]
    if last.op not in _FINAL or (last.op == "softmax" and not _over_all(last)):
        return nodes, ""
    after = [
        dataclasses.replace(node, inputs=last.inputs) if node.inputs == (last.name,) else node
        for node in nodes[at + 1 :]
    ]
    return [*nodes[:at], *after], last.op


def _over_all(softmax: Node) -> bool:
    """Say whether a softmax is over all of a row's values, as a loss's is."""
    return softmax.shape[softmax.whole("dim") - 1] == math.prod(softmax.shape)
