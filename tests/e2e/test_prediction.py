"""Prediction: a model of one party on another's images, and a shared model on new rows."""

import itertools
import json
import shutil
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_breast_cancer, load_digits
from tallystick.models.networks import NETWORKS
from tallystick.runtime import mesh
from tallystick.runtime.engine import PRECISION_BITS
from tallystick.tables import shares

from tests.e2e import steps

pytestmark = pytest.mark.timeout(300)
NAMES = [f"figure {number}" for number in range(10)]
OWNED: Mapping[str, Any] = {"model_owner": "alice", "feature_shape": [1, 8, 8], "receiver": "carol"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Site]:
    with steps.site(tmp_path_factory.mktemp("three"), parties=3) as site:
        yield site


def well(sides: Mapping[str, steps.Side]) -> Mapping[str, steps.Side]:
    for party, side in sides.items():
        assert side.exit_code == 0, f"{party}:\n{side.log}"
    return sides


def failure(side: steps.Side) -> str:
    return str(side.event("failed")["message"])


def recorded(folder: Path) -> None:
    """Keep all that this party sends, as it is before the link encrypts it."""
    file = (folder / "sent").open("wb")
    post, message = mesh.Mesh.post, mesh.Mesh.post_message

    def kept(self: mesh.Mesh, name: str, content: Any) -> None:
        file.write(bytes(content))
        file.flush()
        post(self, name, content)

    def kept_message(self: mesh.Mesh, name: str, content: Any) -> None:
        file.write(repr(content).encode())
        file.flush()
        message(self, name, content)

    mesh.Mesh.post, mesh.Mesh.post_message = kept, kept_message  # type: ignore[method-assign]


class Digits:
    """LeNet at alice, images at bob, names at carol."""

    def __init__(self, site: steps.Site, folder: Path) -> None:
        self.session = steps.Session(site, folder, "digits", OWNED)
        for party in self.session.parties:
            self.session.of(party).mkdir(parents=True)
        torch.manual_seed(4)
        self.module = NETWORKS["lenet"]((1, 8, 8), 10).eval()
        self.weights = self.session.of("alice") / "lenet.safetensors"
        save_file(self.module.state_dict(), self.weights)
        self.images = (load_digits().images[:60, None] / 16).astype(np.float64)
        np.save(self.session.of("bob") / "images.npy", self.images)
        (self.session.of("carol") / "names.txt").write_text("\n".join(NAMES))
        self.own: dict[str, dict[str, Any]] = {
            "alice": {"model_file": str(self.weights), "architecture": "lenet"},
            "bob": {"data": str(self.session.of("bob") / "images.npy")},
            "carol": {"class_names": str(self.session.of("carol") / "names.txt")},
        }

    def scores(self) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = self.module.double()(torch.from_numpy(self.images)).numpy()
        return found

    def predict(self, **changes: Any) -> dict[str, steps.Side]:
        own = {party: {**own, **changes} for party, own in self.own.items()}
        return self.session.run("predict", changes=own, before=recorded)

    def result(self, party: str) -> pd.DataFrame:
        return pd.read_parquet(self.session.of(party) / "predictions" / "predictions.parquet")


