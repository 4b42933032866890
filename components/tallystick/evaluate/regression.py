"""Metrics of a regression from shared scores and labels; four means are opened.

With e = score - y:  RMSE = sqrt(mean e**2), MAE = mean |e|, R2 = 1 - mean e**2 / (mean y**2 -
(mean y)**2).
"""

# N = test rows. Scores and labels are shared, in the label's deviations.

import math

import torch

from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.ledger import Ledger


def evaluate(
    engine: Engine, ledger: Ledger, scores_N: Secret, label_N: Secret, deviation: float
) -> dict[str, float]:
    """Return RMSE and MAE in the label's unit, and R2 where the labels vary.

    Args:
        engine: the session's engine.
        ledger: opens the means.
        scores_N: predictions.
        label_N: the truth.
        deviation: of the label, by which it was divided.
    """
    error_N = scores_N - label_N
    squares = engine.from_share(torch.stack([error_N.share, label_N.share])).square()
    absolute_N = error_N - error_N * engine.negative(error_N) * 2
    totals = torch.stack(
        [
            squares.share[0].sum(),
            absolute_N.share.sum(),
            label_N.share.sum(),
            squares.share[1].sum(),
        ]
    )
    means = engine.combine([(engine.from_share(totals), 1 / scores_N.size(0))])
    opened = ledger.reveal(
        means,
        "means of squared and absolute error, label and squared label",
        why="RMSE, MAE and R2 follow from them",
    )
    assert opened is not None
    squared, absolute, mean, mean_square = opened.tolist()
    metrics = {"rmse": math.sqrt(max(squared, 0.0)) * deviation, "mae": absolute * deviation}
    variance = mean_square - mean**2
    if variance > 0:
        metrics["r2"] = 1 - squared / variance
    return metrics
