"""Metrics of a binary classifier from shared scores and labels; totals alone are opened.

The decision calls a row positive if its score is above the agreed threshold. With the row's score z
and label y, and p = sigmoid(z):

    hits = sum [z > t] y,   log loss = mean log(1 + exp(z)) - y z,   Brier = mean (p - y)**2.

Counts: decisions.py. AUC, average precision and KS: ranking.py. The curves' points: buckets.py.
"""

# N = test rows, G = groups, W = populations: all rows, then groups. Counts are whole numbers.

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tallystick.evaluate import integers, ranking
from tallystick.evaluate.buckets import Buckets, open_buckets
from tallystick.evaluate.confusion import Confusion
from tallystick.evaluate.decisions import Decisions
from tallystick.evaluate.minimum import Minimum
from tallystick.runtime import events
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.ledger import Ledger


@dataclass(frozen=True, kw_only=True, slots=True)
class Binary:
    """What was opened of a binary classifier."""

    metrics: dict[str, float]
    """The most telling first. What speaks of too few rows is absent."""
    confusion: Confusion | None
    buckets: Buckets | None
    """Their means are of probabilities, or of scores that are none."""
    groups: Sequence[dict[str, float] | None] = field(default_factory=tuple)
    """The metrics of each group; None where they are withheld."""


def evaluate(
    engine: Engine,
    ledger: Ledger,
    scores_N: Secret,
    label_N: Secret,
    *,
    threshold: float = 0.5,
    probabilities: bool = True,
    min_count: int = 1,
    group_NG: Secret | None = None,
) -> Binary:
    """Measure a binary classifier.

    Args:
        engine: the session's engine.
        ledger: opens the totals.
        scores_N: what stands before the sigmoid.
        label_N: 0 or 1.
        threshold: a row is called positive if the sigmoid of its score is above it.
        probabilities: whether the sigmoid of a score is meant as a probability.
        min_count: the least number of rows that a total may speak of.
        group_NG: one-hot, the group of each row.
    """
    rows, minimum = scores_N.size(0), Minimum(engine, ledger, min_count)
    cut = round(math.log(threshold / (1 - threshold)) * 2**engine.precision_bits)
    positive_N = integers.bits(engine, label_N)
    called_N = integers.below(engine, -scores_N.share, -cut)
    member_GN = torch.zeros(0, rows, dtype=torch.int64)
    if group_NG is not None:
        member_GN = integers.bits(engine, group_NG).T.contiguous()

    decisions = Decisions(engine, ledger, minimum, positive_N, called_N)
    decided, of_groups = decisions.decide(), decisions.of_groups(member_GN)
    if decided.confusion is None:
        events.emit(
            "warning",
            message=f"fewer than {min_count} rows are of one class, or are called so: the "
            "confusion matrix and what follows from it are left out",
        )
    metrics, value_N = decided.metrics, scores_N
    losses: dict[str, float] = {}
    if probabilities:
        losses, value_N = _losses(engine, ledger, scores_N, label_N)
    aucs: dict[int, float] = {}
    buckets = None
    if decided.positive is not None and 0 < decided.positive < rows:
        both = {
            g: counts
            for g, counts in enumerate(of_groups)
            if counts and counts.positive and counts.negative
        }
        order = _rank(engine, scores_N, value_N, positive_N, member_GN[list(both)])
        curve = ranking.points(engine, order)
        positive, negative = decided.positive, rows - decided.positive
        counts_W2 = [(positive, negative)]
        counts_W2 += [(counts.positive, counts.negative) for counts in both.values()]
        auc, *rest = ranking.auc(engine, ledger, curve, counts_W2)
        aucs = dict(zip(both, rest, strict=True))
        metrics = {
            "auc": auc,
            **metrics,
            "average_precision": ranking.average_precision(engine, ledger, curve, positive),
            "ks": ranking.ks(engine, ledger, curve, positive, negative),
        }
        called = decided.confusion.called if decided.confusion else None
        buckets = open_buckets(engine, ledger, minimum, order, called)
    else:
        events.emit(
            "warning", message="one class has too few test rows: AUC and curves are left out"
        )
    return Binary(
        metrics={**metrics, **losses},
        confusion=decided.confusion,
        buckets=buckets,
        groups=[
            None if counts is None else _of_group(counts, aucs.get(g))
            for g, counts in enumerate(of_groups)
        ],
    )


def _rank(
    engine: Engine, scores_N: Secret, value_N: Secret, positive_N: Tensor, member_WN: Tensor
) -> ranking.Ranking:
    """Sort all rows, with the positive and negative ones of each population."""
    positive_WN = positive_N[None]
    negative_WN = integers.inverse(engine, positive_WN)
    if len(member_WN):
        of_groups = integers.times(engine, member_WN, positive_WN)
        positive_WN = torch.cat([positive_WN, of_groups])
        negative_WN = torch.cat([negative_WN, member_WN - of_groups])
    return ranking.rank(engine, scores_N.share, positive_WN, negative_WN, value_N.share)


def _losses(
    engine: Engine, ledger: Ledger, scores_N: Secret, label_N: Secret
) -> tuple[dict[str, float], Secret]:
    """Return log loss and Brier score, and the shared probabilities."""
    probability_N = engine.sigmoid(scores_N)
    loss_N = engine.softplus(scores_N) - scores_N * label_N
    squared_N = (probability_N - label_N).square()
    opened = ledger.reveal(
        engine.from_share(torch.stack([loss_N.share.sum(), squared_N.share.sum()])),
        "sums of the log loss and of the squared error",
        why="log loss and Brier score are their means",
    )
    assert opened is not None
    log_loss, brier = (opened / scores_N.size(0)).tolist()
    return {"log_loss": log_loss, "brier": brier}, probability_N


def _of_group(counts: Confusion, auc: float | None) -> dict[str, float]:
    if not counts.rows:
        return {"rows": 0.0}
    return {
        "rows": float(counts.rows),
        "positive_rate": counts.positive / counts.rows,
        "called_rate": counts.called / counts.rows,
        **({} if auc is None else {"auc": auc}),
        **counts.metrics(),
    }
