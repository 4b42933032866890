"""The step encode, after psi, between parties in memory (in_memory.py)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from tallystick.runtime.engine import PRECISION_BITS
from tallystick.runtime.errors import (
    ConfigError,
    DataError,
    PeerMismatch,
    ProtocolViolation,
)
from tallystick.runtime.manifest import Manifest
from tallystick.tables import preparation, shares, split
from tallystick.tables.preparation import Preparation

from tests.unit.in_memory import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Alice has the label and two features, bob three; 30 of their 40 ids each are common."""
    rng = np.random.default_rng(1)
    world = World(tmp_path, monkeypatch)
    for party, first, names in (("alice", 0, ["x0", "x1"]), ("bob", 10, ["x0", "b", "c"])):
        order = rng.permutation(40) + first
        table = pd.DataFrame({"id": [f"planted{i:03}" for i in order]})
        for name in names:
            table[name] = rng.normal(5, 3, size=40)
        if party == "alice":
            table["y"] = (order % 3 == 0).astype(int)
        world.tables[party] = table
    return world


def reconstruct(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Sum all parties' shares: the prepared features and label."""
    features, label = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    for party in world.tables:
        read = shares.read(world.folder / party / "shares")
        rows = np.arange(read.manifest.joint["rows"])
        features, label = features + read.features(rows), label + read.label(rows)
    return features.numpy() / 2**PRECISION_BITS, label.numpy() / 2**PRECISION_BITS


def drawn(world: World) -> split.Split:
    return split.Split.read(world.folder / "bob" / "shares", 30)


def manifests(world: World, artifact: str, kind: str) -> list[Manifest]:
    return [Manifest.read(world.folder / party / artifact, kind) for party in world.tables]


def test_shares_sum_to_the_standardised_values_in_the_aligned_order(world: World) -> None:
    world.psi()
    meeting, outcomes = world.encode()
    assert outcomes == {"alice": 30, "bob": 30}
    features, label = reconstruct(world)
    train = drawn(world).train_rows
    blocks = [world.aligned("alice")[["x0", "x1"]], world.aligned("bob")[["x0", "b", "c"]]]
    plain = np.hstack([block.to_numpy() for block in blocks])
    expected = StandardScaler().fit(plain[train]).transform(plain)
    np.testing.assert_allclose(features, expected, atol=2.0 ** -(PRECISION_BITS + 1) + 1e-12)
    assert (label == world.aligned("alice")["y"].to_numpy()).all()
    numbers = {"rows": 30, "features": 5, **drawn(world).counts()}
    assert meeting.results == {"alice": numbers, "bob": numbers}


def test_unstandardised_values_are_shared_as_they_are(world: World) -> None:
    world.psi()
    world.encode(standardise=False)
    features, _ = reconstruct(world)
    np.testing.assert_allclose(features[:, 0], world.aligned("alice")["x0"], atol=2.0**-17 + 1e-12)


def test_the_joint_manifest_says_what_all_parties_agree_on(world: World) -> None:
    world.psi()
    world.encode()
    alice, bob = manifests(world, "shares", "shares")
    row_order = manifests(world, "aligned", "aligned")[0].joint["row_order"]
    assert alice.joint == bob.joint
    assert alice.joint == {
        "rows": 30,
        "row_order": row_order,
        "layout": "vertical",
        "row_ranges": [],
        "columns": [
            {"name": "alice.x0", "owner": "alice"},
            {"name": "alice.x1", "owner": "alice"},
            {"name": "bob.x0", "owner": "bob"},
            {"name": "bob.b", "owner": "bob"},
            {"name": "bob.c", "owner": "bob"},
        ],
        "feature_shape": [5],
        "label": {"name": "y", "owner": "alice", "kind": "binary", "classes": 2},
        "group": None,
        "precision_bits": PRECISION_BITS,
        "split": {
            "by": "seed",
            "seed": 3,
            "test_fraction": 0.25,
            "validation_fraction": 0.0,
            "train_rows": 22,
            "validation_rows": 0,
            "test_rows": 8,
            "digest": drawn(world).digest(),
        },
        "standardised": True,
        "prepared": False,
        "fitted_by": Preparation.read(world.folder / "bob" / "shares").fitted_by,
        "as_they_are": False,
    }
    assert [len(entry["reveals"]) for entry in alice.history] == [2, 0]


def test_shares_name_the_encoding_that_fitted_their_preparation(world: World) -> None:
    def fitted_by(folder: str) -> str:
        (found,) = {one.joint["fitted_by"] for one in manifests(world, folder, "shares")}
        return str(found)

    world.psi()
    world.encode()
    world.encode(shares=Path("again"), prepared=Path("shares"))
    world.encode(shares=Path("anew"))  # of the same rows in a session of the same name
    assert fitted_by("shares").startswith("credit-1/")
    assert fitted_by("again") == fitted_by("shares") != fitted_by("anew")
    assert Preparation.read(world.folder / "bob" / "again").fitted_by == fitted_by("shares")


def test_preparations_of_two_encodings_do_not_go_together(world: World) -> None:
    world.psi()
    world.encode()
    world.encode(shares=Path("anew"))
    world.folder.joinpath("bob", "shares").rename(world.folder / "kept")
    world.folder.joinpath("bob", "anew").rename(world.folder / "bob" / "shares")
    _, outcomes = world.encode(shares=Path("again"), prepared=Path("shares"))
    assert all(isinstance(outcome, PeerMismatch) for outcome in outcomes.values())


def test_a_preparation_of_an_earlier_version_is_refused(world: World) -> None:
    world.psi()
    world.encode()
    path = world.folder / "bob" / "shares" / preparation.NAME
    content = json.loads(path.read_text())
    del content["fitted_by"]
    path.write_text(json.dumps(content))
    meeting, outcomes = world.encode(shares=Path("again"), prepared=Path("shares"))
    assert "as an earlier version wrote it; run encode and train again" in str(outcomes["bob"])
    assert "bob" not in meeting.ledgers


@pytest.mark.parametrize("rules", [{}, {"numbers": {"scale": "minmax"}}])
def test_shares_say_whether_columns_stayed_as_they_are(world: World, rules: Any) -> None:
    world.psi()
    world.encode(standardise=False, preparation=rules)
    assert {one.joint["as_they_are"] for one in manifests(world, "shares", "shares")} == {not rules}


def test_what_an_owner_did_to_its_columns_stays_with_it(world: World) -> None:
    world.tables["alice"]["y"] = world.tables["alice"]["y"].map({0: "good", 1: "bad"})
    world.psi()
    world.encode()
    alice = Preparation.read(world.folder / "alice" / "shares")
    bob = Preparation.read(world.folder / "bob" / "shares")
    assert alice.label_classes == ("bad", "good")
    assert alice.features == ("x0", "x1")
    assert bob.label_classes == ()
    assert bob.features == ("x0", "b", "c")
    assert "good" not in "".join(
        path.read_text(errors="replace") for path in (world.folder / "bob" / "shares").iterdir()
    )


def test_a_party_may_hold_the_label_alone(world: World) -> None:
    world.tables["alice"] = world.tables["alice"][["id", "y"]]
    world.psi()
    _, outcomes = world.encode()
    assert outcomes == {"alice": 30, "bob": 30}
    features, _ = reconstruct(world)
    assert features.shape == (30, 3)


def test_a_regression_label_is_standardised_and_its_units_are_published(world: World) -> None:
    amounts = np.random.default_rng(2).normal(1000, 200, size=40)
    world.tables["alice"]["y"] = amounts
    world.psi()
    meeting, _ = world.encode(model="linear_regression")
    aligned = world.aligned("alice")["y"].to_numpy()
    train = drawn(world).train_rows
    for party, manifest in zip(world.tables, manifests(world, "shares", "shares"), strict=True):
        label = manifest.joint["label"]
        assert label["kind"] == "number"
        assert label["mean"] == pytest.approx(aligned[train].mean())
        assert label["deviation"] == pytest.approx(aligned[train].std())
        (entry,) = meeting.ledgers[party].entries
        assert (entry.what, entry.count) == ("label mean and deviation", 2)
        assert entry.to == ("alice", "bob")
        assert manifest.history[1]["reveals"][0]["count"] == 2
    _, shared = reconstruct(world)
    restored = shared * label["deviation"] + label["mean"]
    np.testing.assert_allclose(restored, aligned, atol=label["deviation"] * 2.0**-16)


def test_a_regression_label_that_is_not_standardised_publishes_nothing(world: World) -> None:
    world.psi()
    meeting, _ = world.encode(model="linear_regression", standardise=False)
    label = manifests(world, "shares", "shares")[0].joint["label"]
    assert (label["mean"], label["deviation"]) == (0.0, 1.0)
    assert meeting.ledgers["alice"].entries == []


def test_a_label_that_nobody_holds_is_an_error_on_every_side(world: World) -> None:
    world.psi()
    _, outcomes = world.encode(label="z")
    for outcome in outcomes.values():
        assert isinstance(outcome, ConfigError)
        assert "no party holds the label 'z'; name a column that exactly one" in str(outcome)


def test_a_label_that_both_hold_is_an_error_on_every_side(world: World) -> None:
    world.tables["bob"]["y"] = world.tables["alice"]["y"]
    world.psi()
    _, outcomes = world.encode()
    for outcome in outcomes.values():
        assert isinstance(outcome, ConfigError)
        assert "is held by 'alice' and 'bob'" in str(outcome)


def test_some_party_must_hold_a_feature(world: World) -> None:
    world.tables["alice"] = world.tables["alice"][["id", "y"]]
    world.tables["bob"] = world.tables["bob"][["id"]]
    world.psi()
    _, outcomes = world.encode()
    for outcome in outcomes.values():
        assert isinstance(outcome, ConfigError)
        assert "no party holds a feature" in str(outcome)


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("b", None, "column 'b' is empty in 1 of 30 rows"),
        ("b", float("inf"), "column 'b' is infinite in 1 of 30 rows"),
    ],
)
def test_a_bad_feature_is_refused_before_anybody_is_dialled(
    world: World, column: str, value: object, what: str
) -> None:
    table = world.tables["bob"].astype({column: object})
    table.loc[table["id"] == "planted020", column] = value
    world.tables["bob"] = table
    world.psi()
    meeting, outcomes = world.encode(preparation={"numbers": {"fill": "refuse"}})
    assert isinstance(outcomes["bob"], DataError)
    assert what in str(outcomes["bob"])
    assert "planted" not in str(outcomes["bob"])
    assert "bob" not in meeting.ledgers
    assert not (world.folder / "alice" / "shares").exists()


