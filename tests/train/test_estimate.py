"""What a training was expected to cost, and what it did."""

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from tallystick.models.linear import LINEAR_MODELS
from tallystick.runtime.dealer.foresight import MAX_AHEAD
from tallystick.runtime.protocols import truncation
from tallystick.runtime.rehearsal import Cost, Rehearsal, Stretch, of_loop
from tallystick.train import estimate

from tests import harness
from tests.benchmarks import network
from tests.harness import Place
from tests.train import room
from tests.train.room import Rows, Training
from tests.train.test_training import cancer, digits

pytestmark = pytest.mark.timeout(300)
CONFIGS: dict[str, dict[str, Any]] = {
    "logistic_regression": {"batch_size": 16},
    "linear_svm": {"batch_size": 16, "epochs": 5, "optimiser": "adam", "learning_rate": 0.01},
    "cnn": {"momentum": 0.5, "watch": "accuracy"},
    "softmax_regression": {"optimiser": "adam", "learning_rate": 0.01, "clip_norm": 1.0},
}


def test_two_and_three_parties_send_as_expected(place: Place, tmp_path: Path) -> None:
    compare(place, tmp_path, "logistic_regression")


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "logistic_regression"])
def test_rounds_and_bytes_are_as_expected(pair: Place, tmp_path: Path, name: str) -> None:
    compare(pair, tmp_path, name)


def compare(place: Place, tmp_path: Path, name: str) -> None:
    rows = cancer(84) if name in LINEAR_MODELS else digits(84, validation=16)
    room.write(rows, place, tmp_path)
    training = Training(place, tmp_path, {"model": name, **CONFIGS[name]})
    training.finish()
    (expected,) = training.events("alice", "estimate")
    masked = [e for e in training.events("alice", "progress") if e["unit"] == "rows masked"]
    assert len(masked) == (name in LINEAR_MODELS), "a rehearsal is no progress"
    first, second = (training.events(p, "finished")[0]["traffic"] for p in ("alice", "bob"))
    # The handshake, and how the dealer is asked, come on top.
    assert 0 <= first["sent_bytes"] - expected["sent_bytes"] < 0.02 * expected["sent_bytes"] + 3e4
    received_bytes = expected["sent_bytes"] + expected["dealer_bytes"]
    assert first["received_bytes"] == pytest.approx(received_bytes, rel=0.03, abs=3e4)
    assert 0 <= second["rounds"] - expected["rounds"] < 10


def test_what_is_asked_in_vain_takes_the_dealer_its_own_time() -> None:
    turns, stretches = 3, []
    with Rehearsal(2) as engine:
        for values, repeated, times in ((10, 1, 150), (100_000, 5, 1)):
            for _ in range(repeated):
                truncation.truncate(engine.context, torch.zeros(values, dtype=torch.int64), 8)
            stretches.append(_in_a_second_each(engine.spent(times)))
    needed = sum(turns * stretch.times * len(stretch.steps) for stretch in stretches)
    needed_bytes = sum(turns * stretch.times * stretch.cost.dealer_bytes for stretch in stretches)
    cost = of_loop(stretches, turns)
    # In vain are many bytes in few requests: what is under way where one stretch follows another.
    assert cost.dealer_bytes > 3 * needed_bytes
    assert needed < cost.dealer_s < needed + turns * len(stretches) * MAX_AHEAD


def _in_a_second_each(stretch: Stretch) -> Stretch:
    """Let the dealer take a second for each request, whatever its size."""
    cost = dataclasses.replace(stretch.cost, dealer_s=float(len(stretch.steps)))
    return dataclasses.replace(stretch, cost=cost, dealt_s=dict.fromkeys(stretch.dealt_s, 1.0))


@pytest.mark.slow
def test_memory_is_as_expected(pair: Place, tmp_path: Path) -> None:
    images = torch.randn(256, 1, 28, 28, dtype=torch.float64)
    room.write(Rows(features=images, label=torch.arange(256) % 10, kind="classes"), pair, tmp_path)
    training = Training(pair, tmp_path, {"model": "tfe_network_c", "batch_size": 128, "epochs": 1})
    training.finish()
    (expected,) = training.events("alice", "estimate")
    (finished,) = training.events("alice", "finished")
    # A test's party has neither MLflow nor Kubeflow's executor in its memory, but torch and ours.
    without = estimate.PROCESS_BYTES - 260e6
    assert finished["traffic"]["peak_bytes"] == pytest.approx(
        expected["peak_bytes"] - without, rel=0.3
    )


@pytest.mark.slow
@pytest.mark.parametrize("parties", [2, 3])
def test_time_on_a_slow_network_is_as_expected(tmp_path: Path, parties: int) -> None:
    delay_s, bandwidth = 0.1, network.BYTES_PER_S
    diallers = (*harness.NAMES[: parties - 1], harness.DEALER)
    place = harness.make_place(tmp_path, parties, proxied=diallers)
    proxies = [network.SlowProxy(place, name, delay_s, bandwidth) for name in place.doors]
    room.write(cancer(500), place, tmp_path)
    with harness.dealer(place):
        training = Training(place, tmp_path, {"model": "logistic_regression", "batch_size": 128})
        training.finish()
    for proxy in proxies:
        proxy.close()
    (expected,) = training.events("alice", "estimate")
    cost = Cost(**{name: expected[name] for name in Cost.__slots__})
    seconds = estimate.seconds(cost, round_trip_s=2 * delay_s, bytes_per_s=bandwidth)
    begin, end = (
        datetime.fromisoformat(training.events("alice", kind)[0]["time"])
        for kind in ("joined", "finished")
    )
    # What the parties agree on before and after takes seven rounds.
    assert seconds + 7 * delay_s == pytest.approx((end - begin).total_seconds(), rel=0.3)
