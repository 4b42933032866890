"""The label as the model needs it: 0 and 1 for a classifier, a number for a regression."""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError
from tallystick.tables import preparation
from tallystick.tables.preparation import Standardisation

BINARY = "binary"
NUMBER = "number"
_REGRESSIONS = frozenset({"linear_regression"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """The owner's label, ready to be shared."""

    values_N: NDArray[np.float64]
    classes: tuple[str | int | float, ...] = ()
    """What 0 and 1 stand for; empty for a regression. It stays with the owner."""
    mean: float = 0.0
    deviation: float = 1.0
    """A regression's ``values_N * deviation + mean`` is in the label's own units."""


def kind_of(model: str) -> str:
    """Return which kind of label a model learns."""
    return NUMBER if model in _REGRESSIONS else BINARY


def prepare(
    table: pa.Table,
    name: str,
    *,
    kind: str,
    train_rows: NDArray[np.int64],
    standardise: bool,
) -> Label:
    """Check the label column and turn it into numbers.

    Args:
        table: the owner's aligned rows.
        name: the label's column.
        kind: "binary" or "number".
        train_rows: a numeric label is standardised by these rows.
        standardise: whether it is.

    Raises:
        DataError: empty values, not two classes, or not numbers.
    """
    if kind == BINARY:
        return _binary(table.column(name), name)
    values_N1 = preparation.numbers(table, [name])
    label = Label(values_N=values_N1[:, 0])
    if standardise:
        fitted = Standardisation.fit(values_N1[train_rows], [name])
        values_N1 = fitted.apply(values_N1)
        label = Label(values_N=values_N1[:, 0], mean=fitted.mean[0], deviation=fitted.deviation[0])
    preparation.require_small(values_N1, [name], standardised=standardise)
    return label


def _binary(column: pa.ChunkedArray, name: str) -> Label:
    values = column.to_pylist()
    empty = sum(value is None or value == "" or value != value for value in values)
    if empty:
        raise DataError(
            f"the label {name!r} is empty in {empty} of {len(values)} rows; "
            "drop those rows or fill them"
        )
    if not all(_is_plain(value) for value in values):
        raise DataError(
            f"the label {name!r} holds values that are neither finite numbers, text nor booleans; "
            "map it to two classes"
        )
    classes = sorted(set(values))
    if len(classes) != 2:
        raise DataError(
            f"the label {name!r} has {len(classes)} different values in the rows that match, and a "
            "classifier needs exactly two; map it to two classes, or choose the model "
            "linear_regression"
        )
    return Label(
        values_N=np.array([value == classes[1] for value in values], dtype=np.float64),
        classes=tuple(classes),
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
