"""The agreed metric on the validation rows: the only thing that is opened of them, a number."""

# B = rows, K = classes.

from collections.abc import Iterable

import torch

from tallystick.runtime.engine import PRECISION_BITS, Engine, Secret
from tallystick.runtime.protocols.tournament import winner
from tallystick.runtime.session import Session
from tallystick.train.learner import Learner, Part
from tallystick.train.losses import Loss

WATCHED = ("none", "loss", "accuracy")


def measure(
    session: Session, metric: str, loss: Loss, learner: Learner, parts: Iterable[Part]
) -> float:
    """Return the metric, opened to all.

    Args:
        session: the joined session.
        metric: loss or accuracy.
        loss: of the scores.
        learner: the model.
        parts: the validation rows.
    """
    opened = session.ledger.reveal(
        mean(session.engine, metric, loss, learner, parts),
        f"validation {metric}",
        why="to see whether the training still improves on rows that it does not learn from",
    )
    assert opened is not None
    return float(opened)


def mean(
    engine: Engine, metric: str, loss: Loss, learner: Learner, parts: Iterable[Part]
) -> Secret:
    """Return the metric, shared; for the arguments see :func:`measure`."""
    rows, total = 0, torch.zeros((), dtype=torch.int64)
    for features, label in parts:
        scores = learner.scores(features)
        of_rows = loss.of_rows(scores, label) if metric == "loss" else right(engine, scores, label)
        total = total + of_rows.share.sum()
        rows += label.size(0)
    return engine.scaled(engine.from_share(total), 1 / rows)


def right(engine: Engine, scores: Secret, label: Secret) -> Secret:
    """Return for each row whether it is classified rightly: 0 or 1, with the usual fraction bits.

    Of two classes, a score above nought says the second. Of several, the truth's must be the
    largest; of equal ones the truth's counts.
    """
    if scores.size(1) == 1:
        below = engine.negative(scores)
        said = 1 - below
        return said * label + below * (1 - label)
    top_B, _ = winner(engine.context, scores.share)
    behind_B = engine.negative((label * scores).sum(1) - engine.from_share(top_B) + 2**-14)
    return 1 - engine.from_share(behind_B.share << PRECISION_BITS)
