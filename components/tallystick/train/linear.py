"""Linear models on shares: scores z = X w, with a column of 1 in X for the intercept, the last.

They start from nought. The gradient of a batch is X' d with the slope d of its loss (losses.py);
X stands in it as it comes from the shares, so nothing about a graph is needed.

X does not change, so all of it is masked and opened once, before the first batch
(runtime/protocols/kept.py); a batch, or the rows that a loss is computed of, takes its rows of
that, and opens nothing of them any more. With 128 rows of 100 features the parties send each other
an eighth of what they would; the number of rounds is the same, for the weights are masked in the
round in which the batch would be.
"""

# B = rows in a batch, F = features.

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tallystick.models.coins import Coins
from tallystick.models.linear import WEIGHTS
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.orders import Selection
from tallystick.runtime.progress import Progress
from tallystick.runtime.protocols import layers
from tallystick.runtime.protocols.kept import Kept, Read
from tallystick.runtime.protocols.products import Masked, mask
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

    def table(  # noqa: D102
        self, rows: int, read: Read, folder: Path | None, progress: Progress | None
    ) -> Kept:
        def with_ones(selection: Selection) -> Tensor:
            if progress is not None:
                progress.reached(selection.begin)
            flat_BF = read(selection).flatten(1)
            ones_B1 = self._engine.public(torch.ones(len(flat_BF), 1))
            return torch.cat([flat_BF, ones_B1.share], dim=1)

        size = rows, len(self.penalised_P)
        table = Kept.make(self._engine.context, size, with_ones, folder)
        if progress is not None:
            progress.end()
        return table

    def gradient(self, features: Masked, label: Secret, coins: Coins) -> Secret:  # noqa: D102
        engine = self._engine
        layer = self._layer(features)
        slope_B1 = self._loss.slope(engine.from_share(layer.result(engine.context)), label)
        _, found_1F = layer.backward(engine.context, slope_B1.share, wanted=(False, True))
        assert found_1F is not None
        return engine.from_share(found_1F.squeeze(0))

    def loss(self, parts: Iterable[Part], rows: int) -> Secret:  # noqa: D102
        sums = [self._loss.of_rows(self.scores(x), label).sum() for x, label in parts]
        return self._engine.combine([(part, 1 / rows) for part in sums])

    def scores(self, features: Masked) -> Secret:  # noqa: D102
        return self._engine.from_share(self._layer(features).result(self._engine.context))

    def parameters(self) -> dict[str, Tensor]:  # noqa: D102
        return {WEIGHTS: self.weights_P.unsqueeze(1).share}

    def begin_with(self, parameters: Mapping[str, Tensor]) -> None:  # noqa: D102
        self.weights_P = self._engine.from_share(parameters[WEIGHTS].flatten())

    def state(self) -> dict[str, Tensor]:  # noqa: D102
        return {"weights": self.weights_P.share}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: D102
        self.weights_P = self._engine.from_share(state["weights"])

    def _layer(self, features: Masked) -> layers.Linear:
        (weights_1F,) = mask(self._engine.context, self.weights_P.share.unsqueeze(0))
        return layers.Linear(features, weights_1F)
