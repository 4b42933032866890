"""A model's architecture: a short list of operations, the same in plaintext and on shares.

It holds no weights and no code. It is JSON both ways, stands in the model artifact's manifest as
``architecture``, and its digest is compared when the parties meet, so that all train one model.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tallystick.runtime.errors import DataError

FORMAT = 1
INPUT = "input"
"""The operation of the node that stands for the features."""
Attribute = int | float | bool | list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One operation: what it takes, and the shape of what it gives."""

    name: str
    op: str
    """Its kind, such as linear or max_pool2d; see :mod:`~tallystick.models.operations`."""
    inputs: tuple[str, ...] = ()
    """Names of the nodes whose results it takes."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Names among the graph's parameters, by role: weight, bias, running_mean..."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """Public settings, such as stride."""
    shape: tuple[int, ...] = ()
    """Of its result, without the rows that stand first."""

    def number(self, attribute: str) -> float:
        """Return an attribute that is a number."""
        value = self.attributes[attribute]
        assert isinstance(value, int | float)
        return float(value)

    def whole(self, attribute: str) -> int:
        """Return an attribute that is a whole number."""
        return int(self.number(attribute))

    @property
    def groups(self) -> int:
        """Return into how many groups a convolution's channels fall."""
        return self.whole("groups") if "groups" in self.attributes else 1

    def numbers(self, attribute: str) -> list[int]:
        """Return an attribute that is a list."""
        value = self.attributes[attribute]
        assert isinstance(value, list)
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """Nodes in an order in which they can be computed; the last one gives the scores."""

    nodes: tuple[Node, ...]
    parameters: Mapping[str, tuple[int, ...]]
    """The shape of each parameter that training changes by its gradient."""
    buffers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The shape of each value that training keeps by other means or as it is: running statistics of
    a normalisation, and parameters that the module has frozen."""
    final: str = ""
    """The function that the module ended with and that is left to the loss: softmax, sigmoid."""

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of one row's features."""
        return self.nodes[0].shape

    @property
    def outputs(self) -> int:
        """How many scores each row gets."""
        return self.nodes[-1].shape[0]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter and buffer: what a model's share consists of."""
        return {**self.parameters, **self.buffers}

    def digest(self) -> str:
        """Return the SHA-256 of the architecture."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return the graph as JSON values."""
        value: dict[str, Any] = json.loads(
            json.dumps({"format": FORMAT, **dataclasses.asdict(self)})
        )
        return value

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a graph.

        Raises:
            DataError: it is none, or of another format.
        """
        try:
            if value["format"] != FORMAT:
                raise ValueError
            nodes = tuple(_node(entry) for entry in value["nodes"])
            graph = cls(
                nodes=nodes,
                parameters=_shapes(value["parameters"]),
                buffers=_shapes(value["buffers"]),
                final=str(value["final"]),
            )
            graph._check()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise DataError(
                "the model's architecture cannot be read by this version of tallystick; use the "
                "version that wrote it, or train again"
            ) from None
        return graph

    def _check(self) -> None:
        """Refuse a graph whose nodes name what does not stand before them."""
        known: set[str] = set()
        for index, node in enumerate(self.nodes):
            if (node.op == INPUT) != (index == 0) or node.name in known:
                raise ValueError
            if not (
                known.issuperset(node.inputs) and self.shapes.keys() >= {*node.parameters.values()}
            ):
                raise ValueError
            known.add(node.name)
        if len(self.nodes[-1].shape) != 1:
            raise ValueError


def _node(entry: Mapping[str, Any]) -> Node:
    return Node(
        name=str(entry["name"]),
        op=str(entry["op"]),
        inputs=tuple(entry["inputs"]),
        parameters=dict(entry["parameters"]),
        attributes=dict(entry["attributes"]),
        shape=tuple(int(size) for size in entry["shape"]),
    )


def _shapes(entry: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {str(name): tuple(int(size) for size in shape) for name, shape in entry.items()}
