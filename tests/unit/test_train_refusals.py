"""What the train step refuses before anybody is dialled."""

from pathlib import Path
from typing import Any

import pytest
from tallystick.runtime.errors import ConfigError
from tallystick.train.configuration import Config
from tallystick.train.estimate import Rows
from tallystick.train.step import _require_steps, network_of


def rows(train: int = 64, features: tuple[int, ...] = (4,), outputs: int = 1) -> Rows:
    """What is public of shares."""
    return Rows(train=train, validation=0, feature_shape=features, label_width=outputs)


def config(**given: Any) -> Config:
    """A valid configuration but for what is given."""
    here = Path()
    paths = dict.fromkeys(("shares", "trained", "consortium", "identity", "reveals"), here)
    numbers = {"epochs": 2, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.0, "l2": 0.0}
    names = {"party": "alice", "session": "test-1", "model": "mlp", "metrics": None}
    return Config.from_task({**paths, **numbers, **names, "seed": 3, **given})


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (
            {"nesterov": True, "optimiser": "adam", "momentum": 0.9},
            "nesterov must be left out with",
        ),
        ({"nesterov": True, "momentum": 0.0}, "nesterov must be left out without sgd and its mom"),
        ({"decay": 0.5}, "decay must be left out without the schedule step, not 0.5"),
        ({"decay_epochs": 2, "schedule": "cosine"}, "decay_epochs must be left out"),
        (
            {"feature_shape": [2, 2], "model": "linear_svm"},
            "feature_shape must be left out for a l",
        ),
    ],
)
def test_what_would_be_of_no_effect_is_refused(given: dict[str, Any], refused: str) -> None:
    with pytest.raises(ConfigError, match=refused):
        config(**given)


def test_a_model_says_only_what_it_was_trained_with() -> None:
    momentum = {"momentum": 0.9, "nesterov": True}
    assert config(**momentum).training().items() >= momentum.items()
    by_adam = config(optimiser="adam", momentum=0.9).training()
    assert by_adam["optimiser"] == "adam"
    assert "momentum" not in by_adam
    stepwise = {"schedule": "step", "decay": 0.5}
    assert config(**stepwise).training().items() >= stepwise.items()


def test_a_rate_whose_steps_would_be_lost_in_rounding_is_refused() -> None:
    many = rows(1 << 20)
    given = config(batch_size=1 << 20, learning_rate=0.0004)
    with pytest.raises(ConfigError, match=r"must be 0.017 or more for batches of 1,048,576 rows"):
        _require_steps(given, many)
    _require_steps(given, rows(1000))
    _require_steps(config(batch_size=1 << 20, learning_rate=0.017), many)
    _require_steps(config(batch_size=1 << 20, learning_rate=0.0004, optimiser="adam"), many)


ENDING = """
from torch import nn


class Classes(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 3), nn.Softmax(dim=1))


class One(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 1), nn.Sigmoid())
"""


NORMED = """
from torch import nn


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
"""


@pytest.mark.parametrize(
    ("model", "outputs", "loss", "refused"),
    [
        ("Classes", 3, "cross_entropy", ""),
        ("One", 1, "logistic", ""),
        ("One", 1, "hinge", "ends with a sigmoid, which the loss hinge does not contain"),
        ("One", 1, "squared_error", "One ends with a sigmoid, which the loss squared_error does"),
    ],
)
def test_a_last_function_is_left_only_to_a_loss_that_contains_it(
    model: str, outputs: int, loss: str, refused: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(ENDING)
    given = config(model=f"{tmp_path / 'own.py'}:{model}")
    if not refused:
        assert network_of(given, rows(outputs=outputs), loss) is not None
        return
    with pytest.raises(ConfigError, match=refused):
        network_of(given, rows(outputs=outputs), loss)


@pytest.mark.parametrize(("train", "batch_size"), [(65, 32), (1, 32), (64, 1)])
def test_a_batch_of_one_row_is_refused_where_a_batch_norm_has_no_other_values(
    train: int, batch_size: int
) -> None:
    given = config(model="tfe_network_a", batch_size=batch_size)
    with pytest.raises(
        ConfigError, match=f"with {train} training rows and a batch_size of {batch_size}"
    ):
        network_of(given, rows(train), "logistic")


def test_a_batch_of_one_row_is_taken_where_every_batch_norm_sees_many_values(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.py").write_text(NORMED)
    given = config(model=f"{tmp_path / 'own.py'}:Normed")
    network = network_of(given, rows(65, (1, 4, 4), 2), "cross_entropy")
    assert network is not None
    assert "batch_norm" in {node.op for node in network[0].nodes}
    assert network_of(config(model="tfe_network_a"), rows(66), "logistic") is not None