@pytest.fixture(scope="module")
def digits(site: steps.Site, tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return Digits(site, tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def classified(digits: Digits) -> Mapping[str, steps.Side]:
    return well(digits.predict())


def test_a_third_party_learns_the_classes_by_the_names_that_it_has(
    digits: Digits, classified: Mapping[str, steps.Side]
) -> None:
    found = digits.result("carol")
    scores = digits.scores()
    ordered = np.sort(scores, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 0.002  # an untrained network is often undecided
    assert clear.mean() > 0.8
    assert list(found["row"]) == list(range(60))
    expected = np.array(NAMES)[scores.argmax(1)]
    assert (found["class"].to_numpy()[clear] == expected[clear]).all()


def test_nobody_else_gets_a_file_and_nothing_else_is_opened(
    digits: Digits, classified: Mapping[str, steps.Side]
) -> None:
    for party, side in classified.items():
        folder = digits.session.of(party) / "predictions"
        table = {"predictions.parquet"} if party == "carol" else set()
        assert {path.name for path in folder.iterdir()} == {"manifest.json"} | table
        architecture, classes = side.event("finished")["reveals"]
        assert architecture["what"] == "architecture of the model"
        assert (classes["what"], classes["to"], classes["count"]) == (
            "predicted classes",
            ["carol"],
            60,
        )


def test_neither_weights_nor_pixels_nor_predictions_cross_the_links(
    digits: Digits, classified: Mapping[str, steps.Side]
) -> None:
    numbers = [digits.images.reshape(-1), *(v.numpy().reshape(-1) for v in _weights(digits))]
    needles = set()
    for values in numbers:
        fixed = np.round(values * 2**PRECISION_BITS).astype(np.int64)
        pairs = [pair for pair in itertools.pairwise(fixed) if min(map(abs, pair)) > 99]
        needles |= {struct.pack("<2q", *pair) for pair in pairs}
    assert len(needles) > 10_000
    for party in digits.session.parties:
        sent = (digits.session.of(party) / "sent").read_bytes()
        assert len(sent) > 1 << 20
        windows = {sent[i : i + 16] for i in range(0, len(sent) - 15)}
        assert not needles & windows
        assert b"figure" not in sent


def _weights(digits: Digits) -> Iterator[torch.Tensor]:
    for value in load_file(digits.weights).values():
        yield value.double()


@pytest.mark.parametrize("output", ["score", "probability"])
def test_scores_and_probabilities_are_those_of_plaintext(digits: Digits, output: str) -> None:
    well(digits.predict(output=output))
    exact = digits.scores()
    if output == "probability":
        exact = torch.from_numpy(exact).softmax(1).numpy()
    found = digits.result("carol")
    assert list(found) == ["row", *(f"{output}_{name}" for name in NAMES)]
    np.testing.assert_allclose(found.iloc[:, 1:], exact, rtol=0, atol=0.005)


def test_images_of_another_shape_are_refused_before_anybody_is_dialled(
    digits: Digits, tmp_path: Path
) -> None:
    np.save(tmp_path / "large.npy", np.zeros((3, 1, 9, 8)))
    changes = {"bob": {"data": str(tmp_path / "large.npy"), "join_timeout_s": 2}}
    sides = digits.session.run("predict", parties=("bob",), changes=changes)
    assert "rows have the shape [1, 9, 8], and the model takes [1, 8, 8]" in failure(sides["bob"])
    assert '"joined"' not in sides["bob"].log


class Patients:
    """A shared model, trained on some patients; others come later, in other rows' company."""

    def __init__(self, site: steps.Site, folder: Path) -> None:
        data = load_breast_cancer(as_frame=True)
        columns = np.array_split(np.array(data.data.columns[:9]), 3)
        self.session = steps.Session(site, folder, "patients", {"epochs": 3, "receiver": "bob"})
        self.tables = {}
        for rank, party in enumerate(self.session.parties):
            table = data.data[list(columns[rank])].copy()
            table.insert(0, "id", [f"row-{number}" for number in range(len(table))])
            if rank == 0:
                table["y"] = np.where(data.target, "benign", "malignant")
            self.tables[party] = table.sample(frac=1, random_state=rank)
        known = {f"row-{number}" for number in range(400)}
        self.session.write({p: t[t["id"].isin(known)] for p, t in self.tables.items()})
        for step in ("psi", "encode", "train"):
            well(self.session.run(step))
        aligned = pd.read_parquet(self.session.of("bob") / "aligned" / "aligned.parquet")
        self.train_ids = aligned["id"].to_numpy()[shares.read(self.shares("bob")).train_rows]
        self.later = {
            p: t[~t["id"].isin(known)].drop(columns="y", errors="ignore")
            for p, t in self.tables.items()
        }
        for party, table in self.later.items():
            table.to_csv(self.session.of(party) / "data.csv", index=False)
        well(self.session.run("psi"))

    def paths(self, **changes: Any) -> dict[str, dict[str, Any]]:
        return {
            party: {
                "trained": str(self.session.of(party) / "trained"),
                "prepared": str(self.session.of(party) / "shares"),
                "aligned": self.session.of(party) / "aligned",
                **changes,
            }
            for party in self.session.parties
        }

    def shares(self, party: str) -> Path:
        return self.session.of(party) / "shares"

    def expected(self) -> pd.Series:
        """Scores in plaintext, by the parameters that the parties' shares add up to."""
        parts = [
            load_file(self.session.of(party) / "trained" / "parameters.safetensors")["weights"]
            for party in self.session.parties
        ]
        weights = sum(parts, torch.zeros_like(parts[0])).double().numpy()[:, 0] / 2**PRECISION_BITS
        joined = pd.concat([t.set_index("id") for t in self.tables.values()], axis=1)
        columns = shares.read(self.shares("bob")).manifest.joint["columns"]
        joined = joined[[column["name"].partition(".")[2] for column in columns]]
        train = joined.loc[self.train_ids]
        later = joined.loc[self.later["bob"]["id"]]
        return (later - train.mean()) / train.std(ddof=0) @ weights[:-1] + weights[-1]


@pytest.fixture(scope="module")
def patients(site: steps.Site, tmp_path_factory: pytest.TempPathFactory) -> Patients:
    return Patients(site, tmp_path_factory.mktemp("patients"))


def test_a_shared_model_predicts_for_new_rows_as_it_does_in_plaintext(patients: Patients) -> None:
    sides = well(patients.session.run("predict", changes=patients.paths(output="probability")))
    found = pd.read_parquet(patients.session.of("bob") / "predictions" / "predictions.parquet")
    scores = patients.expected()
    assert len(found) == len(scores) == 169
    found = found.set_index("id").loc[scores.index]
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-scores)), rtol=0, atol=0.005)
    (reveal,) = sides["alice"].event("finished")["reveals"]
    assert (reveal["what"], reveal["to"], reveal["count"]) == ("probabilities", ["bob"], 169)


