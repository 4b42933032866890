"""A fitted preparation: from a party's columns to the numbers that it shares.

All of this happens at the owner of the columns, before anything is sent. What prediction needs to
do the same to new rows is kept as ``preparation.json``, at the owner alone: means, categories and
the like are facts about its rows. How it is fitted is in :mod:`tallystick.tables.fitting`.
"""

# n = rows of one piece, F = features of one party, K = features that one column becomes.

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tallystick.runtime.addresses import name_of
from tallystick.runtime.errors import DataError

LIMIT = 2**20
"""Prepared values stay below this, so that products of fixed-point numbers cannot overflow."""
NAME = "preparation.json"
FORMAT = 1
MISSING = ""
"""The category of a missing value."""
_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A number, or one part of a date: filled, cut off at both ends, taken log1p of, scaled."""

    column: str
    part: str = ""
    fill: float | None
    """In place of a missing value; None where there may be none."""
    indicator: bool = False
    low: float | None = None
    high: float | None = None
    log1p: bool = False
    shift: float = 0.0
    scale: float = 1.0

    KIND: ClassVar[str] = "number"

    @property
    def changes_nothing(self) -> bool:
        """Whether a number that is there stays what it is."""
        return self == Number(column=self.column, fill=self.fill)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of what it becomes."""
        name = f"{self.column}.{self.part}" if self.part else self.column
        return (name, f"{name}.missing") if self.indicator else (name,)

    def apply(self, column: pa.Array) -> NDArray[np.float64]:
        """Return [n, K]."""
        values_n = date_part(column, self.part) if self.part else as_numbers(column, self.column)
        missing_n = np.isnan(values_n)
        found_n = self.scaled(values_n)[:, None]
        return np.hstack([found_n, missing_n[:, None]]) if self.indicator else found_n

    def scaled(self, values_n: NDArray[np.float64]) -> NDArray[np.float64]:
        """Do it to numbers, NaN where one is missing.

        Raises:
            DataError: a value is missing where none may be, or has no logarithm.
        """
        missing_n = np.isnan(values_n)
        if missing_n.any():
            if self.fill is None:
                raise missing_values(self.column, int(missing_n.sum()), len(values_n))
            values_n = np.where(missing_n, self.fill, values_n)
        if self.low is not None:
            values_n = np.clip(values_n, self.low, self.high)
        if self.log1p:
            if (values_n <= -1).any():
                raise DataError(
                    f"column {self.column!r} holds numbers of -1 or less, which have no log1p; "
                    "leave log1p out for it"
                )
            values_n = np.log1p(values_n)
        return (values_n - self.shift) / self.scale


