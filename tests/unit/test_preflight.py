"""A job's every step is checked before the first one starts."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tallystick import preflight
from tallystick.job import EXAMPLE, Job
from tallystick.runtime.errors import ConfigError

PREDICTION = {
    "pipeline": "prediction",
    "parties": {"alice": {"data": "a.csv"}, "bob": {"data": "b.csv"}},
    "params": {"id_columns": ["id"], "receiver": "bob", "trained": "trained"},
}
EVALUATION = {
    "pipeline": "evaluation",
    "parties": {"alice": {"data": "a.csv"}, "bob": {"data": "b.csv"}},
    "params": {"id_columns": ["id"], "label": "y", "trained": "trained", "prepared": "prepared"},
}


def load(folder: Path, **changes: Any) -> Job:
    content = yaml.safe_load(EXAMPLE)
    content["params"] |= changes.pop("params", {}) if "pipeline" not in changes else {}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return Job.load(path)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, ["psi", "encode", "train", "evaluate", "export"]),
        (PREDICTION, ["psi", "predict"]),
        (EVALUATION, ["psi", "encode", "evaluate"]),
    ],
)
def test_every_step_is_looked_at(tmp_path: Path, changes: dict[str, Any], steps: list[str]) -> None:
    found = dict(preflight.configurations(load(tmp_path, **changes), "bob"))
    assert [*found] == steps
    assert {config.party for config in found.values()} == {"bob"}
    assert {config.session for config in found.values()} == {"credit-1"}


@pytest.mark.parametrize(
    ("slip", "step"),
    [
        ({"min_intersection": 0}, "psi"),
        ({"model": "logistic_regresion"}, "encode"),
        ({"learning_rate": -1.0}, "train"),
        ({"min_count": 0}, "evaluate"),
        ({"formats": ["onx"]}, "export"),
        ({"export_to": ["carol"]}, "export"),
    ],
)
def test_a_slip_is_named_with_its_step(tmp_path: Path, slip: dict[str, Any], step: str) -> None:
    job = load(tmp_path, params=slip)
    with pytest.raises(
        ConfigError, match=rf"alice, step {step}: {next(iter(slip))} (must be|names 'carol')"
    ):
        preflight.check(job, job.parties)
