"""What the same training gives in plaintext: torch.optim.SGD in float64, batch for batch."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tallystick.tables import split
from torch.nn import functional

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Descent:
    """The parameters of a job that decide its weights."""

    model: str
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    l2: float
    seed: int


def standardised(values: Array, train_rows: NDArray[np.int64]) -> Array:
    """Scale to mean 0 and deviation 1 by the training rows, as each owner does."""
    train = values[train_rows]
    result: Array = (values - train.mean(axis=0)) / train.std(axis=0)
    return result


def sgd(descent: Descent, features: Array, label: Array) -> tuple[Array, float]:
    """Train on all rows given; return the coefficients and the intercept."""
    inputs, targets = torch.tensor(features), torch.tensor(label, dtype=torch.float64)
    weight = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD(
        [{"params": [weight], "weight_decay": descent.l2}, {"params": [bias]}],
        lr=descent.learning_rate,
        momentum=descent.momentum,
    )
    for epoch in range(descent.epochs):
        for batch in split.positions(len(inputs), descent.batch_size, descent.seed, epoch):
            optimiser.zero_grad()
            scores = inputs[batch] @ weight + bias
            _loss(descent.model, scores, targets[batch]).backward()
            optimiser.step()
    return weight.detach().numpy(), float(bias.detach())


def _loss(model: str, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    match model:
        case "logistic_regression":
            return functional.binary_cross_entropy_with_logits(scores, targets)
        case "linear_svm":
            return (1 - (2 * targets - 1) * scores).clamp(min=0).mean()
        case _:
            return ((scores - targets) ** 2 / 2).mean()