def test_a_label_of_many_values_is_refused_before_anybody_is_dialled(world: World) -> None:
    world.tables["alice"]["y"] = np.arange(40)
    world.psi()
    meeting, outcomes = world.encode()
    assert isinstance(outcomes["alice"], DataError)
    assert "'y' has 30 different values" in str(outcomes["alice"])
    assert "alice" not in meeting.ledgers


def test_values_without_room_are_refused_by_name(world: World) -> None:
    world.tables["bob"]["c"] *= 1e7
    world.psi()
    _, outcomes = world.encode(standardise=False)
    assert "column 'c' holds numbers of magnitude 2**20 or more" in str(outcomes["bob"])


def test_other_id_columns_than_those_of_psi_are_refused(world: World) -> None:
    world.psi()
    _, outcomes = world.encode(id_columns=("id", "x0"))
    for outcome in outcomes.values():
        assert isinstance(outcome, ConfigError)
        assert "id_columns must be those of the psi step, ['id']" in str(outcome)


def test_rows_that_psi_gave_to_one_party_alone_are_refused(world: World) -> None:
    world.psi()
    for party in world.tables:
        folder = world.folder / party / "aligned"
        manifest = Manifest.read(folder, "aligned")
        replace(manifest, joint={**manifest.joint, "result": "receiver"}).write(folder)
    _, outcomes = world.encode()
    for outcome in outcomes.values():
        assert isinstance(outcome, DataError)
        assert "run it with result: all" in str(outcome)


