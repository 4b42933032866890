"""What the training loop asks of a model: its parameters as one vector, and gradients of them."""

# B = rows of a batch, P = parameters.

from collections.abc import Iterable, Mapping
from typing import Protocol

from torch import Tensor

from tallystick.models.coins import Coins
from tallystick.runtime.engine import Secret

Part = tuple[Secret, Secret]
"""Features and label of some rows."""


class Learner(Protocol):
    """One model in training."""

    weights_P: Secret
    """All parameters, one after the other."""
    penalised_P: Tensor
    """int64: one where a penalty on large parameters applies, nought for intercepts and norms."""

    def gradient(self, features: Secret, label: Secret, coins: Coins) -> Secret:
        """Return the sum of the rows' gradients [P]."""

    def loss(self, parts: Iterable[Part], rows: int) -> Secret:
        """Return the mean loss of the epoch that ends, without the penalty.

        Args:
            parts: all training rows, for a learner that did not count along.
            rows: how many they are.
        """

    def scores(self, features: Secret) -> Secret:
        """Return the scores of a finished model: [B, 1] or [B, K]."""

    def parameters(self) -> dict[str, Tensor]:
        """Return this party's share of what the model artifact holds."""

    def begin_with(self, parameters: Mapping[str, Tensor]) -> None:
        """Begin with this party's share of a finished model, as :meth:`parameters` gives it."""

    def state(self) -> dict[str, Tensor]:
        """Return this party's share of everything that changes in training, by name."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
