"""Checkpoints: a training killed at any moment, and started again, ends as if it was not."""

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from tallystick.models import checkpoints
from tallystick.runtime.errors import DataError
from torch import Tensor

from tests.harness import Place
from tests.train import room
from tests.train.bucket import bucket
from tests.train.room import Rows, Training

pytestmark = pytest.mark.timeout(600)
CONFIG: dict[str, Any] = {
    "model": f"{Path(__file__).with_name('smooth.py')}:Smooth",
    "epochs": 2,
    "batch_size": 16,
    "momentum": 0.8,
    "checkpoint_batches": 1,
    "watch": "loss",
    "join_timeout_s": 120,
}
BATCHES = 8
LONG_S = 200
"""A busy machine takes its time for two thousand rounds."""
ERRORS = {"ConfigError": 2, "DataError": 3, "PeerMismatch": 4}


def rows() -> Rows:
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(80, 5, generator=generator, dtype=torch.float64)
    label = (features[:, 0] > features[:, 1]).long()
    return Rows(features=features, label=label, kind="binary", validation=16)


def config(folder: Path, **changes: Any) -> dict[str, Any]:
    return {**CONFIG, "checkpoints": str(folder / "checkpoints"), **changes}


def kept(folder: Path, party: str) -> list[int]:
    """The checkpoints of a party that count."""
    found = (folder / "checkpoints" / "test-1" / party).glob(f"*/{checkpoints.MANIFEST}")
    return sorted(int(path.parent.name) for path in found)


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        # Two runs round by other coins: units in the last place, which eight batches carry on.
        np.testing.assert_allclose(value, other[name], rtol=0, atol=0.002, err_msg=name)


def disturbed(
    place: Place, folder: Path, expected: dict[str, Tensor], kills: int, seed: int, **changes: Any
) -> None:
    """Kill a party at random moments, each time start again, and compare the model at the end."""
    rng = random.Random(seed)
    room.write(rows(), place, folder)
    for moment in sorted(rng.choices(range(1, BATCHES), k=kills)):
        training = Training(place, folder, config(folder, **changes))
        victim = rng.choice(place.parties)
        wait_until(lambda last=moment, who=victim: max(kept(folder, who), default=0) >= last)
        time.sleep(rng.uniform(0, 0.5))
        training.processes[victim].end()
        codes = training.end(LONG_S)
        survivors = {code for party, code in codes.items() if party != victim}
        # The others go down with it by a named error, or all had finished before.
        assert survivors <= {0, 4}, [training.log(party) for party in place.parties]
    training = Training(place, folder, config(folder, **changes))
    close(training.finish(LONG_S), expected)
    assert [e["event"] for e in training.events("bob", "resumed")] == ["resumed"]
    newest = [kept(folder, party) for party in place.parties]
    assert all(len(numbers) == 2 for numbers in newest)
    assert all(numbers == newest[0] for numbers in newest)


def undisturbed(place: Place, folder: Path, **changes: Any) -> dict[str, Tensor]:
    room.write(rows(), place, folder)
    return Training(place, folder, config(folder, **changes)).finish(LONG_S)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_training_ends_with_the_model_of_an_undisturbed_one(
    place: Place, tmp_path: Path
) -> None:
    expected = undisturbed(place, tmp_path / "undisturbed")
    disturbed(place, tmp_path / "disturbed", expected, kills=1, seed=1)


def test_a_killed_linear_model_goes_on_in_the_middle_of_an_epoch(
    pair: Place, tmp_path: Path
) -> None:
    """Its features are masked anew, and taken from the batch on that it had come to."""
    changes = {"model": "logistic_regression", "batch_size": 2}
    expected = undisturbed(pair, tmp_path / "undisturbed", **changes)
    disturbed(pair, tmp_path / "disturbed", expected, kills=2, seed=2, **changes)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_twenty_kills_change_nothing(place: Place, tmp_path: Path) -> None:
    expected = undisturbed(place, tmp_path / "undisturbed")
    for seed in range(5):
        disturbed(place, tmp_path / str(seed), expected, kills=4, seed=seed)


