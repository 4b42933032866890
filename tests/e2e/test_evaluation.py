"""Evaluation of models that were not trained in the same session, and of tables that are new."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_breast_cancer, load_diabetes
from tallystick import tracking
from tallystick.parity import metrics
from tallystick.runtime.engine import PRECISION_BITS
from tallystick.tables import shares
from tallystick.tables.preparation import Preparation
from torch import nn

from tests.e2e import steps

pytestmark = pytest.mark.timeout(300)
TRAINED_ROWS = 400
IMPORTED: Mapping[str, Any] = {"trained": None, "model_owner": "alice"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Site]:
    with steps.site(tmp_path_factory.mktemp("two"), parties=2) as site:
        yield site


def well(session: steps.Session, step: str, **changes: Any) -> dict[str, steps.Side]:
    """Run a step that succeeds, with changes of its arguments that hold for all parties."""
    sides = session.run(step, changes=dict.fromkeys(session.parties, changes))
    for party, side in sides.items():
        assert side.exit_code == 0, f"{party}:\n{side.log}"
    return sides


def measured(sides: Mapping[str, steps.Side]) -> dict[str, float]:
    alice, bob = (side.event("finished")["results"] for side in sides.values())
    assert alice == bob
    return dict(alice)


def message(side: steps.Side) -> str:
    assert side.exit_code != 0
    return str(side.event("failed")["message"])


class Patients:
    """A model is trained on some patients; others, known to both parties as well, come later."""

    def __init__(self, site: steps.Site, folder: Path) -> None:
        data = load_breast_cancer(as_frame=True)
        parts = {"alice": data.data.iloc[:, :10].copy(), "bob": data.data.iloc[:, 10:].copy()}
        parts["alice"]["diagnosis"] = np.where(data.target, "benign", "malignant")
        for table in parts.values():
            table.insert(0, "id", [f"row-{number}" for number in range(len(table))])
        given = {"epochs": 4, "l2": 0.01, "label": "diagnosis", "export_to": ["alice"]}
        self.session = steps.Session(site, folder / "first", "first", given)
        self.session.write({p: t[:TRAINED_ROWS] for p, t in parts.items()})
        for step in ("psi", "encode", "train"):
            well(self.session, step)
        well(self.session, "export", formats=["onnx", "state_dict"])
        self.later = steps.Session(site, folder / "later", "later", given)
        self.later_tables = {p: t[TRAINED_ROWS:] for p, t in parts.items()}
        self.later.write(self.later_tables)
        well(self.later, "psi")

    def own(self, name: str, artifact: str) -> dict[str, dict[str, Any]]:
        """An argument that names, at each party, an artifact of the first session."""
        return {p: {name: str(self.session.of(p) / artifact)} for p in self.session.parties}

    def measure_later(self, **changes: Any) -> dict[str, steps.Side]:
        folders = self.own("trained_folder", "trained")
        given = {"trained": None, "rows": "all", **changes}
        return self.later.run("evaluate", changes={p: {**o, **given} for p, o in folders.items()})

    def imported(self) -> dict[str, dict[str, Any]]:
        exported = self.session.of("alice") / "exported" / "model.onnx"
        return {"alice": {**IMPORTED, "model_file": str(exported)}, "bob": dict(IMPORTED)}


@pytest.fixture(scope="module")
def patients(site: steps.Site, tmp_path_factory: pytest.TempPathFactory) -> Patients:
    return Patients(site, tmp_path_factory.mktemp("patients"))


def test_a_model_that_was_exported_and_brought_back_measures_the_same(patients: Patients) -> None:
    session = patients.session
    trained = measured(well(session, "evaluate"))
    assert trained["auc"] > 0.9
    sides = session.run("evaluate", changes=patients.imported())
    found = measured(sides)
    assert found == pytest.approx(trained, abs=1e-3)
    first = sides["bob"].event("finished")["reveals"][0]
    assert first["what"] == "architecture of the model"
    page = (session.of("bob") / "report.html").read_text()
    assert "A model of alice's own, measured jointly by <b>alice</b> and <b>bob</b>" in page


def test_nothing_is_reported_unless_the_parties_finish_together(
    patients: Patients, tmp_path: Path
) -> None:
    session = patients.session
    changes = {party: {"report": tmp_path / party} for party in session.parties}
    for side in session.run("evaluate", changes=changes, before=steps.parted).values():
        assert "nothing was published" in message(side)
    for party in session.parties:
        store = f"sqlite:///{session.of(party)}/mlflow.db"
        logged = tracking.metrics(store, session=session.name, party=party)
        assert not {"auc", "accuracy"} & logged.keys()


def test_a_new_table_is_measured_as_in_plaintext(patients: Patients) -> None:
    for party, prepared in patients.own("prepared", "shares").items():
        before = Preparation.read(Path(prepared["prepared"]))
        assert bool(before.label_classes) == (party == "alice")
    sides = patients.later.run("encode", changes=patients.own("prepared", "shares"))
    assert [side.exit_code for side in sides.values()] == [0, 0]
    found = measured(patients.measure_later())

    tables = [t.set_index("id") for t in patients.later_tables.values()]
    prepared = [
        Preparation.read(patients.session.of(party) / "shares")
        for party in patients.session.parties
    ]
    features = np.hstack(
        [one.apply(_arrow(table)) for one, table in zip(prepared, tables, strict=True)]
    )
    folders = [patients.session.of(party) / "trained" for party in patients.session.parties]
    a, b = (load_file(folder / "parameters.safetensors")["weights"] for folder in folders)
    weights = (a + b).double().numpy()[:, 0] / 2**PRECISION_BITS
    truth = (tables[0]["diagnosis"] == "malignant").to_numpy().astype(np.int64)
    wanted = metrics.binary(features @ weights[:-1] + weights[-1], truth)
    found.pop("chosen_threshold")
    assert found == pytest.approx(wanted, abs=2e-3)


def _arrow(table: pd.DataFrame) -> Any:
    return pa.Table.from_pandas(table, preserve_index=False)


def test_a_new_table_with_a_preparation_of_its_own_is_refused(patients: Patients) -> None:
    well(patients.later, "encode")
    for side in patients.measure_later(join_timeout_s=2).values():
        assert "give the folder of the run that trained it (at an evaluation to encode)" in message(
            side
        )
        assert '"joined"' not in side.log


def test_a_preparation_at_one_party_alone_is_refused(patients: Patients) -> None:
    changes = {"alice": patients.own("prepared", "shares")["alice"]}
    for side in patients.later.run("encode", changes=changes).values():
        assert "prepared" in message(side)


def test_a_class_that_training_did_not_know_is_refused(patients: Patients, tmp_path: Path) -> None:
    table = patients.later_tables["alice"].assign(diagnosis="unclear")
    table.to_csv(tmp_path / "other.csv", index=False)
    own = patients.own("prepared", "shares")["alice"]
    changes = {
        "alice": {**own, "aligned": None, "data": str(tmp_path / "other.csv"), "join_timeout_s": 2}
    }
    sides = patients.later.run("encode", parties=("alice",), changes=changes)
    assert "holds 1 values that it did not hold when the model was trained" in message(
        sides["alice"]
    )
    assert "unclear" not in sides["alice"].log


class Diabetes:
    """Rows in one order at both parties, a number to learn, and nothing trained here."""

    def __init__(self, site: steps.Site, folder: Path) -> None:
        data = load_diabetes(as_frame=True)
        self.features = data.data.to_numpy()
        self.label = data.target.to_numpy()
        given = {"label": "target", "id_columns": [], "model": "", "test_fraction": 0.4}
        self.session = steps.Session(site, folder, "diabetes", given)
        own = {
            "alice": data.data.iloc[:, :4],
            "bob": data.data.iloc[:, 4:].assign(target=self.label),
        }
        self.session.write(own)

    def encode(self, **changes: Any) -> np.ndarray:
        """Encode without psi, and return which rows test."""
        places = {p: str(self.session.of(p) / "data.csv") for p in self.session.parties}
        given = {"aligned": None, "preparation": {"numbers": {"scale": "none"}}, **changes}
        sides = self.session.run(
            "encode", changes={p: {**given, "data": d} for p, d in places.items()}
        )
        assert [side.exit_code for side in sides.values()] == [0, 0], sides["alice"].log
        return shares.read(self.session.of("alice") / "shares").test_rows

    def measure(
        self, module: nn.Module, architecture: str, **changes: Any
    ) -> dict[str, steps.Side]:
        torch.save(module.state_dict(), self.session.of("alice") / "own.pt")
        own = {
            "model_file": str(self.session.of("alice") / "own.pt"),
            "architecture": architecture,
        }
        given = {**IMPORTED, **changes}
        return self.session.run("evaluate", changes={"alice": {**given, **own}, "bob": given})


OWN = """
from torch import nn

