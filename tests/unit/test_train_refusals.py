"""What the train step refuses before anybody is dialled."""

from pathlib import Path
from typing import Any

import pytest
from tallystick.runtime.errors import ConfigError
from tallystick.train.configuration import Config
from tallystick.train.step import network_of


def config(**given: Any) -> Config:
    """A valid configuration but for what is given."""
    here = Path()
    paths = dict.fromkeys(("shares", "trained", "consortium", "identity", "reveals"), here)
    numbers = {"epochs": 2, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.0, "l2": 0.0}
    names = {"party": "alice", "session": "test-1", "model": "mlp", "metrics": None}
    return Config.from_task({**paths, **numbers, **names, "seed": 3, **given})


ENDING = """
from torch import nn


class Classes(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 3), nn.Softmax(dim=1))


class One(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 1), nn.Sigmoid())
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
        assert network_of(given, (4,), outputs, loss) is not None
        return
    with pytest.raises(ConfigError, match=refused):
        network_of(given, (4,), outputs, loss)
