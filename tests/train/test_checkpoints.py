"""Checkpoints: a training killed at any moment, and started again, ends as if it was not."""

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tallystick.models import checkpoints
from torch import Tensor

from tests.harness import Place
from tests.train import room
from tests.train.room import Rows, Training

pytestmark = pytest.mark.timeout(300)
CONFIG: dict[str, Any] = {
    "model": "tfe_network_a",
    "epochs": 2,
    "batch_size": 16,
    "momentum": 0.8,
    "checkpoint_batches": 1,
    "watch": "loss",
}
ERRORS = {"ConfigError": 2, "DataError": 3, "PeerMismatch": 4}


def rows() -> Rows:
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(80, 5, generator=generator, dtype=torch.float64)
    label = (features[:, 0] > features[:, 1]).long()
    return Rows(features=features, label=label, kind="binary", validation=16)


def config(folder: Path) -> dict[str, Any]:
    return {**CONFIG, "checkpoints": str(folder / "checkpoints")}


def kept(folder: Path, party: str) -> list[int]:
    """The checkpoints of a party that count."""
    found = (folder / "checkpoints" / "test-1" / party).glob(f"*/{checkpoints.MANIFEST}")
    return sorted(int(path.parent.name) for path in found)


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        # Two runs round by other coins: units in the last place, which eight batches carry on.
        np.testing.assert_allclose(value, other[name], rtol=0, atol=0.005, err_msg=name)


def disturbed(place: Place, folder: Path, undisturbed: Path, kills: int, seed: int) -> None:
    """Kill a party at random moments, each time start again, and compare the model at the end."""
    rng = random.Random(seed)
    begin = time.monotonic()
    room.write(rows(), place, undisturbed)
    expected = Training(place, undisturbed, config(undisturbed)).finish()
    lasts_s = time.monotonic() - begin
    room.write(rows(), place, folder)
    for _ in range(kills):
        training = Training(place, folder, config(folder))
        time.sleep(rng.uniform(0, lasts_s / 2))
        victim = rng.choice(place.parties)
        training.processes[victim].end()
        codes = training.end()
        survivors = {code for party, code in codes.items() if party != victim}
        # The others go down with it by a named error, or all had finished before.
        assert survivors <= {0, 4}, [training.log(party) for party in place.parties]
        if survivors == {0}:
            break
    close(Training(place, folder, config(folder)).finish(), expected)
    newest = [kept(folder, party) for party in place.parties]
    assert all(len(numbers) == 2 for numbers in newest)
    assert all(numbers == newest[0] for numbers in newest)


def test_a_killed_training_ends_with_the_model_of_an_undisturbed_one(
    place: Place, tmp_path: Path
) -> None:
    disturbed(place, tmp_path / "disturbed", tmp_path / "undisturbed", kills=1, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_kills_change_nothing(place: Place, tmp_path: Path) -> None:
    for seed in range(5):
        folder = tmp_path / str(seed)
        disturbed(place, folder / "disturbed", folder / "undisturbed", kills=4, seed=seed)


@pytest.fixture(scope="module")
def finished(pair: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that has ended, with its checkpoints."""
    folder = tmp_path_factory.mktemp("finished")
    room.write(rows(), pair, folder)
    Training(pair, folder, config(folder)).finish()
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def refused(place: Place, folder: Path, party: str, **changes: Any) -> str:
    """Start it again, which must fail; return what a party says."""
    training = Training(place, folder, {**config(folder), **changes})
    codes = training.end()
    assert all(codes.values()), codes
    (failed,) = training.events(party, "failed")
    assert codes[party] == ERRORS[failed["kind"]], failed
    return str(failed["message"])


def of(folder: Path, party: str) -> Path:
    return folder / "checkpoints" / "test-1" / party


def test_another_partys_shares_are_refused_by_name(pair: Place, copied: Path) -> None:
    shutil.rmtree(of(copied, "bob"))
    shutil.copytree(of(copied, "alice"), of(copied, "bob"))
    assert "holds the shares of party 'alice'" in refused(pair, copied, "bob")


def test_shares_of_another_attempt_are_refused(pair: Place, copied: Path) -> None:
    for manifest in of(copied, "bob").glob(f"*/{checkpoints.MANIFEST}"):
        content = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**content, "bundle": "00" * 32}))
    assert "have none in common ('alice' has 9, 10; 'bob' has 9, 10)" in refused(
        pair, copied, "alice"
    )


def test_a_checkpoint_of_another_training_is_refused_and_the_field_named(
    pair: Place, copied: Path
) -> None:
    message = refused(pair, copied, "alice", learning_rate=0.2)
    assert "is of another training: parameter learning_rate differs" in message


def test_a_damaged_checkpoint_is_refused(pair: Place, copied: Path) -> None:
    state = of(copied, "alice") / "000000010" / checkpoints.STATE
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    assert "was altered or damaged" in refused(pair, copied, "alice")


def test_without_resume_a_training_begins_anew(pair: Place, copied: Path) -> None:
    training = Training(pair, copied, {**config(copied), "resume": False, "learning_rate": 0.2})
    training.finish()
    assert not training.events("alice", "resumed")
    assert kept(copied, "alice") == [9, 10]


def test_a_party_without_a_place_for_checkpoints_is_named(pair: Place, copied: Path) -> None:
    training = Training(pair, copied, config(copied), {"bob": {"checkpoints": ""}})
    training.end()
    (failed,) = training.events("alice", "failed")
    assert "'bob' keeps no checkpoints and others do" in failed["message"]
