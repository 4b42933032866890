"""Export: to whom all agree, in formats that give the predictions of the shared model."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.datasets import load_breast_cancer, load_digits
from skops import io
from tallystick import tracking
from tallystick.models import from_file
from tallystick.models.from_torch import convert
from tallystick.models.linear import WEIGHTS
from tallystick.models.networks import NETWORKS
from tallystick.tables.preparation import Number, OneHot, Preparation
from torch import Tensor

from tests.e2e import shared, steps

pytestmark = pytest.mark.timeout(300)
FORMATS = ["state_dict", "safetensors", "onnx", "sklearn", "mlflow"]
TOLERANCE = 0.002
"""Of a score: parameters have 16 bits after the point, and so has what is computed on shares."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Site]:
    with steps.site(tmp_path_factory.mktemp("two"), parties=2) as site:
        yield site


class Bundle:
    """A shared model, as train would have left it; and rows to predict for, at alice."""

    def __init__(
        self,
        site: steps.Site,
        folder: Path,
        name: str,
        parameters: Mapping[str, Tensor],
        rows: np.ndarray,
        **joint: Any,
    ) -> None:
        self.session = steps.Session(
            site, folder, name, {"receiver": "bob", "output": "score", "id_columns": []}
        )
        self.rows = rows
        shared.write(self.session, parameters, rows.shape[1:], **joint)
        np.save(self.session.of("alice") / "rows.npy", rows)
        self.data = self.session.of("alice") / "rows.npy"
        if rows.ndim == 2:
            self.data = self.session.of("alice") / "rows.csv"
            pd.DataFrame(rows).add_prefix("c").to_csv(self.data, index=False)

    def export(self, **changes: Any) -> dict[str, steps.Side]:
        parameters = {"export_to": ["bob"], "formats": FORMATS, **changes}
        return self.session.run("export", changes=dict.fromkeys(self.session.parties, parameters))

    def scores(self, **own: Any) -> np.ndarray:
        """What predict gives for the rows, or for others of alice's."""
        changes = {p: {"trained": str(self.session.of(p) / "trained")} for p in ("alice", "bob")}
        changes["alice"] |= {"data": str(self.data), **own}
        sides = self.session.run("predict", changes=changes)
        assert all(side.exit_code == 0 for side in sides.values()), sides["bob"].log
        table = pd.read_parquet(self.session.of("bob") / "predictions" / "predictions.parquet")
        found: np.ndarray = table.drop(columns="row").to_numpy()
        return found

    @property
    def exported(self) -> Path:
        return self.session.of("bob") / "exported"


def exported(bundle: Bundle, **changes: Any) -> tuple[Bundle, np.ndarray]:
    for party, side in bundle.export(**changes).items():
        assert side.exit_code == 0, f"{party}:\n{side.log}"
    return bundle, bundle.scores()


@pytest.fixture(scope="module")
def network(
    site: steps.Site, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, np.ndarray]:
    torch.manual_seed(2)
    module = NETWORKS["tfe_network_b"]((1, 16, 16), 10)
    digits = np.kron(load_digits().images[:24, None] / 16, np.ones((2, 2)))
    module(torch.from_numpy(digits).float())  # gives the normalisations statistics
    graph, parameters = convert(module, (1, 16, 16))
    bundle = Bundle(
        site,
        tmp_path_factory.mktemp("network"),
        "digits",
        parameters,
        digits,
        model="tfe_network_b",
        architecture=graph.as_json(),
        label={"name": "digit", "owner": "bob", "kind": "classes", "classes": 10},
    )
    return exported(bundle)


@pytest.fixture(scope="module")
def regression(
    site: steps.Site, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, np.ndarray]:
    data = load_breast_cancer()
    rows = ((data.data - data.data.mean(0)) / data.data.std(0))[:50, :4]
    weights = torch.tensor([[0.5], [-1.25], [2.0], [0.125], [-0.75]], dtype=torch.float64)
    bundle = Bundle(
        site,
        tmp_path_factory.mktemp("linear"),
        "logistic",
        {WEIGHTS: weights},
        rows,
        model="logistic_regression",
        columns=[{"name": f"alice.c{k}", "owner": "alice"} for k in range(4)],
        label={"name": "y", "owner": "bob", "kind": "binary", "classes": 2},
    )
    return exported(bundle, register_as="credit")


