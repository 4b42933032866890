"""Synthetic tables have a job's shape and none of its values; and differences are judged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tallystick.job import Job
from tallystick.models.networks import NETWORKS
from tallystick.parity import models, synthetic
from tallystick.parity.comparison import Parity
from tallystick.parity.joined import Joined
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.tables import split

ROWS = 60
JOB = """
session: credit-1
pipeline: training
parties:
  alice: {data: own.csv}
  bob: {data: other.csv}
dealer: notary
params: {id_columns: [id], label: y, model: MODEL, epochs: 3}
"""


def job(folder: Path, model: str = "logistic_regression", labels: int = 2) -> Job:
    rng = np.random.default_rng(1)
    own = {"id": [f"P{i}" for i in range(ROWS)], "y": np.arange(ROWS) % labels + 7000}
    own |= {"income": rng.normal(size=ROWS) * 1e6 + 4e7, "town": ["planted"] * ROWS}
    pd.DataFrame(own).to_csv(folder / "own.csv", index=False)
    other = {"id": range(ROWS + 5), "age": rng.integers(9000, 9100, ROWS + 5)}
    pd.DataFrame(other).to_csv(folder / "other.csv", index=False)
    (folder / "job.yaml").write_text(JOB.replace("MODEL", model))
    return Job.load(folder / "job.yaml")


def test_synthetic_tables_have_the_shape_and_none_of_the_values(tmp_path: Path) -> None:
    copy = Job.load(synthetic.write_job(job(tmp_path), tmp_path / "copy", None))
    assert copy.arguments("bob")["epochs"] == 3
    tables = {party: pd.read_csv(copy.arguments(party)["data"]) for party in ("alice", "bob")}
    assert [*tables["alice"]] == ["id", "income", "town", "y"]
    assert [*tables["bob"]] == ["id", "age"]
    assert [len(table) for table in tables.values()] == [ROWS, ROWS]
    assert set(tables["alice"]["id"]) == set(tables["bob"]["id"])
    assert sorted(set(tables["alice"]["y"])) == [0, 1]
    assert tables["alice"]["town"].str.startswith("text-").all()
    text = "".join(path.read_text() for path in (tmp_path / "copy").iterdir())
    assert not any(value in text for value in ("planted", "7000", "7001"))
    assert tables["bob"]["age"].abs().max() < 10
    assert tables["alice"]["income"].abs().max() < 10


def test_a_regressions_label_is_a_number_and_rows_can_be_chosen(tmp_path: Path) -> None:
    copy = Job.load(synthetic.write_job(job(tmp_path, "linear_regression"), tmp_path / "c", 500))
    table = pd.read_csv(copy.arguments("alice")["data"])
    assert len(table) == 500
    assert table["y"].nunique() > 400


def test_what_parity_cannot_do_is_refused(tmp_path: Path) -> None:
    real = job(tmp_path)
    (tmp_path / "other.csv").unlink()
    with pytest.raises(DataError, match=r"the data of 'bob'.*cannot be read"):
        synthetic.write_job(real, tmp_path / "copy", None)
    pd.DataFrame({"id": [1], "y": [2]}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(ConfigError, match="exactly one party must hold the label 'y', not 2"):
        synthetic.write_job(real, tmp_path / "copy", None)


DIRECT = """
session: scans-1
pipeline: direct
parties:
  alice: {data: scans.npy, images: {size: [6, 5], labels: none.npy}}
  bob: {data: labels.npy}
