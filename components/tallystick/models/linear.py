"""Linear models by name: score = features times weights + intercept."""

from collections.abc import Mapping
from dataclasses import dataclass

INTERCEPT = "intercept"
WEIGHTS = "weights"


@dataclass(frozen=True, slots=True)
class LinearModel:
    """What one is trained by."""

    label: str
    """The kind of its label: binary or number."""
    loss: str


LINEAR_MODELS: Mapping[str, LinearModel] = {
    "linear_svm": LinearModel(label="binary", loss="hinge"),
    "logistic_regression": LinearModel(label="binary", loss="logistic"),
    "linear_regression": LinearModel(label="number", loss="squared_error"),
}
