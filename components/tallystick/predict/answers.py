"""From scores to what is opened, on shares; and from what was opened to the columns of a result.

===========  =====================================  ==========================================
output       a label of two classes                 K classes
===========  =====================================  ==========================================
class        [score > 0]                            the place of the largest score
probability  sigmoid(score); of a hinge none        softmax(scores), for each class
score        the score                              each score
===========  =====================================  ==========================================

With ``class``, the scores are compared on shares and only the winner is opened. For a number to
learn there is the score alone: the prediction, in the label's own units.
"""

# N = rows, K = scores of a row. Classes are whole numbers, shared without fraction bits.

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from tallystick.models.meaning import has_probabilities
from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.protocols import functions
from tallystick.runtime.protocols.largest import largest

OUTPUTS = ("class", "probability", "score")
WHAT = {"class": "predicted classes", "probability": "probabilities", "score": "scores"}


def require_fit(output: str, known: Mapping[str, Any]) -> None:
    """Refuse an output that a model does not have.

    Args:
        output: class, probability or score.
        known: what everybody may know of the model.

    Raises:
        ConfigError: names the output.
    """
    model = known["model"]
    if known["label"]["kind"] == "number" and output != "score":
        raise ConfigError(
            f"output must be score, not {output!r}: the model {model} predicts a number"
        )
    if output == "probability" and not has_probabilities(known):
        raise ConfigError(
            f"output must be class or score: the model {model} was trained by a hinge, whose "
            "scores have no probabilities"
        )


def require_apart(output: str, names: Sequence[str], id_columns: Sequence[str]) -> None:
    """Refuse id columns that a column of the result would stand in the place of.

    Args:
        output: class, probability or score.
        names: of the classes; empty for their numbers, however many there are.
        id_columns: that stand beside the result.

    Raises:
        ConfigError: names the column.
    """
    for column in id_columns:
        prefix, _, name = column.partition("_")
        is_of_class = name in names if names else name.isdecimal()
        if column == output or (prefix == output and is_of_class):
            raise ConfigError(
                f"id_columns: the result has a column {column!r} of its own; rename that id column "
                "or ask for another output"
            )


def answer(engine: Engine, scores_NK: Secret, output: str) -> Secret:
    """Return what is to be opened: [N] for a class, [N, K] otherwise."""
    if output == "score":
        return scores_NK
    if scores_NK.size(1) == 1:
        if output == "probability":
            return engine.sigmoid(scores_NK)
        return engine.negative(-scores_NK.squeeze(1))
    if output == "probability":
        return engine.from_share(functions.softmax(engine.context, scores_NK.share))
    return _place_of_largest(engine, scores_NK)


def _place_of_largest(engine: Engine, scores_NK: Secret) -> Secret:
    _, winner_NK = largest(engine.context, scores_NK.share)
    places_K = torch.arange(winner_NK.shape[1])
    return engine.from_share((winner_NK * places_K).sum(1), precision_bits=0)


def columns(
    opened: Tensor, output: str, label: Mapping[str, Any], names: Sequence[str]
) -> dict[str, pa.Array]:
    """Return the columns of the result.

    Args:
        opened: float64, of the shape that :func:`answer` gives.
        output: class, probability or score.
        label: what the model says of its label.
        names: of the classes; empty for their numbers.
    """
    values = opened.numpy()
    if output == "class":
        classes = values.astype(np.int64)
        if not names:
            return {"class": pa.array(classes)}
        return {"class": pa.array([names[number] for number in classes], pa.string())}
    if label["kind"] == "number":
        values = values * float(label["deviation"]) + float(label["mean"])
    if output == "probability":
        values = values.clip(0, 1)  # fixed point may miss the ends by a little
    if values.shape[1] == 1:
        return {output: pa.array(values[:, 0])}
    called = names or [str(number) for number in range(values.shape[1])]
    return {f"{output}_{name}": pa.array(values[:, k]) for k, name in enumerate(called)}
