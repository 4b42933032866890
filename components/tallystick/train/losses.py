"""Losses of scores, and their slopes, computed directly: no autograd goes through a logarithm.

With the scores z of a row and its label y:

===============  ============================  ================================================
loss             of one row                    its slope by z
===============  ============================  ================================================
logistic         log(1 + exp(z)) - y z         sigmoid(z) - y             y in {0, 1}
hinge            max(0, 1 - t z)               -t where t z < 1           t = 2 y - 1
squared_error    (z - y)**2 / 2                z - y
cross_entropy    log(sum(exp(z))) - z_y        softmax(z) - y             y one-hot
===============  ============================  ================================================

A softmax subtracts the largest score first (runtime/protocols), so that no power overflows.
Which label may have which loss, and what the scores mean then: models/meaning.py.
Class weights multiply a row's loss by its class's weight; the mean is over the rows, not over the
weights (torch's ``reduction="sum"``, divided by the rows), for their sum would tell the classes'
shares.
"""

# B = rows, K = classes.

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from tallystick.runtime.engine import PRECISION_BITS, Engine, Secret
from tallystick.runtime.protocols import functions


class Loss(ABC):
    """One loss; scores and labels are [B, 1], or [B, K] for one-hot labels."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @abstractmethod
    def slope(self, scores: Secret, label: Secret) -> Secret:
        """Return the gradient of each row's loss by its scores."""

    @abstractmethod
    def of_rows(self, scores: Secret, label: Secret) -> Secret:
        """Return each row's loss: [B, 1]."""

    def both(self, scores: Secret, label: Secret) -> tuple[Secret, Secret]:
        """Return slope and loss, where they have work in common."""
        return self.slope(scores, label), self.of_rows(scores, label)


class Logistic(Loss):
    """Of two classes, as probabilities."""

    def slope(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        return self.engine.sigmoid(scores) - label

    def of_rows(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        return self.engine.softplus(scores) - label * scores


class Hinge(Loss):
    """Of two classes, by a margin."""

    def slope(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        signs = label * 2 - 1
        violated = self.engine.negative(signs * scores - 1)
        return -(violated * signs)

    def of_rows(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        short = 1 - (label * 2 - 1) * scores
        return short - short * self.engine.negative(short)


class SquaredError(Loss):
    """Of a number."""

    def slope(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        return scores - label

    def of_rows(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        error = scores - label
        return self.engine.combine([(error.square(), 0.5)])


class CrossEntropy(Loss):
    """Of several classes."""

    def slope(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        engine = self.engine
        return engine.from_share(functions.softmax(engine.context, scores.share)) - label

    def of_rows(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        return self.both(scores, label)[1]

    def both(self, scores: Secret, label: Secret) -> tuple[Secret, Secret]:  # noqa: D102
        engine = self.engine
        found = functions.softmax_and_log_sum(engine.context, scores.share)
        softmax, log_sum_B = (engine.from_share(share) for share in found)
        of_truth_B1 = (label * scores).sum(1, keepdim=True)
        return softmax - label, log_sum_B.unsqueeze(1) - of_truth_B1


class Weighted(Loss):
    """Another loss, each row's times the weight of its class.

    Args:
        loss: the other one.
        weights: one for each class.
    """

    def __init__(self, loss: Loss, weights: Sequence[float]) -> None:
        super().__init__(loss.engine)
        self._loss = loss
        self._weights = torch.tensor([round(w * 2**PRECISION_BITS) for w in weights])

    def slope(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        return self._loss.slope(scores, label) * self._of_rows(label)

    def of_rows(self, scores: Secret, label: Secret) -> Secret:  # noqa: D102
        return self._loss.of_rows(scores, label) * self._of_rows(label)

    def both(self, scores: Secret, label: Secret) -> tuple[Secret, Secret]:  # noqa: D102
        slope, loss = self._loss.both(scores, label)
        weight_B1 = self._of_rows(label)
        return slope * weight_B1, loss * weight_B1

    def _of_rows(self, label: Secret) -> Secret:
        share = label.share
        if share.shape[1] == 1:
            ones = self.engine.public(torch.ones(share.shape)).share
            share = torch.cat([ones - share, share], dim=1)
        weighted = (share * self._weights).sum(1, keepdim=True)
        return self.engine.rounded(self.engine.from_share(weighted, 2 * PRECISION_BITS))


LOSSES: dict[str, type[Loss]] = {
    "logistic": Logistic,
    "hinge": Hinge,
    "squared_error": SquaredError,
    "cross_entropy": CrossEntropy,
}


def make(engine: Engine, name: str, class_weights: Sequence[float]) -> Loss:
    """Return a loss by name, weighted where there are weights."""
    loss = LOSSES[name](engine)
    return Weighted(loss, class_weights) if class_weights else loss
