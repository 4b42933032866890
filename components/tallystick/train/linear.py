"""Mini-batch gradient descent for linear models, on shares. The parameters are never opened.

With B rows in a batch, scores z = X w (the last column of X is 1, the last weight the intercept):

===================  ======================  ============================================
model                loss of one row         its derivative by z
===================  ======================  ============================================
logistic_regression  log(1 + exp(z)) - y z   sigmoid(z) - y            y in {0, 1}
linear_svm           max(0, 1 - t z)         -t where t z < 1          t = 2 y - 1
linear_regression    (z - y)**2 / 2          z - y
===================  ======================  ============================================

Each batch:   v = momentum v + X' d / B + l2 w   (l2 spares the intercept),   w = w - learning_rate
v. This is torch.optim.SGD's rule, which the tests take as the oracle.
"""

# B = rows in a batch, F = features. N = training rows.

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tallystick.runtime.engine import Engine, Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Descent:
    """How to descend."""

    model: str
    learning_rate: float
    momentum: float
    l2: float


class LinearTrainer:
    """Weights and velocity of one model, shared.

    Args:
        engine: the session's engine.
        descent: how to descend.
        features: F, without the intercept.
    """

    def __init__(self, engine: Engine, descent: Descent, features: int) -> None:
        self._engine = engine
        self._descent = descent
        self._penalised = torch.ones(features + 1, 1, dtype=torch.int64)
        self._penalised[-1] = 0
        self.weights = engine.public(torch.zeros(features + 1, 1))
        # The velocity times the learning rate: one rounding less in each step.
        self._step = engine.public(torch.zeros(features + 1, 1))

    def descend(self, features_BF: Secret, label_B1: Secret) -> None:
        """Take one step on one batch."""
        features_BF = self._with_ones(features_BF)
        slope_B1 = self._slope(features_BF @ self.weights, label_B1)
        gradient = features_BF.t() @ slope_B1
        rate = self._descent.learning_rate
        penalised = self._engine.from_share(self.weights.share * self._penalised)
        self._step = self._engine.combine(
            [
                (self._step, self._descent.momentum),
                (gradient, rate / features_BF.size(0)),
                (penalised, rate * self._descent.l2),
            ]
        )
        self.weights = self.weights - self._step

    def loss(self, parts: Sequence[tuple[Secret, Secret]]) -> Secret:
        """Return the mean loss, without the penalty, over all parts: a shared number.

        Args:
            parts: features_BF and label_B1, part by part, so that memory follows the part.
        """
        rows = sum(label.size(0) for _, label in parts)
        terms = []
        for features_BF, label_B1 in parts:
            scores_B1 = self._with_ones(features_BF) @ self.weights
            terms.append((self._losses(scores_B1, label_B1).sum(), 1 / rows))
        return self._engine.combine(terms)

    def _with_ones(self, features_BF: Secret) -> Secret:
        ones_B1 = self._engine.public(torch.ones(features_BF.size(0), 1))
        return self._engine.from_share(torch.cat([features_BF.share, ones_B1.share], dim=1))

    def _slope(self, scores_B1: Secret, label_B1: Secret) -> Secret:
        match self._descent.model:
            case "logistic_regression":
                return self._engine.sigmoid(scores_B1) - label_B1
            case "linear_svm":
                signs_B1 = label_B1 * 2 - 1
                violated_B1 = self._engine.negative(signs_B1 * scores_B1 - 1)
                return -(violated_B1 * signs_B1)
            case _:
                return scores_B1 - label_B1

    def _losses(self, scores_B1: Secret, label_B1: Secret) -> Secret:
        match self._descent.model:
            case "logistic_regression":
                return self._engine.softplus(scores_B1) - label_B1 * scores_B1
            case "linear_svm":
                short_B1 = 1 - (label_B1 * 2 - 1) * scores_B1
                return short_B1 - short_B1 * self._engine.negative(short_B1)
            case _:
                error_B1 = scores_B1 - label_B1
                return self._engine.combine([(error_B1.square(), 0.5)])
