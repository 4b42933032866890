"""Models in plaintext: the secure run's own, and one trained as it was, in float64 by torch."""

# N = rows, K = scores of a row.

from collections.abc import Callable, Mapping
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
from tallystick.models.meaning import has_probabilities
from tallystick.parity.joined import Joined
from tallystick.tables import split
from tallystick.train.optimisers import adam_eps
from tallystick.train.schedule import Schedule

Scores = Callable[[Tensor], Tensor]
"""From features [N, ...] to scores [N, K]."""
_REPEATED = frozenset(
    {
        *("epochs", "batch_size", "learning_rate", "momentum", "l2", "seed", "loss"),
        *("optimiser", "nesterov", "schedule", "warmup_epochs", "decay", "decay_epochs"),
        *("l1", "clip_norm", "class_weights", "feature_shape"),
    }
)
"""What of a training is repeated here; a manifest names others only where they were changed."""


def secure(joined: Joined) -> Scores:
    """Return the secure run's model."""
    if WEIGHTS in joined.parameters:
        return lambda features: _with_ones(features) @ joined.parameters[WEIGHTS]
    graph = Graph.from_json(joined.joint["architecture"])
    shape = graph.feature_shape
    return lambda features: plain.run(graph, joined.parameters, features.reshape(-1, *shape))


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
        tuple(training.get("feature_shape") or joined.joint["feature_shape"]),
        label["classes"] if label["kind"] == "classes" else 1,
        training["seed"],
    )
    parameters = {name: value.double().clone() for name, value in initial.items()}

    def network(features: Tensor, coins: Coins | None = None) -> Tensor:
        rows = features.reshape(-1, *graph.feature_shape)
        return plain.run(graph, parameters, rows, training=coins is not None, coins=coins)

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
    values = [value.requires_grad_() for value, _ in parameters]
    optimiser = _optimiser(training, values)
    schedule = Schedule(
        name=training.get("schedule", "constant"),
        learning_rate=training["learning_rate"],
        epochs=training["epochs"],
        batches=-(-len(rows) // training["batch_size"]),
        warmup_epochs=training.get("warmup_epochs", 0),
        decay=training.get("decay", 0.1),
        decay_epochs=training.get("decay_epochs", 10),
    )
    for epoch in range(training["epochs"]):
        batches = split.positions(len(rows), training["batch_size"], training["seed"], epoch)
        for number, batch in enumerate(batches):
            optimiser.zero_grad()
            coins = Coins(training["seed"], epoch, number)
            loss: Any = _loss(joined.joint, scores(features[batch], coins), label[batch])
            loss.backward()
            if limit := training.get("clip_norm"):
                torch.nn.utils.clip_grad_norm_(values, limit)
            for value, penalised in parameters:
                kept = value.detach() * penalised
                assert value.grad is not None
                value.grad += training["l2"] * kept + training.get("l1", 0.0) * kept.sign()
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(epoch, number)
            optimiser.step()
    for value in values:
        value.requires_grad_(False)


def _optimiser(training: Mapping[str, Any], values: list[Tensor]) -> torch.optim.Optimizer:
    if training.get("optimiser") == "adam":
        eps = adam_eps(training["batch_size"], training.get("class_weights", ()))
        return torch.optim.Adam(values, lr=1.0, eps=eps)
    return torch.optim.SGD(
        values, lr=1.0, momentum=training["momentum"], nesterov=training.get("nesterov", False)
    )


def _loss(joint: dict[str, Any], scores: Tensor, truth: NDArray[np.float64]) -> Tensor:
    """Return the mean of the rows' losses, each times the weight of its class."""
    label, training = torch.from_numpy(truth), joint["training"]
    kind = joint["label"]["kind"]
    score = scores[:, 0]
    if kind == "classes":
        loss = functional.cross_entropy(scores, label, reduction="none")
    elif kind == "number":
        loss = (score - label) ** 2 / 2
    elif not has_probabilities(joint):
        loss = (1 - (2 * label - 1) * score).clamp(min=0)
    else:
        loss = functional.binary_cross_entropy_with_logits(score, label, reduction="none")
    if weights := training.get("class_weights"):
        places = label.argmax(1) if kind == "classes" else label.long()
        loss = loss * torch.tensor(weights, dtype=torch.float64)[places]
    return loss.mean()


def _with_ones(features: Tensor) -> Tensor:
    return functional.pad(features.flatten(1), (0, 1), value=1.0)
