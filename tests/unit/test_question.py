"""What is asked of a model must fit it; one party finds out alone, before anybody is dialled."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tallystick.models import artifact
from tallystick.models.linear import WEIGHTS
from tallystick.predict import answers, question, step
from tallystick.predict.forms import Values
from tallystick.predict.rows import open_rows
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.manifest import Manifest
from tallystick.tables import preparation
from tallystick.tables.preparation import Number, Preparation

PREPARED = Preparation(
    transforms=(
        Number(column="age", fill=40.0, shift=40.0, scale=10.0),
        Number(column="income", fill=None, shift=30_000.0, scale=9_000.0),
    ),
    label_classes=("good", "bad"),
    fitted_by="credit-1/00",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    """Rows of one party, what it has of a model, and how its columns were prepared."""
    (tmp_path / "rows.csv").write_text("age,income\n41,35000\n18,9000\n")
    PREPARED.write(tmp_path)
    model(tmp_path)
    return tmp_path


def model(folder: Path, **changes: Any) -> None:
    joint = {
        "model": "logistic_regression",
        "columns": [{"name": f"alice.{name}", "owner": "alice"} for name in PREPARED.features],
        "feature_shape": [2],
        "label": {"name": "y", "owner": "alice", "kind": "binary", "classes": 2},
        "standardised": True,
        "fitted_by": PREPARED.fitted_by,
        "as_they_are": False,
        **changes,
    }
    manifest = Manifest(
        kind=artifact.KIND,
        session="credit-1",
        party="alice",
        rank=0,
        parties=("alice", "bob"),
        joint={name: value for name, value in joint.items() if value is not None},
    )
    artifact.write(folder / "trained", {WEIGHTS: torch.zeros(3, 1, dtype=torch.int64)}, manifest)


def config(folder: Path, **changes: Any) -> step.Config:
    given: dict[str, Any] = {
        **{"party": "alice", "session": "predict-1", "receiver": "alice"},
        **dict.fromkeys(("consortium", "identity", "predictions", "reveals"), folder / "none"),
        **{"trained": str(folder / "trained"), "prepared": str(folder)},
        "data": str(folder / "rows.csv"),
    }
    return step.Config(**given | changes)


def ask(folder: Path, **changes: Any) -> Any:
    """Do what predict does before anybody is dialled, and return the rows' values."""
    told = config(folder, **changes)
    rows = open_rows(
        folder,
        aligned=None,
        data=told.data,
        id_columns=told.id_columns,
        prepared=told.prepared,
        reading={},
        rules={},
    )
    assert rows is not None
    question.read(told).require_fit(rows)
    (piece,) = rows.pieces(10)
    return piece.values


def test_rows_are_prepared_as_those_that_trained_the_model(folder: Path) -> None:
    np.testing.assert_allclose(ask(folder), [[0.1, 5 / 9], [-2.2, -21 / 9]])


def test_rows_that_are_not_prepared_are_refused_where_the_models_were(folder: Path) -> None:
    """Their names are those of the prepared columns, and their values would pass."""
    with pytest.raises(DataError, match="prepared is empty: these rows would reach it as they are"):
        ask(folder, prepared="")
    asked = question.read(config(folder, prepared=""))
    with pytest.raises(DataError, match="prepared is empty"):
        asked.require_fit(Values((2,), 10))  # what a service takes where nothing is prepared


def test_rows_may_stay_as_they_are_where_the_models_did(folder: Path) -> None:
    model(folder, as_they_are=True)
    np.testing.assert_array_equal(ask(folder, prepared=""), [[41, 35000], [18, 9000]])


def test_the_preparation_of_another_encoding_is_refused_by_name(folder: Path) -> None:
    model(folder, fitted_by="credit-2/11")
    with pytest.raises(DataError, match=r"by the encoding 'credit-1/00', .* by 'credit-2/11'; "):
        ask(folder)


def test_a_preparation_or_model_of_an_earlier_version_is_refused(folder: Path) -> None:
    earlier = "as an earlier version wrote it; run encode and train again"
    model(folder, fitted_by=None, as_they_are=None)
    with pytest.raises(DataError, match=f"the model does not say which encoding .*{earlier}"):
        ask(folder)
    with pytest.raises(DataError, match="prepared is empty"):
        ask(folder, prepared="")
    model(folder)
    content = PREPARED.as_json()
    del content["fitted_by"]
    (folder / preparation.NAME).write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"does not say which encoding fitted it, {earlier}"):
        ask(folder)


@pytest.mark.parametrize(
    ("output", "changes", "message"),
    [
        ("probability", {"model": "mlp", "training": {"loss": "hinge"}}, "the model mlp .* hinge"),
        ("probability", {"model": "linear_svm"}, "the model linear_svm .* hinge"),
        ("class", {"label": {"kind": "number"}}, "logistic_regression predicts a number"),
    ],
)
def test_an_output_that_a_model_does_not_have_is_refused(
    folder: Path, output: str, changes: dict[str, Any], message: str
) -> None:
    ask(folder, output=output)
    model(folder, **changes)
    with pytest.raises(ConfigError, match=message):
        ask(folder, output=output)
    ask(folder, output="score")


@pytest.mark.parametrize("names", ["low\nlow\nhigh\n", "low\nhigh\nlow"])
def test_two_classes_of_one_name_are_refused(folder: Path, names: str) -> None:
    (folder / "names.txt").write_text(names)
    with pytest.raises(DataError, match="two classes have the same name"):
        ask(folder, class_names=str(folder / "names.txt"))


@pytest.mark.parametrize(
    ("output", "names", "taken"),
    [
        ("class", (), {"class"}),
        ("score", (), {"score", "score_0", "score_12"}),
        ("probability", ("low", "high_end"), {"probability_low", "probability_high_end"}),
    ],
)
def test_no_column_of_the_result_takes_the_place_of_an_id(
    output: str, names: tuple[str, ...], taken: set[str]
) -> None:
    free = {"id", "row", "classes", f"{output}_other", "probability_1", "score_low"} - taken
    answers.require_apart(output, names, sorted(free))
    for column in taken:
        with pytest.raises(ConfigError, match=f"the result has a column '{column}' of its own"):
            answers.require_apart(output, names, ["id", column])


def test_an_id_column_called_class_is_refused_before_dialling(folder: Path) -> None:
    (folder / "rows.csv").write_text("age,income,class\n41,35000,a\n18,9000,b\n")
    with pytest.raises(ConfigError, match="'class' of its own"):
        step.run.__wrapped__(config(folder, id_columns=("class",)))  # type: ignore[attr-defined]


def test_rows_without_a_header_are_refused_and_not_shown(folder: Path) -> None:
    model(folder, as_they_are=True)
    (folder / "rows.csv").write_text("4711,Berlin\n41,3\n")
    with pytest.raises(DataError, match=r"not the columns .* age, income;") as error:
        ask(folder, prepared="")
    assert "4711" not in str(error.value)
