"""From a linear model to scikit-learn's estimator of the same kind.

It is written by skops, whose files hold no pickle: ``skops.io.load`` builds known types and asks
before any other. The estimator takes prepared features; a regression gives the label's own units.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tallystick.models.finished import FinishedModel


def write(path: Path, model: FinishedModel) -> None:
    """Write a linear model's estimator.

    Args:
        path: the file, ending in .skops.
        model: with ``is_linear``.
    """
    from skops import io

    io.dump(estimator(model), path)


def estimator(model: FinishedModel) -> Any:
    """Return the estimator, as if it had been fitted."""
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.svm import LinearSVC

    weight_1F = model.parameters["weight"].double().numpy()
    bias_1 = model.parameters["bias"].double().numpy()
    made: Any
    if model.kind == "number":
        label = model.known["label"]
        deviation, mean = float(label["deviation"]), float(label["mean"])
        made = LinearRegression()
        made.coef_, made.intercept_ = weight_1F[0] * deviation, float(bias_1[0]) * deviation + mean
    else:
        made = LinearSVC() if model.known["model"] == "linear_svm" else LogisticRegression()
        made.coef_, made.intercept_, made.classes_ = weight_1F, bias_1, np.array([0, 1])
    made.n_features_in_ = weight_1F.shape[1]
    made.feature_names_in_ = np.array(model.features, dtype=object)
    return made
