"""Synthetic tables have a job's shape and none of its values; and differences are judged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tallystick.job import Job
from tallystick.parity import synthetic
from tallystick.parity.comparison import Parity
from tallystick.runtime.errors import ConfigError, DataError

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
    with pytest.raises(DataError, match=r"the table of 'bob'.*cannot be read"):
        synthetic.write_job(real, tmp_path / "copy", None)
    pd.DataFrame({"id": [1], "y": [2]}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(ConfigError, match="exactly one table must hold the label 'y', not 2"):
        synthetic.write_job(real, tmp_path / "copy", None)


def test_differences_are_judged_by_what_rounding_explains() -> None:
    def parity(secure: float, model: float, training: float, **changes: float) -> Parity:
        found = [{"rmse": value} for value in (secure, model, training)]
        return Parity(int(changes.get("rows", 10_000)), changes.get("unit", 1.0), *found)

    assert parity(0.5, 0.5005, 0.51).holds
    assert not parity(0.5, 0.502, 0.5).holds
    assert not parity(0.5, 0.5, 0.53).holds
    assert parity(50.0, 50.05, 51.0, unit=100).holds
    assert parity(0.5, 0.51, 0.5, rows=200).holds