@dataclass(frozen=True, kw_only=True, slots=True)
class OneHot:
    """A category: nought or one for each of its values."""

    column: str
    categories: tuple[str, ...]
    """Those that have a feature of their own."""
    other: bool
    """Whether one more stands for all the others. Without it, an unknown value is all noughts."""

    KIND: ClassVar[str] = "one_hot"

    @property
    def features(self) -> tuple[str, ...]:
        """The names of what it becomes. All parties see them, so they hold no value."""
        numbered = [f"{self.column}#{number}" for number in range(1, len(self.categories) + 1)]
        return (*numbered, f"{self.column}#other") if self.other else tuple(numbered)

    def apply(self, column: pa.Array) -> NDArray[np.float64]:
        """Return [n, K]."""
        places_n = places(column, self.categories)
        found = np.zeros((len(places_n), len(self.categories) + 1))
        # What is not among the categories has the place -1: the last one.
        found[np.arange(len(places_n)), places_n] = 1
        return found if self.other else found[:, :-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordinal:
    """A category that has an order: from 0 for its first value to 1 for its last."""

    column: str
    order: tuple[str, ...]

    KIND: ClassVar[str] = "ordinal"
    UNKNOWN: ClassVar[float] = 0.5
    """What stands for a value that has no place in the order."""

    @property
    def features(self) -> tuple[str, ...]:
        """The name of what it becomes."""
        return (self.column,)

    def apply(self, column: pa.Array) -> NDArray[np.float64]:
        """Return [n, 1]."""
        places_n = places(column, self.order)
        codes_n = places_n / max(len(self.order) - 1, 1)
        return np.where(places_n < 0, self.UNKNOWN, codes_n)[:, None]


Transform = Number | OneHot | Ordinal
_TRANSFORMS: Mapping[str, Any] = {kind.KIND: kind for kind in (Number, OneHot, Ordinal)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """Everything that this party did to its own columns."""

    transforms: tuple[Transform, ...] = ()
    """In the order of the features."""
    label_classes: tuple[str | int | float, ...] = ()
    """What the label's classes stand for, at its owner; empty elsewhere and for a regression."""
    groups: tuple[str | int | float, ...] = ()
    """What the groups stand for, at the owner of the group column."""
    label_kind: str = ""
    """binary, classes or number, at the label's owner; empty elsewhere."""
    label_mean: float = 0.0
    label_deviation: float = 1.0
    """What was taken from a number to learn, and what it was divided by then."""
    fitted_by: str = ""
    """Which encoding fitted it, as its shares and a model that is trained on them name it too."""

    @property
    def changes_nothing(self) -> bool:
        """Whether all columns are numbers that stay what they are."""
        return all(isinstance(one, Number) and one.changes_nothing for one in self.transforms)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of what this party shares."""
        return tuple(name for transform in self.transforms for name in transform.features)

    def apply(self, rows: pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
        """Do to some rows what was done to the rows that it was fitted by: float64 [n, F].

        Raises:
            DataError: a column is missing, or holds something else than it did.
        """
        found = np.empty((rows.num_rows, len(self.features)))
        place = 0
        for transform in self.transforms:
            if transform.column not in rows.schema.names:
                raise DataError(
                    f"the rows have no column {transform.column!r}, by which the model was trained"
                )
            width = len(transform.features)
            found[:, place : place + width] = transform.apply(rows.column(transform.column))
            place += width
        require_small(found, self.features)
        return found

    def write(self, folder: Path) -> None:
        """Write ``preparation.json``."""
        (folder / NAME).write_text(json.dumps(self.as_json(), indent=2) + "\n")

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "format": FORMAT,
            "transforms": [
                {"kind": transform.KIND, **dataclasses.asdict(transform)}
                for transform in self.transforms
            ],
            "label_classes": self.label_classes,
            "groups": self.groups,
            "label_kind": self.label_kind,
            "label_mean": self.label_mean,
            "label_deviation": self.label_deviation,
            "fitted_by": self.fitted_by,
        }

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it again.

        Raises:
            DataError: the file is missing or damaged, or does not say which encoding fitted it.
        """
        try:
            found = cls.from_json(json.loads((folder / NAME).read_text()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{name_of(folder)}: {NAME} is missing or damaged; run the encode step again"
            ) from None
        if not found.fitted_by:
            raise DataError(
                f"{folder.name}: {NAME} does not say which encoding fitted it, as an earlier "
                "version wrote it; run encode and train again"
            )
        return found

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Make it of JSON values.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: they are of another form.
        """
        if content["format"] != FORMAT:
            raise ValueError
        return cls(
            transforms=tuple(_transform(entry) for entry in content["transforms"]),
            label_classes=tuple(content["label_classes"]),
            groups=tuple(content["groups"]),
            label_kind=str(content["label_kind"]),
            label_mean=float(content["label_mean"]),
            label_deviation=float(content["label_deviation"]),
            fitted_by=str(content.get("fitted_by", "")),
        )


def _transform(entry: Mapping[str, Any]) -> Transform:
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in entry.items()
        if name != "kind"
    }
    transform: Transform = _TRANSFORMS[entry["kind"]](**fields)
    return transform


def as_numbers(column: pa.Array | pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """Return a column as float64, NaN where a value is missing.

    Raises:
        DataError: it holds no numbers, or an infinite one.
    """
    kind = column.type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        raise DataError(f"column {name!r} holds values of type {kind}, not numbers")
    values_n = _floats(pc.cast(column, pa.float64(), safe=False))
    infinite = int(np.isinf(values_n).sum())
    if infinite:
        raise DataError(
            f"column {name!r} is infinite in {infinite} of {len(values_n)} rows; "
            "mend them or drop the column"
        )
    return values_n


def date_part(column: pa.Array | pa.ChunkedArray, part: str) -> NDArray[np.float64]:
    """Return one part of dates as float64, NaN where a date is missing."""
    unit = column.type.unit if pa.types.is_timestamp(column.type) else "s"
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    moments = column.cast(pa.timestamp(unit, zone))
    if part == "days":
        seconds = pc.cast(moments, pa.timestamp("s", zone), safe=False)
        return _floats(pc.cast(seconds.cast(pa.int64()), pa.float64())) / _SECONDS_A_DAY
    taken = pc.day_of_week(moments) if part == "weekday" else getattr(pc, part)(moments)
    return _floats(pc.cast(taken, pa.float64()))


def as_categories(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return a column as text; what is missing is the empty text."""
    texts = column.cast(pa.string())
    return pc.fill_null(texts, MISSING) if texts.null_count else texts


def places(column: pa.Array | pa.ChunkedArray, categories: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the place of each value among some categories, -1 where it has none."""
    found = pc.index_in(as_categories(column), value_set=pa.array(categories, pa.string()))
    return np.nan_to_num(_floats(pc.cast(found, pa.float64())), nan=-1).astype(np.int64)


def _floats(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    if column.null_count:
        column = pc.fill_null(column, float("nan"))
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate([np.empty(0), *parts]) if len(parts) != 1 else parts[0]


def missing_values(name: str, missing: int, rows: int) -> DataError:
    """Say that a column lacks values where none may be missing."""
    return DataError(
        f"column {name!r} is empty in {missing} of {rows} rows; "
        "fill them, let the preparation fill them, or drop the column"
    )


def require_small(values_nF: NDArray[np.float64], features: tuple[str, ...]) -> None:
    """Refuse values that fixed-point arithmetic has no room for.

    Raises:
        DataError: a prepared value is 2**20 or more in magnitude.
    """
    if not values_nF.size or (values_nF.max() < LIMIT and values_nF.min() > -LIMIT):
        return
    too_large_F = ~np.all(np.abs(values_nF) < LIMIT, axis=0)
    name = next(name for name, bad in zip(features, too_large_F, strict=True) if bad)
    raise DataError(
        f"column {name!r} holds numbers of magnitude 2**20 or more once it is prepared, for which "
        "fixed-point has no room; standardise it, clip its outliers, or give it in a larger unit"
    )
