"""The minimum count: no total is opened that speaks of fewer rows than agreed.

A set of rows is *safe* if it is empty or holds at least ``min_count`` rows. Which sets are safe is
found on shares, and only that bit is opened; a total of an unsafe set never is. Differences count
as well: what is left over when the opened totals are taken from a total of all rows must be safe
too, or one more set is withheld.

The rule is about the rows that a total speaks of, not about its value: of 200 positive rows the
model may well miss 2, and "2 of 200" is opened.
"""

# G = groups, M = margins of a group: its rows, its positive rows... B = buckets.

import torch
from torch import Tensor

from tallystick.evaluate import integers
from tallystick.runtime.engine import Engine
from tallystick.runtime.ledger import Ledger


class Minimum:
    """Decides what may be opened.

    Args:
        engine: the session's engine.
        ledger: opens the decisions.
        rows: the agreed minimum, one or more.
    """

    def __init__(self, engine: Engine, ledger: Ledger, rows: int) -> None:
        self.rows = rows
        self._engine = engine
        self._ledger = ledger

    def safe(self, counts: Tensor, of: str) -> list[bool]:
        """Say of each shared count whether it is nought or large enough."""
        unsafe = self._reveal(self._unsafe(counts), f"which {of} hold too few rows")
        return [bit == 0 for bit in unsafe.tolist()]

    def publishable(self, margins_GM: Tensor, of: str) -> list[bool]:
        """Say of each group whether its totals may be opened.

        Args:
            margins_GM: shared counts that must all be safe; the first is the group's rows.
            of: what the groups are.
        """
        engine = self._engine
        unsafe_G = self._unsafe(margins_GM).sum(1)
        withheld_G = integers.inverse(engine, integers.below(engine, unsafe_G, 1))
        withheld = self._reveal(withheld_G, f"which {of} hold too few rows").bool()
        largest_first = self._by_size(margins_GM[:, 0], ~withheld, of)
        # The others' totals would give a small remainder away.
        while withheld.any() and not self._covers(margins_GM[withheld].sum(0), of):
            if not largest_first:
                break
            withheld[largest_first.pop()] = True
        shown: list[bool] = (~withheld).tolist()
        return shown

    def merge(self, ends_B: Tensor, start: int, of: str) -> list[int]:
        """Choose which ends of buckets to keep, so that each bucket holds enough rows.

        Args:
            ends_B: shared, in ascending order: how many rows lie before the end of each bucket. The
                last is always kept.
            start: how many lie before the first bucket; public.
            of: what the buckets are.

        Returns:
            The numbers of the kept ends, in ascending order.
        """
        engine, count = self._engine, len(ends_B)
        starts = torch.cat([integers.plus(engine, torch.zeros_like(ends_B[:1]), start), ends_B])
        enough = integers.inverse(
            engine, integers.below(engine, ends_B.unsqueeze(0) - starts.unsqueeze(1), self.rows)
        )
        kept = [-1]
        for end in range(count):
            # Only the bits that decide are opened: one for each end.
            if self._reveal(enough[kept[-1] + 1, end], f"which {of} hold too few rows").item():
                kept.append(end)
        if kept[-1] != count - 1:  # too few are left: they join the bucket before
            kept = [*(kept[:-1] if len(kept) > 1 else kept), count - 1]
        return kept[1:]

    def _unsafe(self, counts: Tensor) -> Tensor:
        engine = self._engine
        few, none = integers.below(
            engine,
            torch.stack([counts, counts]),
            torch.tensor([self.rows, 1]).reshape(2, *[1] * counts.dim()),
        )
        unsafe: Tensor = few - none
        return unsafe

    def _covers(self, margins_M: Tensor, of: str) -> bool:
        unsafe = integers.below(self._engine, self._unsafe(margins_M).sum(), 1)
        return bool(self._reveal(unsafe, f"whether the withheld {of} hold enough rows").item())

    def _by_size(self, rows_G: Tensor, among: Tensor, of: str) -> list[int]:
        """Return the groups that may be opened, the largest first."""
        groups = among.nonzero().squeeze(1)
        if among.all() or not len(groups):
            return []
        rows = rows_G[groups]
        differences = rows.unsqueeze(0) - rows.unsqueeze(1)
        smaller = self._reveal(
            integers.below(self._engine, differences, 0), f"the order of {of} by size"
        )
        order: list[int] = groups[smaller.sum(1).argsort(stable=True, descending=True)].tolist()
        return order

    def _reveal(self, share: Tensor, what: str) -> Tensor:
        return integers.reveal(
            self._engine, self._ledger, share, what, why="no total speaks of fewer rows than agreed"
        )
