"""The shares artifact: what is written is read again, and damage is named."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tallystick.runtime.errors import DataError
from tallystick.runtime.manifest import Manifest
from tallystick.tables import shares, split

PARTS = split.Split.of(20, test=np.array([4, 9]), validation=[0, 19])


def manifest(parts: split.Split, shape: tuple[int, ...], **changes: Any) -> Manifest:
    rows = len(parts.part_N)
    joint = {
        "rows": rows,
        "row_order": "00" * 32,
        "columns": [{"name": f"alice.x{i}", "owner": "alice"} for i in range(math.prod(shape))],
        "feature_shape": list(shape),
        "label": {"name": "y", "owner": "bob", "kind": "binary", "classes": 2},
        "group": None,
        "precision_bits": 16,
        "split": {"digest": parts.digest()},
        "fitted_by": "s/00",
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


def written(
    folder: Path, shape: tuple[int, ...] = (3,), parts: split.Split = PARTS, **changes: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = len(parts.part_N)
    features, label_N = random_words(rows, *shape), random_words(rows)
    shares.write(folder, features, label_N, parts, manifest(parts, shape, **changes))
    return features, label_N


@given(
    part_N=hnp.arrays(np.uint8, st.integers(1, 40), elements=st.integers(0, 2)),
    shape=st.one_of(st.tuples(st.integers(1, 5)), st.tuples(*[st.integers(1, 3)] * 3)),
    classes=st.integers(1, 4),
    groups=st.integers(0, 3),
    piece_bytes=st.sampled_from([8, 200, 1 << 20]),
    data=st.data(),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    part_N: np.ndarray,
    shape: tuple[int, ...],
    classes: int,
    groups: int,
    piece_bytes: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("x") / "shares"
    rows, parts = len(part_N), split.Split(part_N)
    features = random_words(rows, *shape)
    label = random_words(rows, classes) if classes > 1 else random_words(rows)
    group = random_words(rows, groups) if groups else None
    kind = {"kind": "classes" if classes > 1 else "number", "classes": classes}
    changes = {"label": kind, "group": {"groups": groups} if groups else None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "PIECE_BYTES", piece_bytes)
        shares.write(folder, features, label, parts, manifest(parts, shape, **changes), group)
    read = shares.read(folder)
    for number, found in enumerate((read.train_rows, read.validation_rows, read.test_rows)):
        assert found.tolist() == np.flatnonzero(part_N == number).tolist()
    some = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=10)), dtype=np.int64)
    assert torch.equal(read.features(some), features[some])
    assert torch.equal(read.label(some), label[some])
    found_group = read.group(some)
    assert (found_group is None) == (group is None)
    assert found_group is None or torch.equal(found_group, group[some])
    assert read.features(some).dtype == torch.int64
    assert read.features(some).is_contiguous()


def test_writing_to_a_batch_leaves_the_file_alone(tmp_path: Path) -> None:
    features_NF, label_N = written(tmp_path)
    read = shares.read(tmp_path)
    read.features(read.train_rows).zero_()
    read.label(read.train_rows).zero_()
    assert torch.equal(read.features(np.arange(20)), features_NF)
    assert torch.equal(read.label(np.arange(20)), label_N)


@pytest.mark.parametrize("name", [shares.SHARES, split.SPLIT])
def test_any_flipped_byte_is_found_and_the_file_named(tmp_path: Path, name: str) -> None:
    written(tmp_path, (1,), split.Split(np.array([0, 1, 2, 0], dtype=np.uint8)))
    sound = (tmp_path / name).read_bytes()
    for position in range(0, len(sound), 7):
        damaged = bytearray(sound)
        damaged[position] ^= 1
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=name):
            shares.read(tmp_path)


@pytest.mark.parametrize("name", [shares.SHARES, split.SPLIT])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=name):
        shares.read(tmp_path)


def test_a_cut_file_is_named_even_when_its_digest_was_forged(tmp_path: Path) -> None:
    for name in (shares.SHARES, split.SPLIT):
        written(tmp_path)
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:100])
        manifest(PARTS, (3,)).write(tmp_path)
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            shares.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"feature_shape": [2]},
        {"label": {"kind": "classes", "classes": 3}},
        {"group": {"groups": 2}},
    ],
)
def test_shares_other_than_the_manifest_says_are_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    written(tmp_path)
    manifest(PARTS, (3,), **changes).write(tmp_path)
    with pytest.raises(DataError, match=r"shares\.arrow does not hold the columns and rows"):
        shares.read(tmp_path)


def test_another_number_of_rows_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    manifest(PARTS, (3,), rows=21).write(tmp_path)
    with pytest.raises(DataError, match="does not hold the parts of 21 rows"):
        shares.read(tmp_path)
    other = split.Split(np.zeros(21, dtype=np.uint8))
    other.write(tmp_path)
    manifest(other, (3,)).write(tmp_path)
    with pytest.raises(DataError, match="does not hold the columns and rows"):
        shares.read(tmp_path)


def test_a_split_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    manifest(PARTS, (3,), split={"digest": "0" * 64}).write(tmp_path)
    with pytest.raises(DataError, match="split is not the one"):
        shares.read(tmp_path)


@pytest.mark.parametrize("lacking", ["label", "fitted_by"])
def test_a_manifest_that_lacks_a_field_is_refused(tmp_path: Path, lacking: str) -> None:
    written(tmp_path)
    sound = manifest(PARTS, (3,))
    joint = {key: value for key, value in sound.joint.items() if key != lacking}
    dataclasses.replace(sound, joint=joint).write(tmp_path)
    with pytest.raises(DataError, match="lacks what a shares artifact needs"):
        shares.read(tmp_path)


def test_another_kind_of_artifact_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    content = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**content, "kind": "model"}))
    with pytest.raises(DataError, match="model artifact where a shares artifact"):
        shares.read(tmp_path)