class {name}(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, {outputs}))
"""


def network(folder: Path, name: str, outputs: int) -> tuple[nn.Module, str]:
    """A user's own class in a file that the owner alone has."""
    (folder / f"{name.lower()}.py").write_text(OWN.format(name=name, outputs=outputs))
    torch.manual_seed(outputs)
    module = nn.Sequential(nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, outputs))
    return module, f"{folder / name.lower()}.py:{name}"


@pytest.fixture(scope="module")
def diabetes(site: steps.Site, tmp_path_factory: pytest.TempPathFactory) -> Diabetes:
    return Diabetes(site, tmp_path_factory.mktemp("diabetes") / "session")


def test_a_partys_own_regression_is_measured_in_the_labels_unit(
    diabetes: Diabetes, tmp_path: Path
) -> None:
    test = diabetes.encode(standardise=True)
    module, architecture = network(tmp_path, "Points", 1)
    with torch.no_grad():
        module[2].bias.fill_(150.0)
        module[2].weight.mul_(800.0)
        score = module.double()(torch.from_numpy(diabetes.features[test]))[:, 0].numpy()
    found = measured(diabetes.measure(module.float(), architecture))
    wanted = metrics.regression(score, diabetes.label[test])
    assert found.pop("rmse") == pytest.approx(wanted.pop("rmse"), abs=0.1)
    assert found.pop("mae") == pytest.approx(wanted.pop("mae"), abs=0.1)
    assert found == pytest.approx(wanted, abs=2e-3)


