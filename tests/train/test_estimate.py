"""What a training was expected to cost, and what it did."""

from pathlib import Path
from typing import Any

import pytest

from tests.harness import Place
from tests.train import room
from tests.train.room import Training
from tests.train.test_training import cancer, digits

CONFIGS: dict[str, dict[str, Any]] = {
    "logistic_regression": {"batch_size": 16},
    "cnn": {"momentum": 0.5, "watch": "accuracy"},
    "softmax_regression": {"optimiser": "adam", "learning_rate": 0.01, "clip_norm": 1.0},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_rounds_and_bytes_are_as_expected(pair: Place, tmp_path: Path, name: str) -> None:
    rows = cancer(80) if name == "logistic_regression" else digits(80, validation=16)
    room.write(rows, pair, tmp_path)
    training = Training(pair, tmp_path, {"model": name, **CONFIGS[name]})
    training.finish()
    (expected,) = training.events("alice", "estimate")
    first, second = (training.events(p, "finished")[0]["traffic"] for p in ("alice", "bob"))
    # The handshake, frames, and what is asked of the dealer ahead and not needed come on top.
    assert 0.98 * expected["sent_bytes"] < first["sent_bytes"] < 1.1 * expected["sent_bytes"] + 4e4
    received = expected["sent_bytes"] + expected["dealer_bytes"]
    assert 0.98 * received < first["received_bytes"] < 1.5 * received + 4e5
    assert 0.98 * expected["rounds"] < second["rounds"] < 1.1 * expected["rounds"] + 20
