"""The label on an artifact: it comes back as it was, and whatever is wrong with it is named."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tallystick.runtime.errors import DataError
from tallystick.runtime.manifest import Manifest

MANIFEST = Manifest(
    kind="shares",
    session="credit-1",
    party="alice",
    rank=0,
    parties=("alice", "bob"),
    joint={"rows": 3, "columns": [{"name": "x", "owner": "bob"}]},
    history=({"step": "psi", "session": "credit-1", "reveals": []},),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shares"
    (made / "deep").mkdir(parents=True)
    (made / "features.arrow").write_bytes(b"features")
    (made / "deep" / "label.arrow").write_bytes(b"label")
    MANIFEST.write(made)
    return made


def test_a_manifest_survives_its_file(folder: Path) -> None:
    read = Manifest.read(folder, "shares")
    assert read.files.keys() == {"features.arrow", "deep/label.arrow"}
    assert (read.kind, read.session, read.party, read.rank) == ("shares", "credit-1", "alice", 0)
    assert (read.parties, read.joint, read.history) == (
        MANIFEST.parties,
        MANIFEST.joint,
        MANIFEST.history,
    )
    before = (folder / "manifest.json").read_bytes()
    read.write(folder)
    assert (folder / "manifest.json").read_bytes() == before


def test_another_kind_and_another_party_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="shares: a shares artifact where a model artifact is"):
        Manifest.read(folder, "model")
    read = Manifest.read(folder, "shares")
    read.require_party("alice")
    with pytest.raises(DataError, match="belongs to party 'alice', not to 'bob'"):
        read.require_party("bob")


def test_an_altered_or_missing_file_is_named(folder: Path) -> None:
    (folder / "features.arrow").write_bytes(b"Features")
    with pytest.raises(DataError, match=r"features\.arrow was altered or damaged"):
        Manifest.read(folder, "shares")
    (folder / "features.arrow").unlink()
    with pytest.raises(DataError, match=r"features\.arrow is missing"):
        Manifest.read(folder, "shares")


@pytest.mark.parametrize(
    "text", ["", "[]", "7", '"x"', "null", "{}", "{", "\0", "[" * 5000, '{"format"']
)
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"no readable manifest\.json in it"):
        Manifest.read(folder, "shares")
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="give the folder that the step before wrote"):
        Manifest.read(folder, "shares")


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_another_format_version_is_named(folder: Path, version: Any) -> None:
    rewrite(folder, format=version)
    with pytest.raises(DataError, match=r"format version .* but this package reads 1"):
        Manifest.read(folder, "shares")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": ...},
        {"kind": 7},
        {"extra": 1},
        {"rank": "0"},
        {"parties": "alice"},
        {"parties": None},
        {"parties": [1]},
        {"joint": []},
        {"history": {}},
        {"history": [1]},
        {"files": []},
        {"files": {"a": 1}},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    rewrite(folder, **changes)
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        Manifest.read(folder, "shares")


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/hostname", "a\0b", "deep", ".", "", "x" * 999]
)
def test_a_file_outside_the_folder_is_never_read(folder: Path, name: str) -> None:
    (folder.parent / "outside").write_bytes(b"")
    rewrite(folder, files={name: "0" * 64})
    with pytest.raises(DataError, match="is missing"):
        Manifest.read(folder, "shares")


def test_a_link_to_the_outside_is_never_followed(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(b"secret")
    (folder / "features.arrow").unlink()
    (folder / "features.arrow").symlink_to(folder.parent / "outside")
    with pytest.raises(DataError, match=r"features\.arrow is missing"):
        Manifest.read(folder, "shares")


def test_any_altered_manifest_is_read_or_a_named_error(folder: Path) -> None:
    """1,500 files with one to four bytes changed."""
    rng = random.Random(2)
    path = folder / "manifest.json"
    whole = path.read_bytes()
    refused = 0
    for _ in range(1500):
        raw = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            raw[rng.randrange(len(raw))] = rng.choice(b'\0 "{}[],:.0159-eE\\\xff/aftn')
        path.write_bytes(raw)
        try:
            Manifest.read(folder, "shares")
        except DataError:
            refused += 1
    assert refused > 500


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    content = {**json.loads(path.read_text()), **changes}
    content = {name: value for name, value in content.items() if value is not ...}
    path.write_text(json.dumps(content))