def test_a_class_has_the_name_that_the_labels_owner_has_for_it(patients: Patients) -> None:
    changes = patients.paths(receiver="alice")
    well(patients.session.run("predict", changes=changes))
    found = pd.read_parquet(patients.session.of("alice") / "predictions" / "predictions.parquet")
    scores = patients.expected()
    classes = found.set_index("id").loc[scores.index, "class"]
    expected = np.where(scores > 0, "malignant", "benign")
    assert (classes.to_numpy() == expected)[scores.abs() > 0.002].all()


def test_a_table_with_another_schema_is_named_column_by_column(patients: Patients) -> None:
    changes = patients.paths()
    table = pd.read_parquet(patients.session.of("carol") / "aligned" / "aligned.parquet")
    names = [name for name in table if name != "id"]
    table = table.rename(columns={names[0]: "renamed"}).astype({names[1]: str})
    file = patients.session.of("carol") / "other.csv"
    table[names[1]] = "x"
    table.rename(columns={names[0]: "renamed"}).to_csv(file, index=False)
    changes["carol"] |= {"aligned": None, "data": str(file)}
    changes["carol"]["join_timeout_s"] = 2
    sides = patients.session.run("predict", parties=("carol",), changes=changes)
    message = failure(sides["carol"])
    assert f"{names[0]!r} missing" in message
    assert f"{names[1]!r} holds a category in each row where it held a number" in message
    assert '"joined"' not in sides["carol"].log


@pytest.mark.parametrize("artifact", ["trained", "aligned"])
def test_a_share_bundle_or_matching_of_another_session_is_refused(
    patients: Patients, artifact: str, tmp_path: Path
) -> None:
    """The parties' shares of two trainings add up to nothing, and rows of two matchings differ."""
    changes = patients.paths()
    other = tmp_path / artifact
    shutil.copytree(patients.session.of("carol") / artifact, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "session": "another"}))
    changes["carol"] |= {artifact: other}
    for side in patients.session.run("predict", changes=changes).values():
        assert "do not belong together: session differs" in failure(side)
