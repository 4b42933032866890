"""Models in plaintext: the secure run's own, and one trained as it was, in float64 by torch."""

# N = rows, K = scores of a row.

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tallystick.models import architectures, plain
from tallystick.models.coins import Coins
from tallystick.models.graph import Graph
from tallystick.models.linear import LINEAR_MODELS, WEIGHTS
from tallystick.parity.joined import Joined
from tallystick.tables import split

Scores = Callable[[Tensor], Tensor]
"""From features [N, ...] to scores [N, K]."""
_REPEATED = frozenset({"epochs", "batch_size", "learning_rate", "momentum", "l2", "seed", "loss"})
"""What of a training is repeated here; a manifest names others only where they were changed."""


def secure(joined: Joined) -> Scores:
    """Return the secure run's model."""
    if WEIGHTS in joined.parameters:
        return lambda features: _with_ones(features) @ joined.parameters[WEIGHTS]
    graph = Graph.from_json(joined.joint["architecture"])
    return lambda features: plain.run(graph, joined.parameters, features)


def repeated(joined: Joined, name: str) -> Scores | None:
    """Train again: the same start, batches and steps. None if the job asks for more than that.

    Args:
        joined: the run.
        name: of the model, as the job spells it.
    """
    training = joined.joint["training"]
    if training.keys() - _REPEATED:
        return None
    if name in LINEAR_MODELS:
        weights = torch.zeros(joined.features[0].size + 1, 1, dtype=torch.float64)
        penalised = torch.ones_like(weights)
        penalised[-1] = 0
        linear: Callable[..., Tensor] = lambda x, coins=None: _with_ones(x) @ weights  # noqa: E731
        _descend(joined, linear, [(weights, penalised)])
        return linear
    label = joined.joint["label"]
    graph, initial = architectures.build(
        name,
        tuple(joined.joint["feature_shape"]),
        label["classes"] if label["kind"] == "classes" else 1,
        training["seed"],
    )
    parameters = {name: value.double().clone() for name, value in initial.items()}

    def network(features: Tensor, coins: Coins | None = None) -> Tensor:
        return plain.run(graph, parameters, features, training=coins is not None, coins=coins)

    # Biases and the scales of norms have one dimension, and are not penalised.
    trained = [parameters[name] for name in graph.parameters]
    _descend(joined, network, [(p, torch.full_like(p, float(p.dim() > 1))) for p in trained])
    return network


def _descend(
    joined: Joined, scores: Callable[..., Tensor], parameters: list[tuple[Tensor, Tensor]]
) -> None:
    """Change the parameters in place, as the secure run did."""
    training, rows = joined.joint["training"], joined.train_rows
    features, label = torch.from_numpy(joined.features[rows]), joined.label[rows]
    optimiser = torch.optim.SGD(
        [value.requires_grad_() for value, _ in parameters],
        lr=training["learning_rate"],
        momentum=training["momentum"],
    )
    for epoch in range(training["epochs"]):
        batches = split.batches(len(rows), training["batch_size"], training["seed"], epoch)
        for number, batch in enumerate(batches):
            optimiser.zero_grad()
            coins = Coins(training["seed"], epoch, number)
            loss = _loss(joined.joint, scores(features[batch], coins), label[batch])
            penalty = sum(
                ((value * kept).square().sum() for value, kept in parameters), torch.zeros(())
            )
            (loss + training["l2"] / 2 * penalty).backward()
            optimiser.step()
    for value, _ in parameters:
        value.requires_grad_(False)


def _loss(joint: dict[str, Any], scores: Tensor, truth: NDArray[np.float64]) -> Tensor:
    label = torch.from_numpy(truth)
    if joint["label"]["kind"] == "classes":
        return functional.cross_entropy(scores, label)
    score = scores.squeeze(1)
    name = joint["training"].get("loss", "auto")
    if name == "hinge" or joint["model"] == "linear_svm":
        return (1 - (2 * label - 1) * score).clamp(min=0).mean()
    if name == "squared_error" or joint["label"]["kind"] == "number":
        return ((score - label) ** 2 / 2).mean()
    return functional.binary_cross_entropy_with_logits(score, label)


def _with_ones(features: Tensor) -> Tensor:
    return functional.pad(features.flatten(1), (0, 1), value=1.0)
