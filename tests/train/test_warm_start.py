"""A model that stayed shared is trained on: as plaintext would be, and only where it fits."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_breast_cancer
from tallystick.models.linear import WEIGHTS
from tallystick.tables import split
from torch import Tensor, nn

from tests.harness import Place
from tests.train import room
from tests.train.room import DEFAULTS, Rows, Training

# Smooth, so that rounding moves it a little and never to the other side of an edge.
NORMED = """
from torch import nn


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(30, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1))
"""


def patients(first: int, last: int) -> Rows:
    data = load_breast_cancer()
    features = torch.tensor((data.data - data.data.mean(0)) / data.data.std(0))
    label = torch.tensor(data.target)
    return Rows(features=features[first:last], label=label[first:last], kind="binary")


def keep(place: Place, folder: Path) -> dict[str, dict[str, Any]]:
    """Put the trained model aside, and say to each party where."""
    for party in place.parties:
        shutil.rmtree(folder / party / "first", ignore_errors=True)
        (folder / party / "trained").rename(folder / party / "first")
    return {party: {"warm_start": str(folder / party / "first")} for party in place.parties}


def test_a_network_goes_on_as_its_plaintext_twin_does(pair: Place, tmp_path: Path) -> None:
    (tmp_path / "normed.py").write_text(NORMED)
    config = {"model": f"{tmp_path}/normed.py:Normed", "momentum": 0.5}
    earlier, later = patients(0, 96), patients(96, 192)
    room.write(earlier, pair, tmp_path)
    Training(pair, tmp_path, config).finish()
    own = keep(pair, tmp_path)
    shutil.rmtree(tmp_path / "alice" / "shares")
    shutil.rmtree(tmp_path / "bob" / "shares")
    room.write(later, pair, tmp_path)
    training = Training(pair, tmp_path, config, own)
    model = training.finish()

    first = room.twin(earlier, config)
    twin = room.twin(later, config, first.parameters)
    anew = room.twin(later, config)
    for name, value in model.items():
        expected = twin.parameters[name].detach()
        assert float((value - expected).abs().max()) < 0.01, name
    losses = [e["loss"] for e in training.events("alice", "progress") if "loss" in e]
    torch.testing.assert_close(losses, twin.losses, rtol=0, atol=0.005)
    assert abs(losses[0] - anew.losses[0]) > 0.05, "beginning anew would look the same"
    written = json.loads((tmp_path / "bob" / "trained" / "model.json").read_text())
    assert written["warm_start"]["session"] == "test-1"
    assert [past["step"] for past in written["history"]] == ["train", "train"]


def plain(rows: Rows, weights: Tensor) -> Tensor:
    """Two epochs of logistic regression by torch."""
    model = nn.Linear(30, 1).double()
    model.load_state_dict({"weight": weights[:-1].t(), "bias": weights[-1]})
    optimiser = torch.optim.SGD(model.parameters(), lr=DEFAULTS["learning_rate"])
    for epoch in range(DEFAULTS["epochs"]):
        for batch in split.positions(rows.train, DEFAULTS["batch_size"], DEFAULTS["seed"], epoch):
            optimiser.zero_grad()
            scores = model(rows.features[batch]).squeeze(1)
            label = rows.label[batch].double()
            nn.functional.binary_cross_entropy_with_logits(scores, label).backward()
            optimiser.step()
    return torch.cat([model.weight.detach().t(), model.bias.detach()[None]])


@pytest.fixture
def regression(pair: Place, tmp_path: Path) -> dict[str, dict[str, Any]]:
    room.write(patients(0, 96), pair, tmp_path)
    Training(pair, tmp_path, {"model": "logistic_regression"}).finish()
    return keep(pair, tmp_path)


def test_a_regression_goes_on_as_in_plaintext(
    pair: Place, tmp_path: Path, regression: dict[str, dict[str, Any]]
) -> None:
    found = Training(pair, tmp_path, {"model": "logistic_regression"}, regression).finish()
    expected = plain(patients(0, 96), plain(patients(0, 96), torch.zeros(31, 1).double()))
    torch.testing.assert_close(found[WEIGHTS], expected, rtol=0, atol=0.005)


def test_another_model_columns_or_session_is_refused_and_so_is_one_sides_start(
    pair: Place, tmp_path: Path, regression: dict[str, dict[str, Any]]
) -> None:
    def message(config: dict[str, Any], own: dict[str, dict[str, Any]]) -> str:
        training = Training(pair, tmp_path, {"model": "logistic_regression", **config}, own)
        assert set(training.end().values()) <= {2, 4}
        return str(training.events("alice", "failed")[0]["message"])

    other = message({"model": "mlp"}, regression)
    assert "session 'test-1' cannot be trained on, since model, architecture differs" in other
    alone = message({}, {"alice": regression["alice"]})
    assert "warm_start" in alone
    manifest = tmp_path / "bob" / "first" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "session": "another"}))
    assert "do not belong together: session differs" in message({}, regression)
    content["joint"]["columns"][0]["name"] = "alice.renamed"
    manifest.write_text(json.dumps(content))
    training = Training(pair, tmp_path, {"model": "logistic_regression"}, regression)
    training.end()
    (failed,) = training.events("bob", "failed")
    assert failed["kind"] == "ConfigError"
    assert "since columns differs" in failed["message"]
