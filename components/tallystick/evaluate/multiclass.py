"""Metrics of a classifier with several classes from shared scores and labels.

A row's called class is the one with the highest score, the first of equal ones; with one-hot
labels Y and calls C,   confusion = Y' C. A row's rank in top-k counts the classes above the true
one, where of equal ones the later is above, as in scikit-learn: no two keys score 2**b + j of a row
are equal.

AUC of a class against the rest ranks by the logarithm of its probability, z_k - log sum exp z.
"""

# N = test rows, K = classes. Shares are int64.

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tallystick.evaluate import integers, ranking
from tallystick.evaluate.minimum import Minimum
from tallystick.runtime import events
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.ledger import Ledger
from tallystick.runtime.protocols.largest import largest

TOP = (2, 3, 5)
"""How many of the highest classes top-k looks at, where there are more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Multiclass:
    """What was opened of a classifier with several classes."""

    metrics: dict[str, float]
    """The most telling first. An average over the classes is there if all of them are shown."""
    matrix: Sequence[Sequence[int]]
    """Rows: the shown true classes. Columns: all called classes."""
    shown: Sequence[int]
    """Which classes hold rows enough to be shown."""
    classes: Sequence[dict[str, float]]
    """Precision, recall, F1, rows and AUC of each shown class."""
    groups: Sequence[dict[str, float] | None] = field(default_factory=tuple)
    """Rows and accuracy of each group; None where they are withheld."""


def evaluate(
    engine: Engine,
    ledger: Ledger,
    scores_NK: Secret,
    label_NK: Secret,
    *,
    min_count: int = 1,
    group_NG: Secret | None = None,
) -> Multiclass:
    """Measure a classifier with several classes.

    Args:
        engine: the session's engine.
        ledger: opens the totals.
        scores_NK: what stands before the softmax.
        label_NK: one-hot.
        min_count: the least number of rows that a total may speak of.
        group_NG: one-hot, the group of each row.
    """
    rows = scores_NK.size(0)
    minimum = Minimum(engine, ledger, min_count)
    truth_NK = integers.bits(engine, label_NK)
    highest_N, called_NK = largest(engine.context, scores_NK.share)
    matrix, pooled, shown = _confusion(engine, ledger, minimum, truth_NK, called_NK)
    metrics, classes = _metrics(matrix, pooled, shown)
    metrics |= _top(engine, ledger, scores_NK.share, truth_NK)
    loss, log_probability_NK = _loss(engine, ledger, scores_NK, highest_N, truth_NK)
    identities_NK = _identities(scores_NK.share)
    aucs = {}
    for index, name in enumerate(shown):
        positive = sum(matrix[index])
        if 0 < positive and max(1, min_count) <= rows - positive:
            truth_1N = truth_NK[:, name].clone()[None]
            score_N = log_probability_NK[:, name].clone()
            order = ranking.rank(
                engine,
                score_N,
                truth_1N,
                integers.inverse(engine, truth_1N),
                score_N,
                identities_NK[:, name].clone(),
            )
            curve = ranking.points(engine, order)
            (aucs[index],) = ranking.auc(engine, ledger, curve, [(positive, rows - positive)])
            classes[index]["auc"] = aucs[index]
        events.emit("progress", done=index + 1, total=len(shown), unit="classes ranked")
    if aucs and len(shown) == scores_NK.size(1):
        metrics = {"auc_ovr": sum(aucs.values()) / len(aucs), **metrics}
    return Multiclass(
        metrics={**metrics, "log_loss": loss},
        matrix=matrix,
        shown=shown,
        classes=classes,
        groups=_groups(engine, ledger, minimum, (truth_NK, called_NK), group_NG),
    )


def _top(engine: Engine, ledger: Ledger, scores_NK: Tensor, truth_NK: Tensor) -> dict[str, float]:
    """Return how often the true class is among the k highest."""
    rows, classes = scores_NK.shape
    counted = [k for k in TOP if k < classes]
    if not counted:
        return {}
    keys_NK = integers.plus(engine, scores_NK << (classes - 1).bit_length(), torch.arange(classes))
    true_N1 = integers.times(engine, keys_NK, truth_NK).sum(1, keepdim=True)
    above_N = integers.below(engine, true_N1 - keys_NK, 0).sum(1)
    among_TN = integers.below(
        engine, above_N.expand(len(counted), rows), torch.tensor(counted).unsqueeze(1)
    )
    hits = integers.reveal(
        engine,
        ledger,
        among_TN.sum(1),
        "rows whose true class is among the highest",
        why="top-k accuracy is their part",
    )
    return {f"top_{k}_accuracy": hit / rows for k, hit in zip(counted, hits.tolist(), strict=True)}


def _confusion(
    engine: Engine, ledger: Ledger, minimum: Minimum, truth_NK: Tensor, called_NK: Tensor
) -> tuple[list[list[int]], list[int], list[int]]:
    """Open the rows of the shown classes, and the others' sum; and say which are shown."""
    counts_KK = integers.matmul(engine, truth_NK.T.contiguous(), called_NK)
    diagonal_K = counts_KK.diagonal().clone()
    shown_K = torch.tensor(minimum.publishable(counts_KK.sum(1, keepdim=True), "classes"))
    opened = integers.reveal(
        engine,
        ledger,
        torch.cat(
            [
                counts_KK[shown_K],
                counts_KK[~shown_K].sum(0, keepdim=True),
                torch.nn.functional.pad(
                    diagonal_K[~shown_K].sum().reshape(1, 1), (0, len(diagonal_K) - 1)
                ),
            ]
        ),
        "confusion counts",
        why="accuracy, F1 and their like follow from them",
    )
    *matrix, others, right = opened.tolist()
    return matrix, [*others, right[0]], shown_K.nonzero().squeeze(1).tolist()


