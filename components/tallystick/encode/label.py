"""The label as the model needs it: 0 and 1, one of several classes, or a number."""

# N = rows of the owner, K = classes.

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallystick.models.linear import LINEAR_MODELS
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.tables import fitting, preparation
from tallystick.tables.preparation import Preparation
from tallystick.tables.rules import NumberRule

BINARY, CLASSES, NUMBER = KINDS = ("binary", "classes", "number")
AUTO = "auto"
MOST_CLASSES = 1024
FEW_NUMBERS = 32
"""Whole numbers of at most so many values are taken for classes."""
Value = str | int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """The owner's label (or its group column), ready to be shared."""

    kind: str
    values_N: NDArray[np.float64]
    """Numbers, or for classes the place of each row's class."""
    classes: tuple[Value, ...] = ()
    """What the places stand for; empty for numbers. It stays with the owner."""
    mean: float = 0.0
    deviation: float = 1.0
    """A number's ``values_N * deviation + mean`` is in the label's own units."""

    def standardised(self, name: str, train_rows: NDArray[np.int64]) -> "Label":
        """Bring a number to mean 0 and deviation 1 among the training rows."""
        if self.kind != NUMBER:
            return self
        fitted = fitting.fit_number(name, self.values_N, NumberRule(), train_rows)
        if not fitted.transforms:
            raise DataError(
                f"the label {name!r} has one value alone in all training rows: there is nothing "
                "to learn; choose another label or bring more rows"
            )
        (transform,) = fitted.transforms
        assert isinstance(transform, preparation.Number)
        return replace(
            self,
            values_N=transform.scaled(self.values_N),
            mean=transform.shift,
            deviation=transform.scale,
        )

    def require_small(self, name: str) -> None:
        """Refuse numbers that fixed point has no room for.

        Raises:
            DataError: naming the label.
        """
        preparation.require_small(self.values_N[:, None], (name,))

    def block(self, rows: slice) -> NDArray[np.float64]:
        """Return what is shared of some rows: [n], or [n, K] with a one for the row's class."""
        if self.kind != CLASSES:
            return self.values_N[rows]
        places_n = self.values_N[rows].astype(np.int64)
        return np.eye(len(self.classes))[places_n]


def kind_wanted(kind: str, model: str) -> str:
    """Return which kind of label a job asks for; "auto" where its values decide."""
    return LINEAR_MODELS[model].label if kind == AUTO and model in LINEAR_MODELS else kind


def prepare(
    column: pa.ChunkedArray,
    name: str,
    *,
    kind: str,
    classes: Sequence[str] = (),
    prepared: Preparation | None = None,
    what: str = "label",
) -> Label:
    """Check the column and turn it into numbers.

    Args:
        column: all rows of the owner.
        name: the column's.
        kind: "binary", "classes" or "number"; "auto" if its values decide.
        classes: the classes in their order, as text, where the parties have agreed on them.
        prepared: how the label was prepared before, which is done again; None to look at it.
        what: what it is called in messages.

    Raises:
        ConfigError: the agreed classes are not those of the label.
        DataError: empty values, too many or too few classes, or no numbers.
    """
    known: Sequence[Value] = ()
    if prepared is not None:
        if not prepared.label_kind:
            raise DataError(
                f"this party holds the label {name!r}, and held none in the run whose preparation "
                "is given; the label stays with its owner"
            )
        kind, classes, known = prepared.label_kind, (), prepared.label_classes
    if classes and kind != NUMBER:
        return _agreed(column, name, kind, classes)
    if kind == AUTO:
        kind = _guessed(column)
    if kind == NUMBER:
        values_N = preparation.as_numbers(column, name)
        empty = int(np.isnan(values_N).sum())
        if empty:
            raise _empty(what, name, empty, len(column))
        if prepared is None:
            return Label(kind=NUMBER, values_N=values_N)
        mean, deviation = prepared.label_mean, prepared.label_deviation
        scaled_N = (values_N - mean) / deviation
        return Label(kind=NUMBER, values_N=scaled_N, mean=mean, deviation=deviation)
    # Classes that the parties agreed on stand as text.
    is_text = bool(known) and all(isinstance(value, str) for value in known)
    values = (preparation.as_categories(column) if is_text else column).to_pylist()
    empty = sum(value is None or value == "" or value != value for value in values)
    if empty:
        raise _empty(what, name, empty, len(values))
    if not all(_is_plain(value) for value in values):
        raise DataError(
            f"the {what} {name!r} holds values that are neither finite numbers, text nor booleans; "
            "map it to classes"
        )
    found = list(known) or sorted(set(values))
    if unknown := len(set(values) - set(found)):
        raise DataError(
            f"the {what} {name!r} holds {unknown} values that it did not hold when the model was "
            "trained; spell its classes as they were then"
        )
    if kind == BINARY and len(found) != 2:
        raise DataError(
            f"the label {name!r} has {len(found)} different values in the rows that are used, "
            "and this model needs exactly two; map it to two classes, or choose a model for more "
            "classes or for numbers, such as linear_regression"
        )
    if not 2 <= len(found) <= MOST_CLASSES:
        raise DataError(
            f"the {what} {name!r} has {len(found)} different values, and must have from 2 to "
            f"{MOST_CLASSES}; map it to fewer classes"
        )
    place = {value: float(number) for number, value in enumerate(found)}
    return Label(
        kind=BINARY if kind == BINARY else CLASSES,
        values_N=np.array([place[value] for value in values]),
        classes=tuple(found),
    )


def _agreed(column: pa.ChunkedArray, name: str, kind: str, classes: Sequence[str]) -> Label:
    """Return a label by the place of each value among the classes that all parties know.

    A party need not have rows of each class.
    """
    if kind == BINARY and len(classes) != 2:
        raise ConfigError(
            f"label_classes lists {len(classes)} classes, and this model needs two; map the label "
            "to two classes, or choose a model for more"
        )
    texts = preparation.as_categories(column)
    empty = pc.sum(pc.equal(texts, preparation.MISSING), min_count=0).as_py()
    if empty and preparation.MISSING not in classes:
        raise _empty("label", name, empty, len(column))
    places_N = preparation.places(texts, tuple(classes))
    if unknown := len(set(texts.filter(pa.array(places_N < 0)).to_pylist())):
        raise ConfigError(
            f"the label {name!r} holds {unknown} values that label_classes does not list; list all "
            "of them, spelt as in the data"
        )
    if kind == AUTO:
        kind = BINARY if len(classes) == 2 else CLASSES
    return Label(kind=kind, values_N=places_N.astype(np.float64), classes=tuple(classes))


def _guessed(column: pa.ChunkedArray) -> str:
    different = len(column.unique())
    if different == 2:
        return BINARY
    is_fraction = pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    if is_fraction or (pa.types.is_integer(column.type) and different > FEW_NUMBERS):
        return NUMBER
    return CLASSES


def _empty(what: str, name: str, empty: int, rows: int) -> DataError:
    return DataError(
        f"the {what} {name!r} is empty in {empty} of {rows} rows; drop those rows or fill them"
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