def test_two_scores_for_two_classes_are_as_good_as_one(diabetes: Diabetes, tmp_path: Path) -> None:
    path = diabetes.session.of("bob") / "data.csv"
    table = pd.read_csv(path)
    high = (diabetes.label > 140).astype(np.int64)
    table.assign(target=high).to_csv(path, index=False)
    test = diabetes.encode()
    table.to_csv(path, index=False)
    module, architecture = network(tmp_path, "Pair", 2)
    with torch.no_grad():
        module[0].weight.mul_(20.0)
        scores = module.double()(torch.from_numpy(diabetes.features[test])).numpy()
    found = measured(diabetes.measure(module.float(), architecture))
    found.pop("chosen_threshold", None)
    assert found == pytest.approx(metrics.binary(scores[:, 1] - scores[:, 0], high[test]), abs=2e-3)

    module, architecture = network(tmp_path, "Triple", 3)
    sides = diabetes.measure(module, architecture, join_timeout_s=2)
    assert "gives 3 scores a row" in message(sides["alice"])
    assert '"joined"' not in sides["alice"].log


def test_different_rows_are_prepared_as_other_different_rows_were(
    site: steps.Site, tmp_path: Path
) -> None:
    data = load_diabetes(as_frame=True)
    table = data.data.iloc[:, :3].assign(
        target=data.target, sex=np.where(data.target % 2, "f", "m")
    )
    first, later = (
        steps.Session(site, tmp_path / n, n, {"label": "target"}) for n in ("one", "two")
    )
    first.write({"alice": table[:120], "bob": table[120:300]})
    later.write({"alice": table[300:380], "bob": table[380:]})
    given: dict[str, Any] = {"aligned": None, "layout": "horizontal", "id_columns": [], "model": ""}
    given["preparation"] = {"columns": {"sex": {"order": ["f", "m"]}}}

    def encode(session: steps.Session, **changes: Any) -> None:
        own = {
            p: {**given, **changes, "data": str(session.of(p) / "data.csv")}
            for p in session.parties
        }
        if changes:
            own = {p: {**one, "prepared": str(first.of(p) / "shares")} for p, one in own.items()}
        sides = session.run("encode", changes=own)
        assert [side.exit_code for side in sides.values()] == [0, 0], sides["alice"].log

    encode(first)
    encode(later, standardise=False)
    one, two = (shares.read(later.of(party) / "shares") for party in later.parties)
    rows = np.arange(one.manifest.joint["rows"])
    prepared = Preparation.read(first.of("bob") / "shares")
    features = (one.features(rows) + two.features(rows)).numpy() / 2**PRECISION_BITS
    np.testing.assert_allclose(features, prepared.apply(_arrow(table[300:])), rtol=0, atol=2e-5)
    about = shares.read(first.of("alice") / "shares").manifest.joint["label"]
    assert one.manifest.joint["label"] == about
    label = (one.label(rows) + two.label(rows)).numpy() / 2**PRECISION_BITS
    truth = (table["target"][300:] - about["mean"]) / about["deviation"]
    np.testing.assert_allclose(label, truth, rtol=0, atol=2e-5)