dealer: notary
params: {layout: LAYOUT, label: y, model: cnn, epochs: 3, label_classes: [a, b, c]}
"""


def test_images_have_the_shape_and_none_of_the_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.save(tmp_path / "scans.npy", rng.integers(250, 256, (40, 8, 8, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2, 1] * 10))
    text = DIRECT.replace("LAYOUT", "vertical").replace(", labels: none.npy", "")
    text = text.replace(", label_classes: [a, b, c]", "")
    (tmp_path / "job.yaml").write_text(text)
    path = synthetic.write_job(Job.load(tmp_path / "job.yaml"), tmp_path / "copy", None)
    copy = Job.load(path)
    scans = np.load(copy.arguments("alice")["data"])["images"]
    assert (scans.shape, scans.dtype) == ((40, 6, 5, 3), np.uint8)
    assert scans.mean() < 200
    assert copy.arguments("alice")["images"] == {}
    labels = np.load(copy.arguments("bob")["data"])
    assert sorted(set(labels)) == [0, 1, 2]


def test_parties_with_different_rows_each_get_rows_and_labels_of_their_own(tmp_path: Path) -> None:
    for party in ("scans.npy", "labels.npy"):
        columns = {"x": np.arange(30.0), "z": np.arange(30.0), "y": ["a", "b", "c"] * 10}
        pd.DataFrame(columns).to_csv(tmp_path / f"{party}.csv", index=False)
    text = DIRECT.replace("LAYOUT", "horizontal").replace(".npy", ".npy.csv")
    (tmp_path / "job.yaml").write_text(
        text.replace(", images: {size: [6, 5], labels: none.npy.csv}", "")
    )
    copy = Job.load(synthetic.write_job(Job.load(tmp_path / "job.yaml"), tmp_path / "copy", None))
    one, other = (pd.read_csv(copy.arguments(party)["data"]) for party in copy.parties)
    assert [*one] == [*other] == ["x", "z", "y"]
    assert not set(one["x"]) & set(other["x"])
    assert set(one["y"]) == set(other["y"]) == {"a", "b", "c"}


def test_a_job_that_trains_nothing_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    text = JOB.replace("training", "intersection").replace(
        ", label: y, model: MODEL, epochs: 3", ""
    )
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"parity compares jobs that train.*'intersection'"):
        synthetic.write_job(Job.load(tmp_path / "job.yaml"), tmp_path / "copy", None)


def test_differences_are_judged_by_what_rounding_explains() -> None:
    def parity(secure: float, model: float, training: float, **changes: float) -> Parity:
        found = [{"rmse": value} for value in (secure, model, training)]
        return Parity(int(changes.get("rows", 10_000)), changes.get("unit", 1.0), *found)

    assert parity(0.5, 0.5005, 0.51).holds
    assert not parity(0.5, 0.502, 0.5).holds
    assert not parity(0.5, 0.5, 0.53).holds
    assert parity(50.0, 50.05, 51.0, unit=100).holds
    assert parity(0.5, 0.51, 0.5, rows=200).holds


def joined(kind: str, label: np.ndarray, model: str, **training: object) -> Joined:
    rng = np.random.default_rng(2)
    about = {"kind": kind, "classes": 3} if kind == "classes" else {"kind": kind}
    joint = {"model": model, "feature_shape": [5], "label": about}
    joint["training"] = {
        **{"epochs": 2, "batch_size": 16, "learning_rate": 0.2, "momentum": 0.5, "l2": 0.1},
        **{"seed": 3, **training},
    }
    features = rng.normal(size=(len(label), 5))
    return Joined(features, label, np.arange(40), np.arange(40, len(label)), {}, joint)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["binary", "classes", "number"])
def test_a_networks_training_is_repeated_as_torch_does_it(kind: str, optimiser: str) -> None:
    rng = np.random.default_rng(1)
    label = {
        "binary": rng.integers(0, 2, 50).astype(float),
        "classes": np.eye(3)[rng.integers(0, 3, 50)],
        "number": rng.normal(size=50),
    }[kind]
    found = joined(kind, label, "mlp", optimiser=optimiser, clip_norm=0.5, decay=0.5)
    found.joint["training"] |= {"schedule": "step", "decay_epochs": 1}
    scores = models.repeated(found, "mlp")
    assert scores is not None

    torch.manual_seed(3)
    twin = NETWORKS["mlp"]((5,), 3 if kind == "classes" else 1).double()
    decay = [p for p in twin.parameters() if p.dim() > 1]
    groups = [{"params": decay, "weight_decay": 0.1}]
    groups.append({"params": [p for p in twin.parameters() if p.dim() == 1]})
    rule: torch.optim.Optimizer = torch.optim.SGD(groups, lr=0.2, momentum=0.5)
    if optimiser == "adam":
        rule = torch.optim.Adam(groups, lr=0.2, eps=2**-12 / 16)
    x, y = torch.from_numpy(found.features), torch.from_numpy(label)
    loss = {
        "binary": lambda s, t: torch.nn.BCEWithLogitsLoss()(s[:, 0], t),
        "classes": torch.nn.CrossEntropyLoss(),
        "number": lambda s, t: torch.nn.MSELoss()(s[:, 0], t) / 2,
    }[kind]
    for epoch in range(2):
        for batch in split.positions(40, 16, 3, epoch):
            rule.zero_grad()
            loss(twin(x[batch]), y[batch]).backward()
            torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
            rule.step()
        for group in rule.param_groups:
            group["lr"] = 0.1
    torch.testing.assert_close(scores(x), twin(x).detach(), rtol=0, atol=1e-9)


def test_a_training_that_is_not_repeated_here_is_said_so() -> None:
    assert models.repeated(joined("binary", np.zeros(50), "mlp", watch="loss"), "mlp") is None
