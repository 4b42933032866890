"""The agreed metric on the validation rows: the only thing that is opened of them, a number."""

# B = rows, K = classes.

from collections.abc import Iterable

from tallystick.models.operations.tournament import largest
from tallystick.runtime.engine import Engine, Secret
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
    engine, rows, sums = session.engine, 0, []
    for features, label in parts:
        scores = learner.scores(features)
        of_rows = loss.of_rows(scores, label) if metric == "loss" else right(engine, scores, label)
        sums.append((of_rows.sum(), 1.0))
        rows += label.size(0)
    total = engine.combine(sums)
    opened = session.ledger.reveal(
        engine.scaled(total, 1 / rows),
        f"validation {metric}",
        why="to see whether the training still improves on rows that it does not learn from",
    )
    assert opened is not None
    return float(opened)


def right(engine: Engine, scores: Secret, label: Secret) -> Secret:
    """Return for each row whether it is classified rightly: 0.0 or 1.0.

    Of two classes, a score above nought says the second. Of several, the truth's must be the
    largest; of equal ones the truth's counts.
    """
    if scores.size(1) == 1:
        below = engine.negative(scores)
        said = 1 - below
        return said * label + below * (1 - label)
    top_B, _ = largest(engine, scores)
    behind_B = engine.negative((label * scores).sum(1) - top_B + 2**-14)
    return 1 - behind_B * 1.0
