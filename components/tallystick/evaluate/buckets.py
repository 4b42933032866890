"""The opened points of the curves: rows, positive rows and mean score of buckets of equal scores.

The rows, highest score first, are cut at public ranks. A cut moves down to the end of the rows
whose scores equal that of the row above it, so that equal scores stay together. How far it moves is
shared:  with s the scores, k_j the ranks, t_i = [s_i = s_k_j] for the rows i after cut j and before
the next, T_j the sum of t_i (1, y_i, v_i) over them, and E_jl = [s_k_j = s_k_l]:

    sums down to the moved cut j = sums down to rank k_j + sum over l >= j of E_jl T_l.

Cuts that would leave a bucket with fewer rows than agreed are dropped before the sums are opened
(minimum.py). No score is opened: a cut's threshold is told as halfway between the mean scores of
the buckets above and below.
"""

# N = test rows, highest score first. J = cuts. Shares are int64; counts are whole numbers.

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tallystick.evaluate import integers
from tallystick.evaluate.minimum import Minimum
from tallystick.evaluate.ranking import Ranking
from tallystick.runtime.engine import Engine
from tallystick.runtime.ledger import Ledger

MAX_BUCKETS = 50


@dataclass(frozen=True, slots=True)
class Buckets:
    """What was opened, the highest scores first."""

    rows: Sequence[int]
    positives: Sequence[int]
    means: Sequence[float]
    """Mean of what the ranking carried as ``value_N``."""


def cuts(rows: int, min_count: int, called: int | None = None) -> list[int]:
    """Return the ranks to cut at, the last being all rows: tenths where there are rows enough.

    Args:
        rows: of the test.
        min_count: the least between two cuts.
        called: a further cut that is public already; cuts too near to it are left out.
    """
    count = max(1, min(MAX_BUCKETS, rows // min_count))
    if count > 10:
        count -= count % 10
    ranks = {round(number * rows / count) for number in range(1, count)}
    if called is not None and 0 < called < rows:
        ranks = {rank for rank in ranks if abs(rank - called) >= min_count} | {called}
    return [*sorted(ranks), rows]


def open_buckets(
    engine: Engine, ledger: Ledger, minimum: Minimum, ranking: Ranking, called: int | None
) -> Buckets:
    """Cut the ranking into buckets and open their totals.

    Args:
        engine: the session's engine.
        ledger: opens the totals.
        minimum: decides which cuts to drop.
        ranking: of all rows.
        called: how many rows stand above the decision threshold, if that was opened.
    """
    rows = len(ranking.score_N)
    ranks = cuts(rows, minimum.rows, called)
    sums_J3 = _moved(engine, ranking, ranks)
    kept = []
    sides = [(0, len(ranks))]
    if called in ranks[:-1]:
        sides = [(0, ranks.index(called) + 1), (ranks.index(called) + 1, len(ranks))]
    for first, last in sides:
        start = ranks[first - 1] if first else 0
        ends = minimum.merge(sums_J3[first:last, 0], start, "buckets of scores")
        kept += [first + end for end in ends]
    counts = integers.reveal(
        engine,
        ledger,
        sums_J3[kept, :2],
        "rows and positive rows in buckets of scores",
        why="the curves, gain, lift and calibration follow from them",
    )
    values = ledger.reveal(
        engine.from_share(sums_J3[kept, 2]),
        "sums of scores in buckets of scores",
        why="the curves' thresholds and the calibration follow from them",
    )
    assert values is not None
    in_bucket = torch.diff(counts, dim=0, prepend=torch.zeros(1, 2, dtype=torch.int64))
    sums = torch.diff(values, prepend=torch.zeros(1, dtype=torch.float64))
    held = in_bucket[:, 0] > 0
    return Buckets(
        rows=in_bucket[held, 0].tolist(),
        positives=in_bucket[held, 1].tolist(),
        means=(sums[held] / in_bucket[held, 0]).tolist(),
    )


def _moved(engine: Engine, ranking: Ranking, ranks: Sequence[int]) -> Tensor:
    """Return the shared sums of (1, y, v) down to each cut, moved to the end of equal scores."""
    rows = len(ranking.score_N)
    ones_N = integers.plus(engine, torch.zeros(rows, dtype=torch.int64), 1)
    columns_3N = torch.stack([ones_N, ranking.positive_WN[0], ranking.value_N])
    last_J = torch.tensor(ranks) - 1
    sums_J3 = columns_3N.cumsum(1)[:, last_J].T
    first = ranks[0]
    if first == rows:
        return sums_J3
    # Each row below the first cut, and the cut above it.
    cut_R = torch.searchsorted(last_J, torch.arange(first, rows)) - 1
    score_J = ranking.score_N[last_J]
    equal_R = integers.inverse(
        engine, integers.below(engine, ranking.score_N[first:] - score_J[cut_R], 0)
    )
    moved_2R = integers.times(engine, equal_R, columns_3N[1:, first:])
    tied_J3 = torch.zeros_like(sums_J3).index_add_(
        0, cut_R, torch.cat([equal_R[None], moved_2R]).T.contiguous()
    )
    same_JJ = integers.inverse(engine, integers.below(engine, score_J[None] - score_J[:, None], 0))
    return sums_J3 + integers.matmul(engine, same_JJ.triu(), tied_J3)
