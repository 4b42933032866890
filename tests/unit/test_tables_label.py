"""The label: two classes, several classes, or numbers."""

import numpy as np
import pyarrow as pa
import pytest
from tallystick.encode import label as labels
from tallystick.encode.label import Label
from tallystick.runtime.errors import ConfigError, DataError

PLANTED = "planted4711"


def prepare(values: pa.Array, kind: str = labels.BINARY) -> Label:
    return labels.prepare(pa.chunked_array([values]), "y", kind=kind)


def test_a_linear_model_has_its_kind_of_label_and_another_may_be_declared() -> None:
    assert labels.kind_wanted("auto", "linear_svm") == labels.BINARY
    assert labels.kind_wanted("auto", "logistic_regression") == labels.BINARY
    assert labels.kind_wanted("auto", "linear_regression") == labels.NUMBER
    assert labels.kind_wanted("auto", "another") == labels.AUTO
    assert labels.kind_wanted("classes", "linear_regression") == labels.CLASSES


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
    for kind in (labels.BINARY, labels.AUTO):
        found = prepare(values, kind)
        assert found.kind == labels.BINARY
        assert found.block(slice(0, 3)).tolist() == [1, 0, 1]
        assert found.classes == (zero, one)


def test_several_classes_become_a_place_for_each() -> None:
    found = prepare(pa.array(["b", "c", "a", "b"]), labels.AUTO)
    assert found.kind == labels.CLASSES
    assert found.classes == ("a", "b", "c")
    assert found.block(slice(1, 4)).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (pa.array([1, 0, 1]), ["0", "1"]),
        (pa.array([1.0, 0.0, 1.0]), ["0", "1"]),
        (pa.array([True, False, True]), ["false", "true"]),
        (pa.array(["b", "a", "b"]), ["a", "b"]),
    ],
)
def test_agreed_classes_decide_the_order_and_need_not_all_be_there(
    values: pa.Array, classes: list[str]
) -> None:
    def places(some: pa.Array, agreed: list[str], kind: str = labels.AUTO) -> list[float]:
        found = labels.prepare(pa.chunked_array([some]), "y", kind=kind, classes=agreed)
        assert found.classes == tuple(agreed)
        return found.values_N.tolist()

    assert places(values, classes) == [1, 0, 1]
    assert places(values, classes[::-1]) == [0, 1, 0]
    assert places(values.slice(0, 1), classes) == [1]
    assert places(values, ["other", *classes], labels.CLASSES) == [2, 1, 2]
    for kind, agreed, said in (
        (labels.BINARY, [*classes, "c"], "label_classes lists 3 classes, and this model needs two"),
        (labels.AUTO, [classes[0], "c"], "label 'y' holds 1 values that label_classes does not"),
    ):
        with pytest.raises(ConfigError, match=said):
            places(values, agreed, kind)
    with pytest.raises(DataError, match="the label 'y' is empty in 1 of 2 rows"):
        places(pa.array([values[0].as_py(), None]), classes)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([0.5, 1.5, 2.5]), labels.NUMBER),
        (pa.array(range(100)), labels.NUMBER),
        (pa.array([*range(10)] * 10), labels.CLASSES),
    ],
)
def test_values_show_whether_they_are_numbers_or_classes(values: pa.Array, kind: str) -> None:
    assert prepare(values, labels.AUTO).kind == kind


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


def test_a_number_is_standardised_by_the_training_rows() -> None:
    found = prepare(pa.array([1, 3, 102, 2]), labels.NUMBER).standardised("y", np.arange(2))
    assert (found.mean, found.deviation) == (2.0, 1.0)
    assert found.block(slice(0, 4)).tolist() == [-1, 1, 100, 0]
    assert found.classes == ()


def test_a_number_may_be_shared_as_it_is() -> None:
    found = prepare(pa.array([1.5, 3.0]), labels.NUMBER)
    assert (found.mean, found.deviation) == (0.0, 1.0)
    assert found.block(slice(0, 2)).tolist() == [1.5, 3.0]


@pytest.mark.parametrize(
    "values", [pa.array([PLANTED, "b"]), pa.array([1.0, None]), pa.array([1.0, float("nan")])]
)
def test_a_label_that_is_no_number_is_refused_by_name(values: pa.Array) -> None:
    with pytest.raises(DataError, match="'y'") as error:
        prepare(values, labels.NUMBER)
    assert PLANTED not in str(error.value)


def test_a_number_too_large_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"column 'y' .* standardise it"):
        prepare(pa.array([1e7, 2e7]), labels.NUMBER).require_small("y")


def test_a_number_that_is_the_same_in_all_rows_is_refused() -> None:
    with pytest.raises(DataError, match="the label 'y' has one value alone"):
        prepare(pa.array([2.0, 2.0]), labels.NUMBER).standardised("y", np.arange(2))
