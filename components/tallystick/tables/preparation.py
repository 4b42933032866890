"""From a party's columns to the numbers that it shares.

All of this happens at the owner of the columns, before anything is sent. What prediction needs to
do the same to new rows is kept in ``preparation.json``, at the owner alone: means and deviations
are facts about its rows.
"""

# N = rows, F = features of one party.

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError

LIMIT = 2**20
"""Prepared values stay below this, so that products of fixed-point numbers cannot overflow."""

NAME = "preparation.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Standardisation:
    """Subtract a mean and divide by a deviation, column by column."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    """1 for a column that is constant."""

    @classmethod
    def fit(cls, values_NF: NDArray[np.float64], columns: Sequence[str]) -> Self:
        """Take mean and deviation from rows, which should be the training rows only.

        A column is constant when its variance is within rounding error of zero; the bound is
        scikit-learn's (``_is_constant_feature`` in its preprocessing module).

        Raises:
            DataError: a column's numbers are too large to square.
        """
        num_rows, epsilon = len(values_NF), np.finfo(np.float64).eps
        with np.errstate(over="ignore", invalid="ignore"):
            mean_F = values_NF.mean(axis=0)
            variance_F = values_NF.var(axis=0)
            rounding_F = num_rows * epsilon * variance_F + (num_rows * mean_F * epsilon) ** 2
        _refuse(
            ~np.isfinite(mean_F + variance_F),
            columns,
            "holds numbers too large to standardise; give it in a larger unit",
        )
        deviation_F = np.where(variance_F <= rounding_F, 1.0, np.sqrt(variance_F))
        return cls(
            columns=tuple(columns),
            mean=tuple(map(float, mean_F)),
            deviation=tuple(map(float, deviation_F)),
        )

    def apply(self, values_NF: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standardised values; any rows, the same columns."""
        result: NDArray[np.float64] = (values_NF - np.array(self.mean)) / np.array(self.deviation)
        return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """Everything that this party did to its own columns."""

    features: tuple[str, ...]
    standardisation: Standardisation | None = None
    """None when values were shared as they are."""
    label_classes: tuple[str | int | float, ...] = ()
    """What 0 and 1 stand for, at the owner of a binary label; empty elsewhere."""

    def write(self, folder: Path) -> None:
        """Write ``preparation.json``."""
        (folder / NAME).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it again.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            content = json.loads((folder / NAME).read_text())
            found = content["standardisation"]
            return cls(
                features=tuple(content["features"]),
                standardisation=found
                and Standardisation(**{key: tuple(value) for key, value in found.items()}),
                label_classes=tuple(content["label_classes"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{folder.name}: {NAME} is missing or damaged; run the encode step again"
            ) from None


def feature_columns(names: Sequence[str], *, id_columns: Sequence[str], label: str) -> list[str]:
    """Return the names that are neither ids nor the label, in file order."""
    return [name for name in names if name not in id_columns and name != label]


def numbers(table: pa.Table, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return columns as float64 [N, F].

    Raises:
        DataError: a column is not of numbers (or booleans), or has empty, NaN or infinite values.
    """
    values_NF = np.empty((table.num_rows, len(columns)))
    for index, name in enumerate(columns):
        column = table.column(name)
        # First, since Arrow knows no type for a column that is empty throughout.
        if column.null_count:
            raise DataError(
                f"column {name!r} is empty in {column.null_count} of {table.num_rows} rows; "
                "fill them or drop the column"
            )
        kind = column.type
        if not (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        ):
            raise DataError(
                f"column {name!r} holds values of type {kind}, not numbers; "
                "turn it into numbers or drop it"
            )
        values_NF[:, index] = column.to_numpy()
    bad_F = np.count_nonzero(~np.isfinite(values_NF), axis=0)
    for name, bad in zip(columns, bad_F, strict=True):
        if bad:
            raise DataError(
                f"column {name!r} is NaN or infinite in {bad} of {table.num_rows} rows; "
                "fill them or drop the column"
            )
    return values_NF


def require_small(
    values_NF: NDArray[np.float64], columns: Sequence[str], *, standardised: bool
) -> None:
    """Refuse values that fixed-point arithmetic has no room for.

    Raises:
        DataError: a prepared value is 2**20 or more in magnitude.
    """
    remedy = "give it in a larger unit or drop the outliers" if standardised else "standardise it"
    too_large_F: NDArray[np.bool_] = np.any(np.abs(values_NF) >= LIMIT, axis=0)
    _refuse(
        too_large_F,
        columns,
        f"holds numbers of magnitude 2**20 or more, for which fixed-point has no room; {remedy}",
    )


def _refuse(bad_F: NDArray[np.bool_], columns: Sequence[str], why: str) -> None:
    for name, bad in zip(columns, bad_F, strict=True):
        if bad:
            raise DataError(f"column {name!r} {why}")
