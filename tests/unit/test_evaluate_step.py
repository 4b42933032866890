"""Which rows may be measured with which model, and how many: refused before dialling."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tallystick.evaluate import step
from tallystick.runtime.errors import ConfigError, DataError

JOINT = {
    "columns": [{"name": "a.x", "owner": "a"}],
    "label": {"name": "y", "owner": "a", "kind": "binary"},
    "row_order": "first",
    "split": {"digest": "1"},
    "rows": 30,
}


def config(**changes: Any) -> step.Config:
    here = Path("here")
    fields = dict.fromkeys(
        ("shares", "trained", "metrics", "confusion", "report", "reveals", "identity"), here
    )
    base = {"party": "a", "session": "s", "consortium": here, **fields}
    return step.Config(**{**base, **changes})


def artifact(**changes: Any) -> Any:
    return SimpleNamespace(
        manifest=SimpleNamespace(joint={**JOINT, **changes}),
        test_rows=np.arange(20, 30),
        validation_rows=np.arange(0),
    )


def test_held_out_rows_are_those_of_the_training() -> None:
    step._require_fit(config(), artifact(), artifact())
    for changes in ({"row_order": "other"}, {"split": {"digest": "2"}}):
        with pytest.raises(DataError, match=r"row_order or split differs.*rows: all"):
            step._require_fit(config(), artifact(**changes), artifact())


def test_all_rows_may_be_of_a_new_table_with_the_same_columns() -> None:
    new = artifact(row_order="other", split={"digest": "2"}, prepared=True)
    step._require_fit(config(rows="all"), new, artifact())
    with pytest.raises(DataError, match="give encode that preparation as prepared"):
        step._require_fit(config(rows="all"), artifact(row_order="other"), artifact())
    for name in ("columns", "label"):
        with pytest.raises(DataError, match=f"{name} differs"):
            step._require_fit(config(rows="all"), artifact(**{name: []}), artifact())


def test_the_classes_names_may_be_told_in_one_job_and_not_in_the_other() -> None:
    named = artifact(label={**JOINT["label"], "names": ["no", "yes"]})
    step._require_fit(config(), artifact(), named)
    step._require_fit(config(), named, artifact())


def test_a_model_that_was_not_trained_here_may_measure_any_rows() -> None:
    imported = artifact()
    del imported.manifest.joint["row_order"], imported.manifest.joint["split"]
    step._require_fit(config(), artifact(), imported)


def test_too_few_rows_are_refused() -> None:
    assert step._rows(config(), artifact()).tolist() == [*range(20, 30)]
    assert step._rows(config(rows="all"), artifact()).tolist() == [*range(30)]
    with pytest.raises(DataError, match=r"test has 10 rows, fewer than min_count \(11\)"):
        step._rows(config(min_count=11), artifact())
    with pytest.raises(DataError, match="validation has 0 rows"):
        step._rows(config(rows="validation"), artifact())


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": "train"},
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"threshold_rule": "best"},
        {"min_count": 0},
    ],
)
def test_parameters_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        config(**changes)