def _metrics(
    matrix: list[list[int]], pooled: list[int], shown: list[int]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the metrics of all rows and those of each shown class.

    An average over some of the classes would look like one over all, and a good model be taken for
    a bad one where small classes are withheld; it is left out.
    """
    *others, others_right = pooled
    called_K = [sum(column) for column in zip(*matrix, others, strict=True)]
    rows, right = sum(called_K), others_right
    classes = []
    for index, name in enumerate(shown):
        true, hits = sum(matrix[index]), matrix[index][name]
        right += hits
        if true or called_K[name]:
            classes.append(
                {
                    "rows": float(true),
                    "precision": hits / called_K[name] if called_K[name] else 0.0,
                    "recall": hits / true if true else 0.0,
                    "f1": 2 * hits / (true + called_K[name]),
                }
            )
        else:
            classes.append({"rows": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0})
    metrics = {"accuracy": right / rows, "f1_micro": right / rows}
    if len(shown) < len(called_K):
        return metrics, classes
    held = [one for one, name in zip(classes, shown, strict=True) if one["rows"] or called_K[name]]
    true_rows = sum(one["rows"] for one in held)
    with_rows = [one["recall"] for one in held if one["rows"]]
    return {
        "accuracy": right / rows,
        "balanced_accuracy": sum(with_rows) / max(1, len(with_rows)),
        "f1_macro": sum(one["f1"] for one in held) / max(1, len(held)),
        "f1_micro": right / rows,
        "f1_weighted": sum(one["f1"] * one["rows"] for one in held) / max(1.0, true_rows),
    }, classes


def _loss(
    engine: Engine, ledger: Ledger, scores_NK: Secret, highest_N: Tensor, truth_NK: Tensor
) -> tuple[float, Tensor]:
    """Return the mean log loss, and the shared logarithms of the probabilities."""
    below_NK = engine.from_share(scores_NK.share - highest_N.unsqueeze(1))
    log_sum_N1 = below_NK.exp().sum(1, keepdim=True).log()
    log_probability_NK = below_NK.share - log_sum_N1.share
    loss = -integers.times(engine, log_probability_NK, truth_NK).sum()
    opened = ledger.reveal(
        engine.from_share(loss), "sum of the log loss", why="the log loss is its mean"
    )
    assert opened is not None
    return float(opened) / scores_NK.size(0), log_probability_NK


def _identities(scores_NK: Tensor) -> Tensor:
    """Return for each class what is equal where two rows have the same probability of it.

    A probability follows from the differences of a row's scores. Their sum with public factors is
    exact in the ring, and differs where they do but for a chance of some 2**-60.
    """
    digest = hashlib.shake_256(b"tallystick identities").digest(8 * scores_NK.size(1))
    factors_K = torch.frombuffer(bytearray(digest), dtype=torch.int64) | 1
    return (scores_NK * factors_K).sum(1, keepdim=True) - scores_NK * factors_K.sum()


def _groups(
    engine: Engine,
    ledger: Ledger,
    minimum: Minimum,
    truth_and_called_NK: tuple[Tensor, Tensor],
    group_NG: Secret | None,
) -> list[dict[str, float] | None]:
    if group_NG is None:
        return []
    right_N = integers.times(engine, *truth_and_called_NK).sum(1)
    member_GN = integers.bits(engine, group_NG).T.contiguous()
    right_G1 = integers.matmul(engine, member_GN, right_N.unsqueeze(1))
    counts_G2 = torch.cat([member_GN.sum(1, keepdim=True), right_G1], dim=1)
    shown = minimum.publishable(counts_G2[:, :1], "groups")
    opened = integers.reveal(
        engine,
        ledger,
        counts_G2[torch.tensor(shown)],
        "rows and right answers of groups",
        why="the accuracy by group follows from them",
    )
    counts = iter(opened.tolist())
    return [_of_group(*next(counts)) if yes else None for yes in shown]


def _of_group(rows: int, right: int) -> dict[str, float]:
    return {"rows": float(rows), **({"accuracy": right / rows} if rows else {})}
