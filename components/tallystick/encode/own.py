"""A party's own rows: read, checked and prepared by their owner, piece by piece."""

# N = rows of this party, n = rows of one piece, F = this party's features.

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.encode import label as labels
from tallystick.encode.label import Label
from tallystick.runtime import events
from tallystick.runtime.errors import DataError
from tallystick.runtime.progress import Progress
from tallystick.tables import fitting, preparation
from tallystick.tables.images import ImageSet
from tallystick.tables.preparation import Preparation, Transform
from tallystick.tables.rules import Rules
from tallystick.tables.spool import Spool


class Features(Protocol):
    """What this party brings beside the label."""

    rows: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names, as all parties see them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""

    def fit(self, train_rows: NDArray[np.int64]) -> None:
        """Learn from the training rows how to prepare all rows."""

    def pieces(self, rows: int) -> Iterator[NDArray[np.float64]]:
        """Give the prepared values of so many rows at a time."""


class Columns:
    """Features that are a table's columns.

    Args:
        spool: the table.
        rules: what is to be done to it.
        others: names of columns that are no features: ids, the label and the like.
        prepared: how the same columns were prepared before, which is done to these rows then.

    Raises:
        ConfigError: a rule is meant for no column, or for one of another kind.
        DataError: a column cannot be used as it is.
    """

    def __init__(
        self,
        spool: Spool,
        rules: Rules,
        others: Collection[str],
        prepared: Preparation | None = None,
    ) -> None:
        self.rows = spool.rows
        self.rules = rules
        self.spool = spool
        self.transforms: tuple[Transform, ...] | None = None
        """None until it is fitted."""
        names = [name for name in spool.schema.names if name not in others]
        if prepared is not None:
            fitting.require_schema(prepared, spool.schema, "the table")
            self.transforms = prepared.transforms
            names = list(dict.fromkeys(one.column for one in prepared.transforms))
            self.kinds = {n: fitting.kind_of(n, spool.schema.field(n).type) for n in names}
            return
        self.kinds = {
            name: fitting.kind_of(name, spool.schema.field(name).type)
            for name in rules.chosen(names)
        }
        for name, kind in self.kinds.items():
            if kind:
                rules.of(name, kind)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what the columns became."""
        return Preparation(transforms=self.transforms or ()).features

    @property
    def shape(self) -> tuple[int, ...]:
        """How many features there are."""
        return (len(self.names),)

    def fit(self, train_rows: NDArray[np.int64]) -> None:
        """Fit column after column, and tell the owner which are left out.

        Raises:
            DataError: a column does not allow what is wanted.
        """
        if self.transforms is not None:
            return
        progress = Progress("columns fitted", len(self.kinds))
        found: list[Transform] = []
        for name, kind in self.kinds.items():
            rule = self.rules.of(name, kind or "number")
            fitted = fitting.fit(name, self.spool.column(name), rule, train_rows)
            found += fitted.transforms
            for note in fitted.notes:
                events.emit("warning", message=note)
            progress.add(1)
        self.transforms = tuple(found)

    def pieces(self, rows: int) -> Iterator[NDArray[np.float64]]:
        """Give the prepared values of so many rows at a time."""
        prepared = Preparation(transforms=self.transforms or ())
        wanted = list(dict.fromkeys(transform.column for transform in prepared.transforms))
        for piece in self.spool.pieces(rows, wanted) if wanted else ():
            yield prepared.apply(piece)


class Images:
    """Features that are images."""

    def __init__(self, images: ImageSet) -> None:
        self.rows = images.rows
        self.names: tuple[str, ...] = (images.NAME,)
        self.shape: tuple[int, ...] = images.shape
        self._images = images

    def fit(self, train_rows: NDArray[np.int64]) -> None:
        """Do nothing: what is done to images is declared."""

    def pieces(self, rows: int) -> Iterator[NDArray[np.float64]]:
        """Give so many images at a time."""
        for start in range(0, self.rows, rows):
            yield self._images.block(slice(start, start + rows))


class Nothing:
    """No features: a party may hold the label alone."""

    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = (0,)

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def fit(self, train_rows: NDArray[np.int64]) -> None:
        """Do nothing."""

    def pieces(self, rows: int) -> Iterator[NDArray[np.float64]]:
        """Give nothing."""
        yield from ()


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnRows:
    """What this party brings to the joint table."""

    features: Features
    label: Label | None
    """None at a party that does not hold it."""
    group: Label | None
    """None at a party that does not hold the group column."""
    times_N: NDArray[np.float64] | None
    """What the rows are split by; None at a party that does not hold it."""
    ids: tuple[pa.ChunkedArray, ...]
    """The id columns as text, where rows have ids."""
    fitted_by: str = ""
    """The encoding that fitted the preparation, where it is done again."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.features.rows

    def prepared(self) -> Preparation:
        """Return what prediction needs to do the same to other rows."""
        transforms = self.features.transforms if isinstance(self.features, Columns) else None
        return Preparation(
            transforms=transforms or (),
            label_classes=self.label.classes if self.label else (),
            groups=self.group.classes if self.group else (),
            label_kind=self.label.kind if self.label else "",
            label_mean=self.label.mean if self.label else 0.0,
            label_deviation=self.label.deviation if self.label else 1.0,
            fitted_by=self.fitted_by,
        )


def of_table(
    spool: Spool,
    *,
    rules: Rules,
    id_columns: Sequence[str],
    label: str,
    label_kind: str,
    label_classes: Sequence[str],
    group: str,
    split_column: str,
    prepared: Preparation | None = None,
    images: Features | None = None,
) -> OwnRows:
    """Check a party's table, and find in it what its columns are for.

    Args:
        spool: the table.
        rules: what is to be done to its features.
        id_columns: the columns that name a row.
        label: the label's column, whether this party holds it or not.
        label_kind: "binary", "classes", "number" or "auto".
        label_classes: the classes that all parties know; or none.
        group: the group column, whoever holds it; empty if there is none.
        split_column: the column that rows are split by, whoever holds it; or empty.
        prepared: how the same columns were prepared before; None to fit them to these rows.
        images: they stand for all columns, where the rows are images.

    Raises:
        ConfigError: a rule fits no column.
        DataError: a column cannot be used as it is.
    """
    names = spool.schema.names
    others = {*id_columns, label, group, split_column}
    features = images or Columns(spool, rules, others, prepared)
    return OwnRows(
        features=features,
        label=labels.prepare(
            spool.column(label),
            label,
            kind=label_kind,
            classes=label_classes,
            prepared=prepared,
        )
        if label in names
        else None,
        group=labels.prepare(spool.column(group), group, kind=labels.CLASSES, what="group column")
        if group and group in names
        else None,
        times_N=_times(spool, split_column) if split_column and split_column in names else None,
        ids=tuple(spool.column(name) for name in id_columns),
        fitted_by=prepared.fitted_by if prepared is not None else "",
    )


def _times(spool: Spool, name: str) -> NDArray[np.float64]:
    column = spool.column(name)
    if fitting.kind_of(name, column.type) == "date":
        times_N = preparation.date_part(column, "days")
    else:
        times_N = preparation.as_numbers(column, name)
    empty = int(np.isnan(times_N).sum())
    if empty:
        raise DataError(
            f"the column {name!r}, by which rows are split, is empty in {empty} of {len(times_N)} "
            "rows; fill them or split in another way"
        )
    return times_N