def test_parties_whose_rows_differ_in_order_are_told(world: World) -> None:
    world.psi()
    world.folder.joinpath("alice", "aligned").rename(world.folder / "kept")
    world.psi()
    for path in world.folder.joinpath("kept").iterdir():
        path.rename(world.folder / "alice" / "aligned" / path.name)
    _, outcomes = world.encode()
    assert all(isinstance(outcome, PeerMismatch) for outcome in outcomes.values())


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"features": "x0", "shape": [1], "as_they_are": True},
        {"features": [1], "shape": [1], "as_they_are": True},
        {"features": ["x0"], "shape": [2], "as_they_are": True},
        {"features": ["x0"], "shape": [3, -2, 2], "as_they_are": True},
        {"features": ["x0", "b"], "shape": [1, 2, 2], "as_they_are": True},
        {"features": ["x0"], "shape": [1]},
        {"rows": 30, "label": None, "group": None, "splits": 0},
        {"rows": -1, "label": None, "group": None, "splits": False},
        {"rows": 30, "label": {"kind": "odd", "classes": 2}, "group": None, "splits": False},
        {"rows": 30, "label": None, "group": 10**9, "splits": False},
    ],
)
def test_a_poor_message_is_refused_and_its_sender_named(
    world: World, message: dict[str, Any]
) -> None:
    world.psi()
    kind = "rows" if "rows" in message else "features"
    _, outcomes = world.encode(
        tamper=lambda party, sent: message if party == "bob" and kind in sent else sent
    )
    assert isinstance(outcomes["alice"], ProtocolViolation)
    assert "party 'bob'" in str(outcomes["alice"])


@pytest.mark.parametrize("deviation", [None, 0, -1.0, "1"])
def test_poor_label_units_are_refused_and_their_sender_named(
    world: World, deviation: object
) -> None:
    world.psi()
    _, outcomes = world.encode(
        model="linear_regression",
        tamper=lambda _, sent: {"mean": 0.0, "deviation": deviation} if "mean" in sent else sent,
    )
    assert isinstance(outcomes["bob"], ProtocolViolation)
    assert "party 'alice'" in str(outcomes["bob"])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model": "magic"}, "linear_svm, logistic_regression, linear_regression"),
        ({"test_fraction": 0.0}, "test_fraction must be between 0 and 1"),
        ({"test_fraction": 1.0}, "test_fraction"),
        ({"test_fraction": float("nan")}, "test_fraction"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"label": ""}, "label must be the name of a column"),
        ({"label": "id"}, "label must be another column than the ids"),
        ({"id_columns": ()}, "id_columns"),
    ],
)
def test_encode_settings_out_of_range_are_refused_by_name(
    world: World, changes: dict[str, Any], what: str
) -> None:
    world.psi()
    _, outcomes = world.encode(**changes)
    for outcome in outcomes.values():
        assert isinstance(outcome, ConfigError)
        assert what in str(outcome)
