"""Which rows may be measured with which model, and how many: refused before dialling."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tallystick.evaluate import step
from tallystick.models.artifact import SharedModel
from tallystick.runtime.errors import ConfigError, DataError

JOINT = {
    "columns": [{"name": "a.x", "owner": "a"}],
    "label": {"name": "y", "owner": "a", "kind": "binary"},
    "row_order": "first",
    "split": {"digest": "1"},
    "rows": 30,
    "fitted_by": "credit-1/00",
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


def model(**changes: Any) -> Any:
    return SharedModel(manifest=artifact(**changes).manifest, parameters={})


def test_held_out_rows_are_those_of_the_training() -> None:
    step._require_fit(config(), artifact(), model())
    for changes in ({"row_order": "other"}, {"split": {"digest": "2"}}):
        with pytest.raises(DataError, match=r"row_order or split differs.*rows: all"):
            step._require_fit(config(), artifact(**changes), model())


def test_all_rows_may_be_of_a_new_table_with_the_same_columns() -> None:
    new = artifact(row_order="other", split={"digest": "2"}, prepared=True)
    step._require_fit(config(rows="all"), new, model())
    for name in ("columns", "label"):
        with pytest.raises(DataError, match=f"{name} differs"):
            step._require_fit(config(rows="all"), artifact(**{name: []}), model())


@pytest.mark.parametrize("changes", [{"row_order": "other", "prepared": True}, {}])
def test_rows_that_another_encoding_prepared_are_refused(changes: dict[str, Any]) -> None:
    """Whether it is another table, or the same one encoded by other rules."""
    other = artifact(fitted_by="credit-2/00", **changes)
    with pytest.raises(DataError, match=r"by the encoding 'credit-2/00', .* by 'credit-1/00'; "):
        step._require_fit(config(rows="all"), other, model())


def test_a_model_without_the_name_of_its_encoding_is_refused() -> None:
    old = model()
    del old.manifest.joint["fitted_by"]
    with pytest.raises(DataError, match="as an earlier version wrote it; run encode and train"):
        step._require_fit(config(), artifact(), old)


def test_the_classes_names_may_be_told_in_one_job_and_not_in_the_other() -> None:
    named = artifact(label={**JOINT["label"], "names": ["no", "yes"]})
    step._require_fit(config(), artifact(), model(**named.manifest.joint))
    step._require_fit(config(), named, model())


def test_a_model_that_was_not_trained_here_may_measure_any_rows() -> None:
    imported = model()
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