def test_torch_and_safetensors_give_the_scores_of_the_shared_network(
    network: tuple[Bundle, np.ndarray],
) -> None:
    bundle, scores = network
    states = [
        torch.load(bundle.exported / "state_dict.pt", weights_only=True),
        load_file(bundle.exported / "model.safetensors"),
    ]
    for state in states:
        module = NETWORKS["tfe_network_b"]((1, 16, 16), 10).eval()
        module.load_state_dict(state, strict=False)
        with torch.no_grad():
            found = module(torch.from_numpy(bundle.rows).float()).numpy()
        np.testing.assert_allclose(found, scores, rtol=0, atol=TOLERANCE)


def onnx_scores(bundle: Bundle) -> np.ndarray:
    session = onnxruntime.InferenceSession(bundle.exported / "model.onnx")
    (found,) = session.run(None, {"features": bundle.rows.astype(np.float32)})
    return np.asarray(found)


def test_onnxruntime_gives_the_scores_of_the_shared_models(
    network: tuple[Bundle, np.ndarray], regression: tuple[Bundle, np.ndarray]
) -> None:
    for bundle, scores in (network, regression):
        np.testing.assert_allclose(onnx_scores(bundle), scores, rtol=0, atol=TOLERANCE)


def test_an_exported_network_may_be_brought_in_again(network: tuple[Bundle, np.ndarray]) -> None:
    from tallystick.models import plain

    bundle, scores = network
    graph, parameters = from_file.read(bundle.exported / "model.onnx", "", (1, 16, 16))
    found = plain.run(graph, parameters, torch.from_numpy(bundle.rows)).numpy()
    np.testing.assert_allclose(found, scores, rtol=0, atol=TOLERANCE)


def test_scikit_learns_estimator_gives_the_scores_of_the_shared_model(
    regression: tuple[Bundle, np.ndarray],
) -> None:
    bundle, scores = regression
    assert io.get_untrusted_types(file=bundle.exported / "model.skops") == []
    estimator = io.load(bundle.exported / "model.skops")
    table = pd.DataFrame(bundle.rows, columns=[f"alice.c{k}" for k in range(4)])
    np.testing.assert_allclose(
        estimator.decision_function(table), scores[:, 0], rtol=0, atol=TOLERANCE
    )
    state = torch.load(bundle.exported / "state_dict.pt", weights_only=True)
    np.testing.assert_allclose(estimator.coef_, state["weight"], atol=1e-6)


PREPARED = Preparation(
    transforms=(
        Number(column="c0", fill=4711.0, shift=3.0, scale=0.5),
        OneHot(column="area", categories=("north", "south"), other=True),
    ),
    label_classes=("secret", "known"),
    fitted_by=shared.FITTED_BY,
)


def test_the_estimator_prepares_the_columns_where_their_owner_tells_how(
    site: steps.Site, tmp_path: Path
) -> None:
    table = pa.table({"c0": [1.0, None, 2.5], "area": ["north", "south", "elsewhere"]})
    bundle = Bundle(
        site,
        tmp_path,
        "prepared",
        {WEIGHTS: torch.tensor([[0.5], [-1.25], [2.0], [0.125], [-0.75]], dtype=torch.float64)},
        PREPARED.apply(table),
        model="logistic_regression",
        columns=[{"name": f"alice.{n}", "owner": "alice"} for n in PREPARED.features],
        label={"name": "y", "owner": "bob", "kind": "binary", "classes": 2},
    )
    PREPARED.write(tmp_path / "alice")
    told = {"export_to": ["bob"], "formats": ["sklearn"]}
    owner = {**told, "prepared": tmp_path / "alice", "tell_preparation": True}
    sides = bundle.session.run("export", changes={"alice": owner, "bob": told})
    for side in sides.values():
        assert side.exit_code == 0, side.log
        assert "secret" not in side.log
        assert "4711" not in side.log
    preparation = sides["alice"].event("finished")["reveals"][-1]
    assert preparation["what"] == "preparation of the columns of alice"
    assert (preparation["to"], preparation["count"]) == (["bob"], 2)

    told = json.loads((bundle.exported / "preparations.json").read_text())
    assert Preparation.from_json(told["alice"]).transforms == PREPARED.transforms
    assert "secret" not in json.dumps(told)
    assert list(told) == ["alice"]

    file = bundle.exported / "model.skops"
    untrusted = io.get_untrusted_types(file=file)
    assert untrusted == ["numpy.dtype"]
    frame = table.to_pandas().add_prefix("alice.")
    found = io.load(file, trusted=untrusted).decision_function(frame)
    csv = tmp_path / "new.csv"
    table.to_pandas().to_csv(csv, index=False)
    expected = bundle.scores(data=str(csv), prepared=str(tmp_path / "alice"))
    np.testing.assert_allclose(found, expected[:, 0], rtol=0, atol=TOLERANCE)


