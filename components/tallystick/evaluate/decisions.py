"""Counts of right and wrong decisions, of all rows and of groups, opened where they are safe."""

# N = test rows, G = groups. Shares are int64; all are whole numbers.

from dataclasses import dataclass

import torch
from torch import Tensor

from tallystick.evaluate import integers
from tallystick.evaluate.confusion import Confusion
from tallystick.evaluate.minimum import Minimum
from tallystick.runtime.engine import Engine
from tallystick.runtime.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Decided:
    """What was opened of the decisions."""

    metrics: dict[str, float]
    confusion: Confusion | None
    positive: int | None
    """How many rows are truly positive."""


class Decisions:
    """Shared bits of every row: is it positive, is it called so, and both.

    Args:
        engine: the session's engine.
        ledger: opens the counts.
        minimum: decides which counts may be opened.
        positive_N: the label.
        called_N: the decision.
    """

    def __init__(
        self, engine: Engine, ledger: Ledger, minimum: Minimum, positive_N: Tensor, called_N: Tensor
    ) -> None:
        self._engine, self._ledger, self._minimum = engine, ledger, minimum
        self._rows = len(positive_N)
        hits_N = integers.times(engine, positive_N, called_N)
        self._bits_3N = torch.stack([positive_N, called_N, hits_N])

    def decide(self) -> Decided:
        """Open the counts of all rows."""
        positive, called, hits = self._bits_3N.sum(1)
        margins = [positive, called]
        margins += [integers.plus(self._engine, -margin, self._rows) for margin in margins]
        safe = self._minimum.safe(torch.stack(margins), "classes and decisions")
        if not (safe[0] and safe[2]):
            right = integers.plus(self._engine, 2 * hits - called - positive, self._rows)
            opened = self._reveal([right], "right answers", why="accuracy follows from them")
            return Decided({"accuracy": opened[0] / self._rows}, None, None)
        if not (safe[1] and safe[3]):
            # Right answers less negative rows would be a total of the few rows alone.
            opened = self._reveal([positive], "positive rows", why="the curves need their number")
            return Decided({}, None, opened[0])
        opened = self._reveal(
            [positive, called, hits],
            "confusion counts",
            why="accuracy, precision, recall and their like follow from them",
        )
        confusion = Confusion.of(self._rows, *opened)
        return Decided(confusion.metrics(), confusion, confusion.positive)

    def of_groups(self, member_GN: Tensor) -> list[Confusion | None]:
        """Open the counts of each group, or None where they are withheld."""
        if not len(member_GN):
            return []
        sums_G3 = integers.matmul(self._engine, member_GN, self._bits_3N.T)
        counts_G4 = torch.cat([member_GN.sum(1, keepdim=True), sums_G3], dim=1)
        rows_G, positive_G, called_G, _ = counts_G4.T
        margins_G5 = torch.stack(
            [rows_G, positive_G, rows_G - positive_G, called_G, rows_G - called_G], dim=1
        )
        shown = self._minimum.publishable(margins_G5, "groups")
        opened = integers.reveal(
            self._engine,
            self._ledger,
            counts_G4[torch.tensor(shown)],
            "confusion counts of groups",
            why="the metrics by group follow from them",
        )
        counts = iter(opened.tolist())
        return [Confusion.of(*next(counts)) if yes else None for yes in shown]

    def _reveal(self, shares: list[Tensor], what: str, *, why: str) -> list[int]:
        opened = integers.reveal(self._engine, self._ledger, torch.stack(shares), what, why=why)
        values: list[int] = opened.tolist()
        return values
