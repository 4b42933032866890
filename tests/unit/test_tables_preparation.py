"""Preparation: which columns, which numbers, and standardisation by the training rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import StandardScaler
from tallystick.runtime.errors import DataError
from tallystick.tables import preparation
from tallystick.tables.preparation import Preparation, Standardisation

VALUES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 30), st.integers(1, 5)),
    elements=st.floats(-1e6, 1e6, width=32),
)


def names(values: np.ndarray) -> list[str]:
    return [f"x{i}" for i in range(values.shape[1])]


@given(VALUES)
def test_standardisation_is_that_of_scikit_learn(values: np.ndarray) -> None:
    ours = Standardisation.fit(values, names(values))
    theirs = StandardScaler().fit(values)
    scale = np.abs(values).max(axis=0) + 1
    # Both round in float64, at the size of the values, and in another order.
    np.testing.assert_allclose(ours.mean / scale, theirs.mean_ / scale, atol=1e-12)
    np.testing.assert_allclose(ours.deviation / scale, theirs.scale_ / scale, atol=1e-7)


def test_mean_and_deviation_are_those_of_the_training_rows_alone() -> None:
    fitted = Standardisation.fit(np.array([[1.0], [3.0]]), ["x"])
    assert fitted.mean == (2.0,)
    assert fitted.deviation == (1.0,)
    assert fitted.apply(np.array([[102.0]])).tolist() == [[100.0]]


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7, 1e6 + 0.1])
def test_a_constant_column_has_deviation_one(constant: float) -> None:
    fitted = Standardisation.fit(np.full((17, 1), constant), ["x"])
    assert fitted.deviation == (1.0,)
    assert abs(fitted.apply(np.full((3, 1), constant))).max() < 1e-9


def test_numbers_too_large_to_square_are_refused_by_name() -> None:
    values = np.array([[1.0, 1e300], [2.0, -1e300]])
    with pytest.raises(DataError, match="'big' holds numbers too large") as error:
        Standardisation.fit(values, ["small", "big"])
    assert "300" not in str(error.value)


def test_a_party_may_have_no_features() -> None:
    fitted = Standardisation.fit(np.empty((5, 0)), [])
    assert fitted.apply(np.empty((2, 0))).shape == (2, 0)
    preparation.require_small(np.empty((5, 0)), [], standardised=True)


def test_features_are_what_is_neither_id_nor_label_in_file_order() -> None:
    found = preparation.feature_columns(["z", "id", "y", "a"], id_columns=["id"], label="y")
    assert found == ["z", "a"]


def test_integers_floats_and_booleans_are_numbers() -> None:
    table = pa.table(
        {
            "i": pa.array([1, 2], pa.int8()),
            "u": pa.array([1, 2**63], pa.uint64()),
            "h": pa.array([0.5, 1], pa.float16()),
            "f": pa.array([0.5, 1], pa.float32()),
            "b": pa.array([True, False]),
        }
    )
    found = preparation.numbers(table, table.column_names)
    assert found.dtype == np.float64
    assert found.tolist() == [[1, 1, 0.5, 0.5, 1], [2, 2.0**63, 1, 1, 0]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["planted", "1"]),
        pa.array([b"planted", b"1"]),
        pa.array([["planted"], []]),
        pa.array([0, 1], pa.timestamp("s")),
        pa.array(["planted", "1"]).dictionary_encode(),
    ],
)
def test_a_column_that_holds_no_numbers_is_refused_by_name(column: pa.Array) -> None:
    with pytest.raises(DataError, match="column 'x' holds values of type") as error:
        preparation.numbers(pa.table({"ok": [1, 2], "x": column}), ["ok", "x"])
    assert "planted" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "what"),
    [
        (pa.array([4711.5, None, None]), "'x' is empty in 2 of 3 rows"),
        (pa.array([None, None, None]), "'x' is empty in 3 of 3 rows"),
        (pa.array([4711.5, float("nan"), 1]), "'x' is NaN or infinite in 1 of 3 rows"),
        (pa.array([4711.5, float("inf"), -float("inf")]), "'x' is NaN or infinite in 2 of 3 rows"),
    ],
)
def test_gaps_are_counted_and_refused_by_name(column: pa.Array, what: str) -> None:
    with pytest.raises(DataError, match=what) as error:
        preparation.numbers(pa.table({"ok": [1, 2, 3], "x": column}), ["ok", "x"])
    assert "4711" not in str(error.value)


@pytest.mark.parametrize("value", [2.0**20, -(2.0**20), 4711e10])
def test_a_value_that_fixed_point_has_no_room_for_is_refused_by_name(value: float) -> None:
    values = np.array([[1.0, 2.0], [1.0, value]])
    with pytest.raises(DataError, match=r"column 'x' .* standardise it") as error:
        preparation.require_small(values, ["ok", "x"], standardised=False)
    assert "4711" not in str(error.value)
    with pytest.raises(DataError, match=r"column 'x' .* larger unit"):
        preparation.require_small(values, ["ok", "x"], standardised=True)


def test_values_just_below_the_limit_pass() -> None:
    preparation.require_small(np.array([[2.0**20 - 1e-6]]), ["x"], standardised=False)


@given(VALUES)
def test_prediction_can_replay_a_preparation_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray
) -> None:
    folder = tmp_path_factory.mktemp("shares")
    columns = names(values)
    written = Preparation(
        features=tuple(columns),
        standardisation=Standardisation.fit(values, columns),
        label_classes=("no", "yes"),
    )
    written.write(folder)
    read = Preparation.read(folder)
    assert read == written
    assert read.standardisation is not None
    assert written.standardisation is not None
    again = read.standardisation.apply(values)
    assert (again == written.standardisation.apply(values)).all()


def test_a_preparation_without_standardisation_survives(tmp_path: Path) -> None:
    written = Preparation(features=("x",))
    written.write(tmp_path)
    assert Preparation.read(tmp_path) == written


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"features": ["x"]}'])
def test_a_damaged_preparation_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / preparation.NAME).write_text(content)
    with pytest.raises(DataError, match=r"preparation\.json is missing or damaged"):
        Preparation.read(tmp_path)