@pytest.fixture(scope="module")
def finished(pair: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that has ended, with its checkpoints."""
    folder = tmp_path_factory.mktemp("finished")
    room.write(rows(), pair, folder)
    Training(pair, folder, config(folder)).finish(LONG_S)
    return folder


@pytest.mark.slow
def test_a_killed_training_goes_on_from_a_bucket(
    pair: Place, finished: Path, tmp_path: Path
) -> None:
    room.write(rows(), pair, tmp_path)
    with bucket() as (address, objects):
        # Each party to a prefix of its own, as to a bucket of its own.
        own = {party: {"checkpoints": address.replace("?", f"/{party}?")} for party in pair.parties}
        training = Training(pair, tmp_path, CONFIG, own)
        wait_until(lambda: any("/000000003/manifest" in key for key in tuple(objects)))
        training.processes["bob"].end()
        assert training.end(LONG_S)["alice"] in {0, 4}
        training = Training(pair, tmp_path, CONFIG, own)
        close(training.finish(LONG_S), room.model(finished, pair.parties))
        assert training.events("alice", "resumed")
    parts = (key.split("/") for key in objects if key.endswith(checkpoints.STATE))
    assert {(key[0], key[3]) for key in parts} == {
        (party, number) for party in pair.parties for number in ("000000007", "000000008")
    }


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def refused(place: Place, folder: Path, party: str, **changes: Any) -> str:
    """Start it again, which must fail; return what a party says."""
    training = Training(place, folder, {**config(folder), **changes})
    codes = training.end(LONG_S)
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
    assert "have none in common ('alice' has 7, 8; 'bob' has 7, 8)" in refused(
        pair, copied, "alice"
    )


def test_a_checkpoint_of_another_training_is_refused_and_the_field_named(
    pair: Place, copied: Path
) -> None:
    message = refused(pair, copied, "alice", learning_rate=0.2)
    assert "is of another training: parameter learning_rate differs" in message


def test_a_damaged_checkpoint_is_refused(pair: Place, copied: Path) -> None:
    state = of(copied, "alice") / "000000008" / checkpoints.STATE
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    assert "was altered or damaged" in refused(pair, copied, "alice")


def waiting_in_vain(place: Place, folder: Path, **changes: Any) -> Training:
    """Start it again at bob, while alice is at something else; return what became of it."""
    shutil.rmtree(folder / "bob" / "trained")
    (folder / "bob" / "train.md").unlink()
    elsewhere = {"alice": {"session": "another"}}
    training = Training(
        place, folder, {**config(folder), "join_timeout_s": 3, **changes}, elsewhere
    )
    assert training.end(LONG_S)["alice"] == ERRORS["PeerMismatch"]
    return training


def test_who_died_at_the_very_end_publishes_what_all_had_finished(
    pair: Place, copied: Path
) -> None:
    before = {path.name: path.read_bytes() for path in (copied / "bob" / "trained").iterdir()}
    training = waiting_in_vain(pair, copied)
    (ended,) = training.events("bob", "finished")
    assert ended["reveals"]
    assert ended["results"]["loss"] > 0
    after = {path.name: path.read_bytes() for path in (copied / "bob" / "trained").iterdir()}
    assert after == before
    assert (copied / "bob" / "train.md").exists()


@pytest.mark.parametrize("changes", [{"learning_rate": 0.2}, {"resume": False}])
def test_what_was_finished_is_not_taken_for_another_training(
    pair: Place, copied: Path, changes: dict[str, Any]
) -> None:
    training = waiting_in_vain(pair, copied, **changes)
    assert training.events("bob", "failed")[0]["kind"] == "PeerTimeout"
    assert not (copied / "bob" / "trained").exists()


def test_once_the_parties_meet_again_what_was_finished_is_forgotten(
    pair: Place, copied: Path
) -> None:
    assert "parameter epochs differs" in refused(pair, copied, "alice", epochs=3)
    assert not [*(copied / "checkpoints").glob("*/*/finished")]


def test_without_resume_a_training_begins_anew(pair: Place, copied: Path) -> None:
    training = Training(pair, copied, {**config(copied), "resume": False, "learning_rate": 0.2})
    training.finish(LONG_S)
    assert not training.events("alice", "resumed")
    assert kept(copied, "alice") == [7, 8]


def test_a_party_without_a_place_for_checkpoints_is_named(pair: Place, copied: Path) -> None:
    training = Training(pair, copied, config(copied), {"bob": {"checkpoints": ""}})
    training.end()
    (failed,) = training.events("alice", "failed")
    assert "'bob' keeps no checkpoints and others do" in failed["message"]


def test_a_place_that_cannot_be_written_to_is_refused_before_anybody_is_met(
    pair: Place, copied: Path
) -> None:
    (copied / "file").touch()
    own = {"bob": {"checkpoints": str(copied / "file" / "checkpoints")}}
    training = Training(pair, copied, config(copied), own)
    assert training.end(LONG_S)["bob"] == ERRORS["ConfigError"]
    (failed,) = training.events("bob", "failed")
    assert "checkpoints: 'checkpoints' cannot be written to" in failed["message"]
    assert not training.events("bob", "joined")


def test_trying_a_place_out_leaves_no_file_there(tmp_path: Path) -> None:
    checkpoints.require_writable(str(tmp_path / "new"), "s", "alice")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "s", "alice"]
    with bucket() as (address, objects):
        checkpoints.require_writable(address, "s", "alice")
        assert all(key.endswith("/") for key in objects)


@pytest.mark.parametrize("method", ["get_file_info", "delete_dir"])
def test_a_store_that_goes_away_is_named_without_its_address(method: str, tmp_path: Path) -> None:
    ours = checkpoints.Checkpoints.__new__(checkpoints.Checkpoints)
    ours._folder = str(tmp_path)
    ours._store = mock.Mock(**{f"{method}.side_effect": OSError("s3://KEY:SECRET@bucket")})
    with pytest.raises(DataError, match="out of reach") as error:
        ours._clear()
    assert "SECRET" not in str(error.value)
