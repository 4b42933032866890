"""What the training loop asks of a model: its parameters as one vector, and gradients of them."""

# B = rows of a batch, P = parameters.

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from tallystick.models.coins import Coins
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.orders import Selection
from tallystick.runtime.progress import Progress
from tallystick.runtime.protocols.kept import Read

Part = tuple[Any, Secret]
"""Features, as a learner's table gives them, and label of some rows."""
_PART_ROWS = 1 << 14
_PART_VALUES = 1 << 24


def part_rows(feature_shape: Sequence[int]) -> int:
    """Return how many rows are measured together: as many as memory holds easily."""
    return max(1, min(_PART_ROWS, _PART_VALUES // max(1, math.prod(feature_shape))))


class Table(Protocol):
    """The features of all rows that are read for one purpose: training, or validation."""

    @property
    def number(self) -> int | None:
        """Of the mask that it was opened under; None where a batch is masked when it is taken."""

    def take(self, rows: Selection) -> Any:
        """Return some rows as the learner that made the table needs them."""


class Unmasked:
    """A table whose rows are read when they are taken."""

    number: int | None = None

    def __init__(self, engine: Engine, read: Read) -> None:
        self._engine = engine
        self._read = read

    def take(self, rows: Selection) -> Secret:  # noqa: D102
        return self._engine.from_share(self._read(rows))


class Learner(Protocol):
    """One model in training."""

    weights_P: Secret
    """All parameters, one after the other."""
    penalised_P: Tensor
    """int64: one where a penalty on large parameters applies, nought for intercepts and norms."""

    def table(self, rows: int, read: Read, folder: Path | None, progress: Progress | None) -> Table:
        """Make features ready to be taken, together with the other parties.

        Args:
            rows: how many there are.
            read: gives this party's share of some of them.
            folder: for what does not fit into memory.
            progress: is told how many are masked, if they are.
        """

    def gradient(self, features: Any, label: Secret, coins: Coins) -> Secret:
        """Return the sum of the rows' gradients [P]."""

    def loss(self, parts: Iterable[Part], rows: int) -> Secret:
        """Return the mean loss of the epoch that ends, without the penalty.

        Args:
            parts: all training rows, for a learner that did not count along.
            rows: how many they are.
        """

    def scores(self, features: Any) -> Secret:
        """Return the scores of a finished model: [B, 1] or [B, K]."""

    def parameters(self) -> dict[str, Tensor]:
        """Return this party's share of what the model artifact holds."""

    def begin_with(self, parameters: Mapping[str, Tensor]) -> None:
        """Begin with this party's share of a finished model, as :meth:`parameters` gives it."""

    def state(self) -> dict[str, Tensor]:
        """Return this party's share of everything that changes in training, by name."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
