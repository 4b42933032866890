"""Metrics of a regression from shared scores and labels; totals alone are opened.

Scores and labels are in the label's deviations; with e = score - y and means over the rows:

    RMSE = sqrt(mean e**2),   MAE = mean |e|,   R2 = 1 - mean e**2 / V,   V = mean (y - mean y)**2,
    explained variance = 1 - mean (e - mean e)**2 / V,   MAPE = mean |e| / |y|.

mean y and mean e are opened first, so that V is a mean of squares and nothing cancels. MAPE takes
y in the label's own units; a |y| below 2**-8 deviations counts as 2**-8.

The residuals' histogram counts e between multiples of half the RMSE, from -3 to 3 RMSE; buckets
with too few rows are joined.
"""

# N = test rows, G = groups, B = buckets.

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from tallystick.evaluate import integers
from tallystick.evaluate.minimum import Minimum
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.ledger import Ledger

_HALF_RMSES = range(-6, 7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """Counts of residuals (score less label), in the label's unit."""

    edges: Sequence[float]
    """Inner edges, ascending; the first and last bucket are open."""
    counts: Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """What was opened of a regression."""

    metrics: dict[str, float]
    histogram: Histogram | None
    """None where no residual differs from nought."""
    groups: Sequence[dict[str, float] | None] = field(default_factory=tuple)
    """Metrics of each group; None where they are withheld."""


def evaluate(
    engine: Engine,
    ledger: Ledger,
    scores_N: Secret,
    label_N: Secret,
    deviation: float,
    *,
    mean: float = 0.0,
    min_count: int = 1,
    group_NG: Secret | None = None,
) -> Regression:
    """Measure a regression; errors are in the label's own units.

    Args:
        engine: the session's engine.
        ledger: opens the totals.
        scores_N: predictions.
        label_N: the truth.
        deviation: of the label, by which it was divided.
        mean: of the label, which was taken from it before.
        min_count: the least number of rows that a total may speak of.
        group_NG: one-hot, the group of each row.
    """
    error_N = scores_N - label_N
    absolute_N = error_N - error_N * engine.negative(error_N) * 2
    metrics = _metrics(engine, ledger, error_N, absolute_N, label_N, deviation, mean)
    minimum = Minimum(engine, ledger, min_count)
    return Regression(
        metrics=metrics,
        histogram=_histogram(engine, ledger, minimum, error_N, metrics["rmse"], deviation),
        groups=_groups(engine, ledger, minimum, error_N, absolute_N, group_NG, deviation),
    )


def _metrics(
    engine: Engine,
    ledger: Ledger,
    error_N: Secret,
    absolute_N: Secret,
    label_N: Secret,
    deviation: float,
    mean: float,
) -> dict[str, float]:
    rows = label_N.size(0)
    sums = torch.stack([error_N.share.sum(), label_N.share.sum()])
    centres = ledger.reveal(
        engine.from_share(sums),
        "sums of error and label",
        why="variances are measured from their means",
    )
    assert centres is not None
    centres_2N = (centres / rows).unsqueeze(1).expand(2, rows)
    moved_2N = engine.from_share(torch.stack([error_N.share, label_N.share])) - centres_2N
    squares = engine.from_share(torch.cat([moved_2N.share, error_N.share[None]])).square()
    own_units_N = label_N + mean / deviation
    relative_N = absolute_N * _inverse_magnitude(engine, own_units_N)
    opened = ledger.reveal(
        engine.from_share(
            torch.stack([*squares.share.sum(1), absolute_N.share.sum(), relative_N.share.sum()])
        ),
        "sums of squared, absolute and relative error, and of the label's squares",
        why="RMSE, MAE, MAPE, R2 and explained variance follow from them",
    )
    assert opened is not None
    spread, variance, squared, absolute, relative = (opened / rows).tolist()
    metrics = {
        "rmse": math.sqrt(max(squared, 0.0)) * deviation,
        "mae": absolute * deviation,
        "mape": relative,
    }
    if variance > 0:
        metrics |= {"r2": 1 - squared / variance, "explained_variance": 1 - spread / variance}
    return metrics


def _inverse_magnitude(engine: Engine, value_N: Secret) -> Secret:
    magnitude_N = value_N - value_N * engine.negative(value_N) * 2
    return magnitude_N.reciprocal()


def _histogram(
    engine: Engine,
    ledger: Ledger,
    minimum: Minimum,
    error_N: Secret,
    rmse: float,
    deviation: float,
) -> Histogram | None:
    unit = round(rmse / deviation / 2 * 2**engine.precision_bits)
    rows = error_N.size(0)
    if not unit:
        return None
    edges_B = torch.tensor([half * unit for half in _HALF_RMSES])
    below_B = integers.below(
        engine, error_N.share.expand(len(edges_B), rows), edges_B.unsqueeze(1)
    ).sum(1)
    everything = integers.plus(engine, torch.zeros(1, dtype=torch.int64), rows)
    ends = torch.cat([below_B, everything])
    kept = minimum.merge(ends, 0, "buckets of residuals")
    opened = integers.reveal(
        engine, ledger, ends[kept], "rows in buckets of residuals", why="the histogram shows them"
    )
    size = unit / 2**engine.precision_bits * deviation
    return Histogram(
        edges=[_HALF_RMSES[end] * size for end in kept[:-1]],
        counts=torch.diff(opened, prepend=torch.zeros(1, dtype=torch.int64)).tolist(),
    )


def _groups(
    engine: Engine,
    ledger: Ledger,
    minimum: Minimum,
    error_N: Secret,
    absolute_N: Secret,
    group_NG: Secret | None,
    deviation: float,
) -> list[dict[str, float] | None]:
    if group_NG is None:
        return []
    member_GN = integers.bits(engine, group_NG).T.contiguous()
    rows_G1 = member_GN.sum(1, keepdim=True)
    shown = minimum.publishable(rows_G1, "groups")
    values_N3 = torch.stack([error_N.share, absolute_N.share, error_N.square().share], dim=1)
    sums_G3 = integers.matmul(engine, member_GN, values_N3)
    rows = integers.reveal(
        engine, ledger, rows_G1[torch.tensor(shown), 0], "rows of groups", why="means need them"
    )
    sums = ledger.reveal(
        engine.from_share(sums_G3[torch.tensor(shown)]),
        "sums of error, absolute and squared error of groups",
        why="the metrics by group follow from them",
    )
    assert sums is not None
    found = iter(zip(rows.tolist(), sums.tolist(), strict=True))
    return [_of_group(*next(found), deviation) if yes else None for yes in shown]


def _of_group(rows: int, sums: Sequence[float], deviation: float) -> dict[str, float]:
    if not rows:
        return {"rows": 0.0}
    error, absolute, squared = (value / rows for value in sums)
    return {
        "rows": float(rows),
        "mean_error": error * deviation,
        "rmse": math.sqrt(max(squared, 0.0)) * deviation,
        "mae": absolute * deviation,
    }