_FRESH = """
import sys, mlflow.pyfunc, numpy as np, pandas as pd
path, rows, columns, out = sys.argv[1:]
rows = np.load(rows)
model = mlflow.pyfunc.load_model(path)
if columns:
    rows = pd.DataFrame(rows, columns=columns.split(","))
np.save(out, model.predict(rows if columns else rows.astype(np.float32)))
"""


@pytest.mark.parametrize("fixture", ["network", "regression"])
def test_mlflows_model_predicts_in_a_fresh_process(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle, scores = request.getfixturevalue(fixture)
    columns = ",".join(f"alice.c{k}" for k in range(4)) if fixture == "regression" else ""
    rows = bundle.session.of("alice") / "rows.npy"
    # One from its file, and one from the registry of the party that learned it.
    file = bundle.exported / "mlflow_model"
    model = file if fixture == "network" else "models:/credit/1"
    arguments = [model, rows, columns, tmp_path / "found.npy"]
    command = [sys.executable, "-W", "ignore", "-c", _FRESH, *map(str, arguments)]
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{bundle.session.of('bob')}/mlflow.db"}
    environment = {**os.environ, **store}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    raw = torch.tensor(scores)
    expected = raw.softmax(1) if fixture == "network" else raw[:, 0].sigmoid()
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, rtol=0, atol=TOLERANCE)
    written = yaml.safe_load((file / "MLmodel").read_text())["signature"]
    inputs, outputs = json.loads(written["inputs"]), json.loads(written["outputs"])
    assert [entry.get("name") for entry in inputs] == (columns.split(",") if columns else [None])
    assert outputs[0]["tensor-spec"]["shape"] == [-1, *expected.shape[1:]]


def test_where_a_model_comes_from_travels_with_it(network: tuple[Bundle, np.ndarray]) -> None:
    bundle, _ = network
    written = json.loads((bundle.exported / "model.json").read_text())["provenance"]
    with safe_open(bundle.exported / "model.safetensors", "pt") as file:
        in_tensors = json.loads(file.metadata()["provenance"])
    model = onnx.load(bundle.exported / "model.onnx")
    in_onnx = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert written == in_tensors == in_onnx["provenance"]
    assert written["parties"] == ["alice", "bob"]
    train, export = written["history"]
    assert (train["step"], export["step"]) == ("train", "export")
    (reveal,) = export["reveals"]
    assert (reveal["to"], reveal["count"]) == (["bob"], sum(p.numel() for p in _all(bundle)))
    example = bundle.exported / "mlflow_model" / "input_example.json"
    assert not np.any(json.loads(example.read_text()))


def _all(bundle: Bundle) -> list[Tensor]:
    return [*load_file(bundle.exported / "model.safetensors").values()]


def test_nothing_is_registered_unless_the_parties_finish_together(
    regression: tuple[Bundle, np.ndarray], tmp_path: Path
) -> None:
    bundle, _ = regression
    parameters = {"export_to": ["bob"], "formats": ["mlflow"], "register_as": "parted"}
    changes = {p: {**parameters, "exported": tmp_path / p} for p in bundle.session.parties}
    for side in bundle.session.run("export", changes=changes, before=steps.parted).values():
        assert "nothing was published" in side.event("failed")["message"]
    store = tracking.connect(f"sqlite:///{bundle.session.of('bob')}/mlflow.db")
    assert [model.name for model in store.search_registered_models()] == ["credit"]


def test_without_a_partys_consent_nobody_learns_the_model(
    regression: tuple[Bundle, np.ndarray], tmp_path: Path
) -> None:
    bundle, _ = regression
    changes = {
        party: {
            "export_to": ["bob"],
            "agree_to_export": party == "bob",
            "exported": tmp_path / party,
        }
        for party in bundle.session.parties
    }
    for side in bundle.session.run("export", changes=changes).values():
        event = side.event("failed")
        assert event["kind"] == "ConfigError"
        assert "the model is not opened to bob: 'alice' did not agree" in event["message"]
    assert not list(tmp_path.iterdir())
