"""Which losses a model may be trained by, and what its scores mean because of the loss.

=============  =======================  =============  ====================================
label          loss                     called         probabilities
=============  =======================  =============  ====================================
two classes    logistic                 score > 0      sigmoid(score)
two classes    hinge                    score > 0      none: a score is a distance
classes        cross_entropy            the largest    softmax(scores)
number         squared_error            -              none: the score is the number
=============  =======================  =============  ====================================

A score of two classes is cut at nought whatever the loss, so a loss that would cut it elsewhere,
such as the squared error of 0 and 1, is none for them.
"""

from collections.abc import Mapping
from typing import Any

from tallystick.models.linear import LINEAR_MODELS

AUTOMATIC = "auto"
FITTING = {
    "binary": ("logistic", "hinge"),
    "classes": ("cross_entropy",),
    "number": ("squared_error",),
}
"""The losses for a kind of label, by a network; the first is taken by default."""
CONTAINED = {"logistic": "sigmoid", "cross_entropy": "softmax"}
"""The function of the scores that a loss begins with, by which they become probabilities."""


def losses_of(model: str, kind: str) -> tuple[str, ...]:
    """Return the losses by which a model may learn a kind of label; none if it does not fit."""
    linear = LINEAR_MODELS.get(model)
    if linear is None:
        return FITTING[kind]
    return (linear.loss,) if linear.label == kind else ()


def default_loss(model: str, kind: str) -> str:
    """Return the loss that ``auto`` stands for."""
    linear = LINEAR_MODELS.get(model)
    return FITTING[kind][0] if linear is None else linear.loss


def has_probabilities(known: Mapping[str, Any]) -> bool:
    """Say whether the sigmoid or softmax of a model's scores is meant as a probability.

    Args:
        known: what everybody may know of the model: the joint part of its manifest.
    """
    loss = known.get("training", {}).get("loss", AUTOMATIC)
    if loss == AUTOMATIC:
        loss = default_loss(str(known["model"]), str(known["label"]["kind"]))
    return loss in CONTAINED


def two_classes(known: Mapping[str, Any]) -> list[int] | list[str]:
    """Return what the classes of a model of two are called; 0 and 1 if their owner did not tell.

    The second is the positive one. Names are told as text, also of whole numbers.

    Args:
        known: what everybody may know of the model: the joint part of its manifest.
    """
    names = list(known["label"].get("names") or ("0", "1"))
    whole = [int(name) for name in names if name.removeprefix("-").isdecimal()]
    return whole if [*map(str, whole)] == names else names
