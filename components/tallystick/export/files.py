"""The files of an opened linear model, for people's own tools.

::

    state_dict.pt        a PyTorch state_dict of Linear(F, 1): torch.load(path, weights_only=True)
    coefficients.json    scikit-learn's names: coef_, intercept_, feature_names_in_, classes_
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from tallystick.models.artifact import SharedModel
from tallystick.models.linear import CLASSIFIERS, INTERCEPT

STATE_DICT = "state_dict.pt"
COEFFICIENTS = "coefficients.json"


def write_linear(folder: Path, model: SharedModel, weights: Tensor) -> None:
    """Write both files.

    Args:
        folder: there already.
        model: what everybody may know of it.
        weights: float64 [F + 1, 1], the intercept last.
    """
    coefficients, intercept = weights[:-1, 0], weights[-1]
    state_dict = {"weight": coefficients[None].float(), "bias": intercept.float()}
    torch.save(state_dict, folder / STATE_DICT)
    joint = model.manifest.joint
    content = {
        "model": model.name,
        "feature_names_in_": model.features,
        "coef_": [coefficients.tolist()],
        "intercept_": intercept.tolist(),
        "coefficients": {
            **dict(zip(model.features, coefficients.tolist(), strict=True)),
            INTERCEPT: float(intercept),
        },
        "standardised": joint["standardised"],
        "label": joint["label"],
    }
    if model.name in CLASSIFIERS:
        content["classes_"] = [0, 1]
    (folder / COEFFICIENTS).write_text(json.dumps(content, indent=2) + "\n")
