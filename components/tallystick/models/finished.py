"""A model that was opened: its graph and its parameters in plaintext, and what is known of it.

::

    model.json           architecture, features, label, and where the model comes from
    model.safetensors    the parameters, float32, by name
"""

# N = rows, F = features, K = scores of a row.

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from tallystick import __version__
from tallystick.models import plain
from tallystick.models.artifact import SharedModel
from tallystick.models.graph import INPUT, Graph, Node
from tallystick.models.linear import WEIGHTS
from tallystick.models.meaning import has_probabilities

DESCRIPTION = "model.json"
PARAMETERS = "model.safetensors"
_LINEAR = {"weight": "weight", "bias": "bias"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedModel:
    """A model in plaintext."""

    graph: Graph
    parameters: Mapping[str, Tensor]
    """By name, as the graph names them."""
    known: Mapping[str, Any]
    """What the model artifact says of itself."""
    provenance: Mapping[str, Any]
    """Which sessions, of which parties, by which package it came from, and what they opened."""

    @classmethod
    def of(cls, model: SharedModel, opened: Tensor, history: Sequence[Mapping[str, Any]]) -> Self:
        """Put an opened model together.

        Args:
            model: what everybody may know of it.
            opened: its parameters, float64, one after the other as :func:`shapes` names them.
            history: of every step so far, what it opened.
        """
        sizes = [torch.Size(shape).numel() for shape in shapes(model).values()]
        values = {
            name: part.reshape(shape)
            for (name, shape), part in zip(
                shapes(model).items(), torch.split(opened, sizes), strict=True
            )
        }
        if WEIGHTS in values:
            weights = values[WEIGHTS]
            values = {"weight": weights[:-1].t().contiguous(), "bias": weights[-1]}
            graph = linear_graph(len(weights) - 1)
        else:
            graph = Graph.from_json(model.manifest.joint.get("architecture"))
        manifest = model.manifest
        provenance = {
            "package": __version__,
            "session": manifest.session,
            "parties": list(manifest.parties),
            # What a party's links did is not the model's to tell.
            "history": [{k: v for k, v in past.items() if k != "traffic"} for past in history],
            "shares": manifest.files,
        }
        known = {k: v for k, v in manifest.joint.items() if k != "architecture"}
        return cls(graph=graph, parameters=values, known=known, provenance=provenance)

    @property
    def kind(self) -> str:
        """The kind of the label: binary, classes or number."""
        return str(self.known["label"]["kind"])

    @property
    def features(self) -> list[str]:
        """The names of the input columns, in order."""
        return [str(column["name"]) for column in self.known["columns"]]

    @property
    def is_linear(self) -> bool:
        """Whether the model is one linear layer with one score, of features that are columns."""
        shapes = {"weight": (1, len(self.features)), "bias": (1,)}
        is_layer = [node.op for node in self.graph.nodes] == [INPUT, "linear"]
        return is_layer and self.graph.parameters == shapes

    def scores(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return raw scores [N, K] of prepared features [N, *feature_shape]."""
        values = {name: value.double() for name, value in self.parameters.items()}
        inputs = torch.from_numpy(np.asarray(features, dtype=np.float64).copy())
        with torch.no_grad():
            found: NDArray[np.float64] = plain.run(
                self.graph, values, inputs.reshape(-1, *self.graph.feature_shape)
            ).numpy()
        return found

    def predict(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Return probabilities, [N] or [N, K]; of a regression the number; of a hinge the score."""
        scores = torch.from_numpy(self.scores(features))
        label = self.known["label"]
        if self.kind == "number":
            return (scores[:, 0] * float(label["deviation"]) + float(label["mean"])).numpy()
        if not has_probabilities(self.known):
            return scores[:, 0].numpy()
        return (scores.softmax(1) if scores.shape[1] > 1 else scores[:, 0].sigmoid()).numpy()

    def write(self, folder: Path) -> None:
        """Write both files; the safetensors carry the provenance too."""
        parameters = {name: value.float().contiguous() for name, value in self.parameters.items()}
        described = {
            "architecture": self.graph.as_json(),
            **self.known,
            "provenance": dict(self.provenance),
        }
        save_file(parameters, folder / PARAMETERS, {"provenance": json.dumps(self.provenance)})
        (folder / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read both files again."""
        known = json.loads((folder / DESCRIPTION).read_text())
        return cls(
            graph=Graph.from_json(known.pop("architecture")),
            parameters=load_file(folder / PARAMETERS),
            provenance=known.pop("provenance"),
            known=known,
        )


def shapes(model: SharedModel) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of a shared model's parameters, in the order of their names."""
    return {name: tuple(model.parameters[name].shape) for name in sorted(model.parameters)}


def linear_graph(features: int) -> Graph:
    """Return the graph of one linear layer with one score."""
    return Graph(
        nodes=(
            Node(name=INPUT, op=INPUT, shape=(features,)),
            Node(name="scores", op="linear", inputs=(INPUT,), parameters=_LINEAR, shape=(1,)),
        ),
        parameters={"weight": (1, features), "bias": (1,)},
    )
