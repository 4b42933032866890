"""What a request says: new rows, or the ids of matched ones; checked before anybody hears of it.

::

    {"rows": [{"age": 41, "region": "north"}, ...]}  by column, where there is a preparation
    {"rows": [[0.5, 1.25, ...], ...]}                where not: numbers in the model's shape
    {"ids": ["c-17", ...]}                           matched rows, by the receiver's id column
    {"ids": [["north", "17"], ...]}                  the same, where several columns name a row

What is said of a bad request names its columns and the places of its rows, and no value.
"""

# n = rows of a request, F = features of this party, N = matched rows.

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.predict.desk import Request
from tallystick.predict.rows import Brought, Piece, Rows
from tallystick.runtime.errors import DataError
from tallystick.tables.preparation import Number, Preparation, Transform, require_small


class Malformed(Exception):
    """A request that is none; its text is for whoever sent it."""


class Form(Brought, Protocol):
    """What a service takes of whoever asks it."""

    def read(self, content: Any) -> Request:
        """Check a request's JSON value and make a request of it.

        Raises:
            Malformed: it is not of the form.
            DataError: its values cannot be prepared.
        """

    def as_json(self) -> dict[str, Any]:
        """Say what a request must hold."""


def parse(content: bytes) -> Any:
    """Read JSON.

    Raises:
        Malformed: it is none. NaN and infinity are not JSON, though Python reads them.
    """
    try:
        return json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Malformed("the request is not valid JSON") from None


def _no_number(_: str) -> NoReturn:
    raise ValueError


def _entries(content: Any, key: str, max_rows: int) -> list[Any]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(content) != 1:
        raise Malformed(f"a request is an object with the one key {key!r}, which holds a list")
    if not 1 <= len(entries) <= max_rows:
        raise Malformed(f"{key} must hold from 1 to {max_rows} entries")
    return entries


class Columns:
    """New rows by column, prepared as the training's rows were."""

    def __init__(self, prepared: Preparation, max_rows: int) -> None:
        self._prepared = prepared
        self._kinds = {transform.column: _kind(transform) for transform in prepared.transforms}
        self.count = max_rows
        self.names = prepared.features
        self.shape: tuple[int, ...] = (len(self.names),)

    def as_json(self) -> dict[str, Any]:
        """Say what a request must hold."""
        return {"rows": {column: kind.name for column, kind in self._kinds.items()}}

    def read(self, content: Any) -> Request:
        """Check a request's JSON value and make a request of it."""
        entries = _entries(content, "rows", self.count)
        for place, entry in enumerate(entries):
            if not isinstance(entry, dict) or entry.keys() != self._kinds.keys():
                raise Malformed(
                    f"rows[{place}] must be an object with exactly the keys "
                    f"{', '.join(self._kinds)}; null stands for a missing value"
                )
        columns = {}
        for column, kind in self._kinds.items():
            values = [entry[column] for entry in entries]
            try:
                columns[column] = pa.array([kind.read(value) for value in values], kind.arrow)
            except (ValueError, OverflowError, pa.ArrowException):
                raise Malformed(f"each row's {column!r} must be {kind.name}") from None
        return Request(len(entries), self._prepared.apply(pa.table(columns)))


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    arrow: pa.DataType
    read: Callable[[Any], Any]


def _number(value: Any) -> float | None:
    if value is not None and not isinstance(value, int | float):
        raise ValueError
    return None if value is None else float(value)


def _text(value: Any) -> str | None:
    """Return a category's text; whole numbers and truth values as a table's would be written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | None):
        raise ValueError
    return None if value is None else str(value)


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is not None:
        raise ValueError
    return moment


_NUMBER = _Kind("a number or null", pa.float64(), _number)
_TEXT = _Kind("text, a whole number or null", pa.string(), _text)
_MOMENT = _Kind("an ISO 8601 date or time without a zone, or null", pa.timestamp("us"), _moment)


def _kind(transform: Transform) -> _Kind:
    if isinstance(transform, Number):
        return _MOMENT if transform.part else _NUMBER
    return _TEXT


class Values:
    """New rows in the model's own numbers."""

    names: tuple[str, ...] = ()

    def __init__(self, shape: Sequence[int], max_rows: int) -> None:
        self.count = max_rows
        self.shape = tuple(shape)

    def as_json(self) -> dict[str, Any]:
        """Say what a request must hold."""
        return {"rows": {"shape": list(self.shape)}}

    def read(self, content: Any) -> Request:
        """Check a request's JSON value and make a request of it."""
        entries = _entries(content, "rows", self.count)
        try:
            found = np.array(entries)
        except ValueError:
            found = np.empty(0)
        if found.shape[1:] != self.shape or found.dtype.kind not in "iuf":
            raise Malformed(f"each row must hold numbers in the shape {list(self.shape)}")
        values = found.reshape(len(entries), -1).astype(np.float64)
        if not np.isfinite(values).all():
            raise Malformed("a number of a row is too large")
        require_small(values, ("rows",) * values.shape[1])
        return Request(len(entries), values)


class Matched:
    """Rows that psi matched, and at the receiver their ids.

    Args:
        rows: of this party.
        max_rows: the most of a request.
    """

    def __init__(self, rows: Rows, max_rows: int) -> None:
        self.count, self.names, self.shape = rows.count, rows.names, rows.shape
        self._max_rows = max_rows
        self.values = np.empty((rows.count, math.prod(rows.shape)))
        self._place_of: dict[tuple[str, ...], int] = {}
        self._id_columns: Sequence[str] = ()
        begin = 0
        for piece in rows.pieces(1 << 16):
            self.values[begin : begin + len(piece.values)] = piece.values
            self._remember(piece, begin)
            begin += len(piece.values)

    def _remember(self, piece: Piece, begin: int) -> None:
        self._id_columns = piece.ids.column_names
        columns = [map(str, piece.ids.column(name).to_pylist()) for name in self._id_columns]
        self._place_of.update((key, begin + k) for k, key in enumerate(zip(*columns, strict=True)))

    def as_json(self) -> dict[str, Any]:
        """Say what a request must hold."""
        return {"ids": list(self._id_columns)}

    def read(self, content: Any) -> Request:
        """Check a request's JSON value and make a request of it."""
        entries = _entries(content, "ids", self._max_rows)
        keys = [tuple(e) if isinstance(e, list) else (e,) for e in entries]
        width = len(self._id_columns)
        if not all(len(key) == width and all(type(v) is str for v in key) for key in keys):
            raise Malformed(
                f"each of ids must be the text of {', '.join(self._id_columns)}"
                + (", a list of so many" if width > 1 else "")
            )
        unknown = [place for place, key in enumerate(keys) if key not in self._place_of]
        if unknown:
            raise DataError(
                f"{len(unknown)} of {len(keys)} ids are not among the matched rows, the first at "
                f"ids[{unknown[0]}]; match the new rows and start the service anew"
            )
        return Request(len(keys), places=tuple(self._place_of[key] for key in keys))

    def at(self, places: Sequence[int]) -> NDArray[np.float64]:
        """Return this party's part of some rows."""
        found: NDArray[np.float64] = self.values[list(places)]
        return found
