"""Linear models on shares: scores z = X w, with a column of 1 in X for the intercept, the last.

They start from nought. The gradient of a batch is X' d with the slope d of its loss (losses.py);
X stands in it as it comes from the shares, so nothing about a graph is needed. A batch is masked
and opened once, for the scores and for the gradient.

It is not kept masked from one epoch to the next, as SecureML does: that would save no round, for
the weights are masked in the same one, and of an iteration with 128 rows of 100 features 4 % of the
processor time (88 % of the bytes between the parties; 38 and 98 % with 10,000 features). The
dealer would have to know which rows of one long mask each batch takes.
"""

# B = rows in a batch, F = features.

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from tallystick.models.coins import Coins
from tallystick.models.linear import WEIGHTS
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.protocols import layers
from tallystick.train.learner import Part
from tallystick.train.losses import Loss


class LinearLearner:
    """One linear model.

    Args:
        engine: the session's engine.
        loss: of its scores.
        features: F, without the intercept.
    """

    def __init__(self, engine: Engine, loss: Loss, features: int) -> None:
        self._engine = engine
        self._loss = loss
        self.weights_P = engine.public(torch.zeros(features + 1))
        self.penalised_P = torch.ones(features + 1, dtype=torch.int64)
        self.penalised_P[-1] = 0

    def gradient(self, features: Secret, label: Secret, coins: Coins) -> Secret:  # noqa: D102
        engine = self._engine
        rows_BF, weights_1F = self._with_ones(features).share, self.weights_P.share.unsqueeze(0)
        scores_B1, layer = layers.Linear.forward(engine.context, rows_BF, weights_1F, None)
        slope_B1 = self._loss.slope(engine.from_share(scores_B1), label)
        _, found_1F = layer.backward(engine.context, slope_B1.share, wanted=(False, True))
        assert found_1F is not None
        return engine.from_share(found_1F.squeeze(0))

    def loss(self, parts: Iterable[Part], rows: int) -> Secret:  # noqa: D102
        sums = [self._loss.of_rows(self.scores(x), label).sum() for x, label in parts]
        return self._engine.combine([(part, 1 / rows) for part in sums])

    def scores(self, features: Secret) -> Secret:  # noqa: D102
        return self._with_ones(features) @ self._weights_F1

    def parameters(self) -> dict[str, Tensor]:  # noqa: D102
        return {WEIGHTS: self._weights_F1.share}

    def begin_with(self, parameters: Mapping[str, Tensor]) -> None:  # noqa: D102
        self.weights_P = self._engine.from_share(parameters[WEIGHTS].flatten())

    def state(self) -> dict[str, Tensor]:  # noqa: D102
        return {"weights": self.weights_P.share}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: D102
        self.weights_P = self._engine.from_share(state["weights"])

    @property
    def _weights_F1(self) -> Secret:
        return self.weights_P.unsqueeze(1)

    def _with_ones(self, features: Secret) -> Secret:
        flat_BF = features.share.flatten(1)
        ones_B1 = self._engine.public(torch.ones(len(flat_BF), 1))
        return self._engine.from_share(torch.cat([flat_BF, ones_B1.share], dim=1))
