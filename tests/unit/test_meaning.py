"""What scores mean follows from the loss, and is the same wherever a model is used."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tallystick.models import meaning, to_sklearn
from tallystick.models.finished import FinishedModel, linear_graph
from tallystick.models.linear import LINEAR_MODELS
from tallystick.runtime.errors import ConfigError
from tallystick.train import step
from tallystick.train.losses import LOSSES

Z = np.linspace(-3, 3, 6001)
OF_A_ROW = {  # by the score z, where the label is 1
    "logistic": lambda z: np.log1p(np.exp(-z)),
    "hinge": lambda z: np.maximum(0, 1 - z),
}


def known(model: str, kind: str, loss: str = "") -> dict[str, Any]:
    training = {"training": {"loss": loss}} if loss else {}
    return {"model": model, "label": {"kind": kind, "deviation": 2.0, "mean": 1.0}, **training}


@pytest.mark.parametrize("loss", meaning.FITTING["binary"])
@pytest.mark.parametrize("part", [0.1, 0.4, 0.6, 0.9])
def test_the_best_score_is_cut_at_nought_and_a_probability_if_it_is_said_to_be(
    loss: str, part: float
) -> None:
    """Of rows that are alike, and of which a part is of the second class."""
    of_row = OF_A_ROW[loss]
    best = Z[np.argmin(part * of_row(Z) + (1 - part) * of_row(-Z))]
    assert (best > 0) == (part > 0.5)
    is_probability = abs(1 / (1 + np.exp(-best)) - part) < 0.001
    assert is_probability == meaning.has_probabilities(known("mlp", "binary", loss))


def test_every_loss_has_a_label_and_every_model_its_own() -> None:
    assert {loss for fitting in meaning.FITTING.values() for loss in fitting} == set(LOSSES)
    for model, kind in ((model, linear.label) for model, linear in LINEAR_MODELS.items()):
        assert meaning.losses_of(model, kind) == (meaning.default_loss(model, kind),)
        assert meaning.losses_of(model, "classes") == ()
    assert not meaning.has_probabilities(known("linear_svm", "binary"))
    assert meaning.has_probabilities(known("logistic_regression", "binary"))
    assert meaning.has_probabilities(known("lenet", "classes"))
    assert meaning.has_probabilities(known("alice's", "classes"))


def test_classes_are_called_as_their_owner_told_and_numbers_are_numbers() -> None:
    label = known("logistic_regression", "binary")["label"]
    for names, called in (
        (None, [0, 1]),
        (["bad", "good"], ["bad", "good"]),
        (["-1", "1"], [-1, 1]),
        (["01", "1"], ["01", "1"]),
        (["1", "other"], ["1", "other"]),
    ):
        told = label if names is None else {**label, "names": names}
        assert meaning.two_classes({"label": told}) == called


def test_a_squared_error_of_two_classes_is_refused_before_dialling() -> None:
    label = {"name": "y", **known("mlp", "binary")["label"]}
    data: Any = SimpleNamespace(manifest=SimpleNamespace(joint={"label": label}))
    config: Any = SimpleNamespace(model="mlp", loss="squared_error")
    with pytest.raises(ConfigError, match=r"must be logistic or hinge .* another label_kind"):
        step._loss(config, data)


def test_a_hinge_gives_scores_wherever_its_model_goes() -> None:
    parameters = {"weight": torch.tensor([[2.0, -1.0]]), "bias": torch.tensor([0.5])}
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = {
        loss: FinishedModel(
            graph=linear_graph(2),
            parameters=parameters,
            known={**known("softmax_regression", "binary", loss), "columns": [{"name": "a"}] * 2},
            provenance={},
        )
        for loss in meaning.FITTING["binary"]
    }
    np.testing.assert_allclose(found["hinge"].predict(rows), [2.5, -0.5])
    np.testing.assert_allclose(found["logistic"].predict(rows), 1 / (1 + np.exp([-2.5, 0.5])))
    assert hasattr(to_sklearn.estimator(found["logistic"]), "predict_proba")
    assert not hasattr(to_sklearn.estimator(found["hinge"]), "predict_proba")
