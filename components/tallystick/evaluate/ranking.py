"""Rows in the order of their scores, on shares: the areas and distances that follow from it.

The rows are sorted by score (protocols/sort.py); neither scores nor labels nor whose row stands
where is opened. Sums from the top count the positive and negative rows above each place. Where
scores are equal only the last place of them is a point of a curve, as in scikit-learn: a shared bit
marks it, and partition() brings the marked places to the front; the others become copies of the
last point, which add nothing. Then, over the points k, with TP and FP the rows above:

    AUC               = sum (FP_k - FP_k-1) (TP_k + TP_k-1) / (2 P N)
    average precision = sum (TP_k - TP_k-1) / P * TP_k / (TP_k + FP_k)
    KS                = max |TP_k / P - FP_k / N|

Before the places move TP + FP is a place's public number, so precision needs no division of shared
values.
"""

# N = test rows, highest score first. W = populations: all rows, and the rows of each group.
# Shares are int64; counts are whole numbers.

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tallystick.evaluate import integers
from tallystick.runtime.engine import Engine
from tallystick.runtime.ledger import Ledger
from tallystick.runtime.protocols.sort import partition, sort
from tallystick.runtime.protocols.tournament import winner

_PRECISION_BITS = 40


@dataclass(frozen=True, slots=True)
class Ranking:
    """Shared rows in descending order of their scores."""

    score_N: Tensor
    ends_N: Tensor
    """Bits: does another score come next?"""
    positive_WN: Tensor
    negative_WN: Tensor
    value_N: Tensor
    """What is summed up beside the counts: the probability, or the score itself."""


@dataclass(frozen=True, slots=True)
class Points:
    """The points of the curve, where scores differ, then copies of the last one."""

    true_positive_WN: Tensor
    false_positive_WN: Tensor
    precision_N: Tensor
    """TP / (TP + FP) of all rows."""
    precision_bits: int
    """Fraction bits of the precision; counts have none."""


def rank(
    engine: Engine,
    score_N: Tensor,
    positive_WN: Tensor,
    negative_WN: Tensor,
    value_N: Tensor,
    identity_N: Tensor | None = None,
) -> Ranking:
    """Sort the rows, the highest score first.

    Args:
        engine: the session's engine.
        score_N: what they are sorted by.
        positive_WN: bits.
        negative_WN: bits.
        value_N: goes along.
        identity_N: what is equal where rows tie, for a score that rounding has touched: the score
            itself is equal there but for its last bits.
    """
    tied_N = score_N if identity_N is None else identity_N
    columns = torch.cat([torch.stack([score_N, value_N, tied_N]), positive_WN, negative_WN])
    ranked = sort(engine.context, -score_N, columns)
    score_N, value_N, tied_N = ranked[:3]
    step_N = tied_N[1:] - tied_N[:-1]
    ends_N = integers.below(engine, step_N, 0)
    if identity_N is not None:  # identities stand in no order
        ends_N = ends_N + integers.below(engine, -step_N, 0)
    last = integers.plus(engine, torch.zeros(1, dtype=torch.int64), 1)
    positive_WN, negative_WN = ranked[3:].chunk(2)
    return Ranking(score_N, torch.cat([ends_N, last]), positive_WN, negative_WN, value_N)


def points(engine: Engine, ranking: Ranking) -> Points:
    """Find the points of the curve."""
    ends_N = ranking.ends_N
    rows, populations = len(ends_N), len(ranking.positive_WN)
    counts_2WN = torch.cat([ranking.positive_WN, ranking.negative_WN]).cumsum(1)
    totals = counts_2WN[:, -1:]
    marked = totals + integers.times(engine, ends_N, counts_2WN - totals)
    bits = min(_PRECISION_BITS, 61 - rows.bit_length())
    inverse_N = (2.0**bits / torch.arange(1, rows + 1, dtype=torch.float64)).round().long()
    columns = torch.cat([marked, (counts_2WN[0] * inverse_N)[None]])
    columns = partition(engine.context, ends_N, columns)
    return Points(columns[:populations], columns[populations:-1], columns[-1], bits)


def auc(
    engine: Engine, ledger: Ledger, curve: Points, counts_W2: Sequence[tuple[int, int]]
) -> list[float]:
    """Return each population's AUC, given its numbers of positive and negative rows."""
    true_positive, false_positive = (
        torch.nn.functional.pad(counts, (1, 0))
        for counts in (curve.true_positive_WN, curve.false_positive_WN)
    )
    widths = false_positive.diff(dim=1)
    heights = true_positive[:, 1:] + true_positive[:, :-1]
    area_W = integers.reveal(
        engine,
        ledger,
        integers.times(engine, widths, heights).sum(1),
        "pairs ranked rightly",
        why="AUC follows from their number",
    )
    return [
        area / (2 * positive * negative)
        for area, (positive, negative) in zip(area_W.tolist(), counts_W2, strict=True)
    ]


def average_precision(engine: Engine, ledger: Ledger, curve: Points, positive: int) -> float:
    """Return the average precision of all rows."""
    steps_N = torch.nn.functional.pad(curve.true_positive_WN[0], (1, 0)).diff()
    total = integers.times(engine, steps_N, curve.precision_N).sum()
    share = engine.truncate(total, curve.precision_bits - engine.precision_bits)
    opened = ledger.reveal(
        engine.from_share(share),
        "sum of precisions",
        why="the average precision follows from it",
    )
    assert opened is not None
    return float(opened) / positive


def ks(engine: Engine, ledger: Ledger, curve: Points, positive: int, negative: int) -> float:
    """Return the largest distance between the classes' distributions of scores."""
    distance_N = curve.true_positive_WN[0] * negative - curve.false_positive_WN[0] * positive
    largest, _ = winner(engine.context, torch.cat([distance_N, -distance_N]))
    opened = integers.reveal(
        engine, ledger, largest, "largest distance between the classes", why="it is KS"
    )
    return float(opened) / (positive * negative)
