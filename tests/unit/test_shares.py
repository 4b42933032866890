"""The shares artifact: what is written is read again, and damage is named."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tallystick.runtime.errors import DataError
from tallystick.runtime.manifest import Manifest
from tallystick.tables import shares, split


def manifest(rows: int, features: int, **changes: Any) -> Manifest:
    train, test = split.train_test(rows, 0.25, 3)
    joint = {
        "rows": rows,
        "row_order": "00" * 32,
        "columns": [{"name": f"alice.x{i}", "owner": "alice"} for i in range(features)],
        "label": {"name": "y", "owner": "bob", "kind": "binary"},
        "precision_bits": 16,
        "split": {
            "seed": 3,
            "test_fraction": 0.25,
            "train_rows": len(train),
            "test_rows": len(test),
        },
        "standardised": True,
    }
    return Manifest(
        kind="shares",
        session="s",
        party="alice",
        rank=0,
        parties=("alice", "bob"),
        joint={**joint, **changes},
    )


def random_words(*shape: int) -> torch.Tensor:
    # The whole range of int64, as shares have it.
    words = np.random.default_rng(0).integers(-(2**63), 2**63, size=shape, dtype=np.int64)
    return torch.from_numpy(words)


def written(folder: Path, rows: int = 20, features: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    features_NF, label_N = random_words(rows, features), random_words(rows)
    shares.write(folder, features_NF, label_N, manifest(rows, features))
    return features_NF, label_N


@given(st.integers(2, 40), st.integers(1, 5), st.data())
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: int, features: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("x") / "shares"
    features_NF, label_N = written(folder, rows, features)
    read = shares.read(folder)
    for part in (read.train_rows, read.test_rows):
        assert torch.equal(read.features(part), features_NF[part])
        assert torch.equal(read.label(part), label_N[part])
    some = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=10)), dtype=np.int64)
    assert torch.equal(read.features(some), features_NF[some])
    assert torch.equal(read.label(some), label_N[some])
    assert read.features(some).dtype == torch.int64
    assert read.features(some).is_contiguous()


def test_the_split_follows_from_the_manifest(tmp_path: Path) -> None:
    written(tmp_path)
    read = shares.read(tmp_path)
    train, test = split.train_test(20, 0.25, 3)
    assert (read.train_rows == train).all()
    assert (read.test_rows == test).all()


def test_writing_to_a_batch_leaves_the_file_alone(tmp_path: Path) -> None:
    features_NF, label_N = written(tmp_path)
    read = shares.read(tmp_path)
    read.features(read.train_rows).zero_()
    read.label(read.train_rows).zero_()
    assert torch.equal(read.features(np.arange(20)), features_NF)
    assert torch.equal(read.label(np.arange(20)), label_N)


@pytest.mark.parametrize("name", [shares.FEATURES, shares.LABEL])
def test_any_flipped_byte_is_found_and_the_file_named(tmp_path: Path, name: str) -> None:
    written(tmp_path, rows=4, features=1)
    sound = (tmp_path / name).read_bytes()
    for position in range(0, len(sound), 7):
        damaged = bytearray(sound)
        damaged[position] ^= 1
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=name):
            shares.read(tmp_path)


@pytest.mark.parametrize("name", [shares.FEATURES, shares.LABEL])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=name):
        shares.read(tmp_path)


def test_a_cut_file_is_named_even_when_its_digest_was_forged(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / shares.FEATURES
    path.write_bytes(path.read_bytes()[:100])
    manifest(20, 3).write(tmp_path)
    with pytest.raises(DataError, match=r"features\.arrow cannot be read"):
        shares.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": [{"name": "alice.x1"}, {"name": "alice.x0"}, {"name": "alice.x2"}]},
        {"columns": [{"name": "alice.x0"}]},
    ],
)
def test_columns_other_than_the_manifest_says_are_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    written(tmp_path)
    manifest(20, 3, **changes).write(tmp_path)
    with pytest.raises(DataError, match=r"features\.arrow does not hold the columns"):
        shares.read(tmp_path)


def test_another_number_of_rows_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    manifest(21, 3).write(tmp_path)
    with pytest.raises(DataError, match="does not hold the columns and rows"):
        shares.read(tmp_path)


def test_a_split_that_does_not_follow_from_the_seed_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    wrong = {"seed": 3, "test_fraction": 0.25, "train_rows": 1, "test_rows": 19}
    manifest(20, 3, split=wrong).write(tmp_path)
    with pytest.raises(DataError, match="split does not follow"):
        shares.read(tmp_path)


def test_a_manifest_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    sound = manifest(20, 3)
    joint = {key: value for key, value in sound.joint.items() if key != "label"}
    dataclasses.replace(sound, joint=joint).write(tmp_path)
    with pytest.raises(DataError, match="lacks what a shares artifact needs"):
        shares.read(tmp_path)


def test_another_kind_of_artifact_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**content, "kind": "model"}))
    with pytest.raises(DataError, match="model artifact where a shares artifact"):
        shares.read(tmp_path)
