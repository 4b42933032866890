"""A party's new rows, read piece by piece and prepared as the training rows were.

What is wrong with them is said before anybody is dialled: which columns are missing, and which hold
something else than they did.
"""

# n = rows of a piece, F = features of this party.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError
from tallystick.tables import fitting, image_files
from tallystick.tables.dialect import Dialect
from tallystick.tables.images import ImageRules, ImageSet
from tallystick.tables.preparation import Number, Preparation
from tallystick.tables.spool import Spool
from tallystick.tables.streaming import Source

TABLE = "aligned.parquet"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a party."""

    values: NDArray[np.float64]
    """[n, F], prepared; of an image all its pixels, channel by channel."""
    ids: pa.Table
    """The id columns; none where rows have no ids."""


class Brought(Protocol):
    """What is known of the rows that a party brings."""

    count: int
    names: tuple[str, ...]
    """Of the features, where they are columns."""
    shape: tuple[int, ...]


class Rows(Brought, Protocol):
    """Rows that can be read."""

    def pieces(self, rows: int) -> Iterator[Piece]:
        """Give so many rows at a time."""


class Table:
    """Rows of a table.

    Args:
        spool: the table.
        name: what messages call it.
        id_columns: the columns that name a row.
        prepared: how the columns were prepared for training; None to take numbers as they are.

    Raises:
        DataError: its columns are not those that were prepared.
    """

    def __init__(
        self, spool: Spool, name: str, id_columns: Sequence[str], prepared: Preparation | None
    ) -> None:
        self._spool = spool
        self._ids = list(id_columns)
        self.count = spool.rows
        if prepared is None:
            names = [name for name in spool.schema.names if name not in self._ids]
            prepared = Preparation(transforms=tuple(Number(column=n, fill=None) for n in names))
        fitting.require_schema(prepared, spool.schema, name)
        self._prepared = prepared
        self.names = prepared.features
        self.shape: tuple[int, ...] = (len(self.names),)

    def pieces(self, rows: int) -> Iterator[Piece]:
        """Give so many rows at a time."""
        own = [transform.column for transform in self._prepared.transforms]
        for table in self._spool.pieces(rows, list(dict.fromkeys([*self._ids, *own]))):
            yield Piece(self._prepared.apply(table), table.select(self._ids))


class Images:
    """Rows that are images."""

    names: tuple[str, ...] = ()

    def __init__(self, found: ImageSet) -> None:
        self._images = found
        self.count = found.rows
        self.shape: tuple[int, ...] = found.shape

    def pieces(self, rows: int) -> Iterator[Piece]:
        """Give so many images at a time."""
        for begin in range(0, self.count, rows):
            yield Piece(self._images.block(slice(begin, begin + rows)), pa.table({}))


def open_rows(
    folder: Path,
    *,
    aligned: Path | None,
    data: str,
    id_columns: Sequence[str],
    prepared: str,
    reading: Mapping[str, Any],
    rules: Mapping[str, Any],
) -> Rows | None:
    """Open what a party brings; None if it brings nothing.

    Args:
        folder: where a table is spilled that has no room in memory.
        aligned: the artifact of psi; or None.
        data: where a table or images lie; or empty.
        id_columns: the columns that name a row.
        prepared: the artifact of encode; or empty.
        reading: how a table is written.
        rules: what is done to images.

    Raises:
        ConfigError: a rule is no rule.
        DataError: a file is malformed, or does not fit its preparation.
    """
    if data and image_files.holds_images(data):
        found = image_files.open_set(data, ImageRules.parse(rules))
        if not isinstance(found, ImageSet):
            raise DataError(f"{Path(data).name!r} holds labels and no images")
        return Images(found)
    fitted = Preparation.read(Path(prepared)) if prepared else None
    if aligned is not None:
        source = Source(aligned / TABLE, id_columns)
    elif data:
        source = Source(data, id_columns, Dialect.parse(reading))
    else:
        return None
    return Table(Spool.fill(source, folder), source.name, id_columns, fitted)
