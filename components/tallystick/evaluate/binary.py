"""Metrics of a binary classifier from shared scores and labels; a handful of totals are opened.

Confusion counts: with p_i = [score_i > 0], the totals sum p y, sum p and sum y are opened.

AUC (Mann and Whitney, 1947; ties count one half, as in scikit-learn): with L_ij = [score_i <
score_j],

    2 U = P N + sum_ij L_ij (y_j - y_i),    AUC = U / (P N),

which holds since every pair of a positive and a negative row stands in the sum twice, with
opposite signs, and adds nothing where the scores are equal. Only 2 U is opened. The comparisons
are made in blocks of rows, so memory stays bounded; their number is N squared.
"""

# N = test rows. Scores and labels are shared.

from dataclasses import dataclass

import torch

from tallystick.runtime import events
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.ledger import Ledger

PAIRS_AT_ONCE = 1 << 18


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Counts of a binary classifier's right and wrong answers."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def matrix(self) -> list[list[int]]:
        """Rows: truly negative, truly positive. Columns: called negative, called positive."""
        return [
            [self.true_negative, self.false_positive],
            [self.false_negative, self.true_positive],
        ]

    def metrics(self) -> dict[str, float]:
        """Return accuracy, precision, recall and F1; nought where a quotient is not defined."""
        called = self.true_positive + self.false_positive
        positive = self.true_positive + self.false_negative
        rows = called + self.false_negative + self.true_negative
        return {
            "accuracy": (self.true_positive + self.true_negative) / rows,
            "precision": self.true_positive / called if called else 0.0,
            "recall": self.true_positive / positive if positive else 0.0,
            "f1": 2 * self.true_positive / (called + positive) if called + positive else 0.0,
        }


def evaluate(
    engine: Engine, ledger: Ledger, scores_N: Secret, label_N: Secret
) -> tuple[dict[str, float], Confusion]:
    """Return the metrics and the confusion counts.

    Args:
        engine: the session's engine.
        ledger: opens the totals.
        scores_N: positive means class 1.
        label_N: 0 or 1.
    """
    confusion = _confusion(engine, ledger, scores_N, label_N)
    metrics = confusion.metrics()
    rows = scores_N.size(0)
    positive = confusion.true_positive + confusion.false_negative
    if 0 < positive < rows:
        metrics = {"auc": _auc(engine, ledger, scores_N, label_N, positive), **metrics}
    else:
        events.emit("warning", message="the test rows hold one class only: AUC is not defined")
    return metrics, confusion


def _confusion(engine: Engine, ledger: Ledger, scores_N: Secret, label_N: Secret) -> Confusion:
    called_N = engine.negative(-scores_N)
    hits_N = called_N * label_N
    totals = torch.stack(
        [hits_N.share.sum(), called_N.share.sum() << engine.precision_bits, label_N.share.sum()]
    )
    opened = ledger.reveal(
        engine.from_share(totals),
        "confusion counts",
        why="accuracy, precision, recall and F1 follow from them",
    )
    assert opened is not None
    hits, called, positive = (round(value) for value in opened.tolist())
    return Confusion(
        true_positive=hits,
        false_positive=called - hits,
        false_negative=positive - hits,
        true_negative=scores_N.size(0) - called - positive + hits,
    )


def _auc(engine: Engine, ledger: Ledger, scores_N: Secret, label_N: Secret, positive: int) -> float:
    rows = scores_N.size(0)
    label_N1 = label_N.unsqueeze(1)
    at_once = max(1, PAIRS_AT_ONCE // rows)
    total = engine.public(torch.zeros(()))
    for begin in range(0, rows, at_once):
        block = slice(begin, begin + at_once)
        below_BN = engine.negative(scores_N[block].unsqueeze(1) - scores_N.unsqueeze(0))
        wins_B = (below_BN @ label_N1).squeeze(1)
        lower_B = engine.from_share(below_BN.share.sum(1), precision_bits=0)
        total = total + (wins_B - lower_B * label_N[block]).sum()
        events.emit("progress", done=min(begin + at_once, rows), total=rows, unit="rows ranked")
    opened = ledger.reveal(total, "pairs ranked rightly", why="AUC follows from their number")
    assert opened is not None
    pairs = positive * (rows - positive)
    auc: float = (pairs + round(float(opened))) / (2 * pairs)
    return auc
