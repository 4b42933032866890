"""The label: two classes for a classifier, numbers for a regression."""

import numpy as np
import pyarrow as pa
import pytest
from tallystick.encode import label as labels
from tallystick.encode.label import Label
from tallystick.runtime.errors import DataError

PLANTED = "planted4711"


def prepare(values: pa.Array, kind: str = labels.BINARY, standardise: bool = True) -> Label:
    return labels.prepare(
        pa.table({"y": values}),
        "y",
        kind=kind,
        train_rows=np.arange(len(values) // 2),
        standardise=standardise,
    )


def test_each_model_has_its_kind_of_label() -> None:
    assert labels.kind_of("linear_svm") == labels.BINARY
    assert labels.kind_of("logistic_regression") == labels.BINARY
    assert labels.kind_of("linear_regression") == labels.NUMBER


@pytest.mark.parametrize(
    ("values", "zero", "one"),
    [
        (pa.array([1, 0, 1]), 0, 1),
        (pa.array([1, -1, 1]), -1, 1),
        (pa.array([2.5, 0.5, 2.5]), 0.5, 2.5),
        (pa.array(["yes", "no", "yes"]), "no", "yes"),
        (pa.array([True, False, True]), False, True),
    ],
)
def test_two_classes_become_0_and_1_in_sorted_order(
    values: pa.Array, zero: object, one: object
) -> None:
    found = prepare(values)
    assert found.values_N.tolist() == [1, 0, 1]
    assert found.classes == (zero, one)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (pa.array([PLANTED, PLANTED]), "1 different values"),
        (pa.array([PLANTED, "a", "b"]), "3 different values"),
        (pa.array([PLANTED, None, "b"]), "empty in 1 of 3 rows"),
        (pa.array([PLANTED, "", "b"]), "empty in 1 of 3 rows"),
        (pa.array([0.0, float("nan")]), "empty in 1 of 2 rows"),
        (pa.array([[PLANTED], ["b"]]), "neither finite numbers, text nor booleans"),
        (pa.array([0.0, float("inf")]), "neither finite numbers, text nor booleans"),
    ],
)
def test_a_label_that_is_not_binary_is_refused_by_name(values: pa.Array, what: str) -> None:
    with pytest.raises(DataError, match=f"the label 'y' .*{what}") as error:
        prepare(values)
    assert PLANTED not in str(error.value)


def test_a_regression_label_is_standardised_by_the_training_rows() -> None:
    found = prepare(pa.array([1, 3, 102, 2]), labels.NUMBER)
    assert (found.mean, found.deviation) == (2.0, 1.0)
    assert found.values_N.tolist() == [-1, 1, 100, 0]
    assert found.classes == ()


def test_a_regression_label_may_be_shared_as_it_is() -> None:
    found = prepare(pa.array([1.5, 3.0]), labels.NUMBER, standardise=False)
    assert (found.mean, found.deviation) == (0.0, 1.0)
    assert found.values_N.tolist() == [1.5, 3.0]


@pytest.mark.parametrize(
    "values", [pa.array([PLANTED, "b"]), pa.array([1.0, None]), pa.array([1.0, float("nan")])]
)
def test_a_regression_label_that_is_no_number_is_refused_by_name(values: pa.Array) -> None:
    with pytest.raises(DataError, match="column 'y'") as error:
        prepare(values, labels.NUMBER)
    assert PLANTED not in str(error.value)


def test_a_regression_label_too_large_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"column 'y' .* standardise it"):
        prepare(pa.array([1e7, 2e7]), labels.NUMBER, standardise=False)
