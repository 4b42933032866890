"""Networks on shares: any graph, by its gradients.

The initial weights are public, drawn from the agreed seed; from the first batch on they are shared.
"""

# B = rows in a batch, P = parameters of all layers together.

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tallystick.models import execution, scoring
from tallystick.models.coins import Coins
from tallystick.models.graph import Graph
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.progress import Progress
from tallystick.runtime.protocols.kept import Read
from tallystick.train.learner import Part, Unmasked
from tallystick.train.losses import Loss


class NetworkLearner:
    """One network.

    Args:
        engine: the session's engine.
        loss: of its scores.
        graph: the architecture.
        initial: values of parameters and buffers, by name.
    """

    def __init__(
        self, engine: Engine, loss: Loss, graph: Graph, initial: Mapping[str, Tensor]
    ) -> None:
        self._engine = engine
        self._loss = loss
        self._graph = graph
        names = list(graph.parameters)
        self.weights_P = engine.public(torch.cat([initial[name].flatten() for name in names]))
        # A matrix or kernel is penalised; biases and the scales of norms have one dimension.
        self.penalised_P = torch.cat(
            [
                torch.full((math.prod(shape),), int(len(shape) > 1))
                for shape in graph.parameters.values()
            ]
        )
        self._buffers = {name: engine.public(initial[name]) for name in graph.buffers}
        self._loss_sum = engine.public(torch.zeros(1))

    def table(  # noqa: D102
        self, rows: int, read: Read, folder: Path | None, progress: Progress | None
    ) -> Unmasked:
        return Unmasked(self._engine, read)

    def gradient(self, features: Secret, label: Secret, coins: Coins) -> Secret:  # noqa: D102
        shaped = features.share.reshape(-1, *self._graph.feature_shape)
        tape = execution.forward(
            self._engine, self._graph, self._all(), self._engine.from_share(shaped), coins
        )
        slope, losses_B1 = self._loss.both(tape.scores_NK, label)
        self._loss_sum = self._loss_sum + losses_B1.sum().unsqueeze(0)
        self._buffers.update(tape.buffers)
        gradients = execution.backward(tape, slope)
        flat = [gradients[name].share.flatten() for name in self._graph.parameters]
        return self._engine.from_share(torch.cat(flat))

    def loss(self, parts: Iterable[Part], rows: int) -> Secret:
        """Return the mean of the losses that the rows had when their batch was taken."""
        mean = self._engine.scaled(self._loss_sum, 1 / rows)
        self._loss_sum = self._engine.public(torch.zeros(1))
        return mean[0]

    def scores(self, features: Secret) -> Secret:  # noqa: D102
        return scoring.of_graph(self._engine, self._graph, self._all(), features)

    def parameters(self) -> dict[str, Tensor]:  # noqa: D102
        return {name: value.share for name, value in self._all().items()}

    def begin_with(self, parameters: Mapping[str, Tensor]) -> None:  # noqa: D102
        flat = [parameters[name].flatten() for name in self._graph.parameters]
        self.weights_P = self._engine.from_share(torch.cat(flat))
        for name in self._buffers:
            self._buffers[name] = self._engine.from_share(parameters[name])

    def state(self) -> dict[str, Tensor]:  # noqa: D102
        buffers = {f"buffer.{name}": value.share for name, value in self._buffers.items()}
        return {"weights": self.weights_P.share, "loss": self._loss_sum.share, **buffers}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: D102
        self.weights_P = self._engine.from_share(state["weights"])
        self._loss_sum = self._engine.from_share(state["loss"])
        for name in self._buffers:
            self._buffers[name] = self._engine.from_share(state[f"buffer.{name}"])

    def _all(self) -> dict[str, Secret]:
        """Cut the vector into the parameters, by name."""
        shapes = self._graph.parameters
        parts = torch.split(self.weights_P.share, [math.prod(shape) for shape in shapes.values()])
        cut = {
            name: self._engine.from_share(part.reshape(shape))
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }
        return cut | self._buffers
