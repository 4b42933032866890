"""Read a party's CSV or Parquet file whole: ids as they are written, and no value in any error.

Id columns are text from the first moment on, so that ``007`` and ``7`` stay two ids. The other
columns get the types that the file holds (Parquet) or shows (CSV). A file that is too large for
that is read piece by piece: see :mod:`tallystick.tables.streaming`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from tallystick.runtime.errors import DataError

# UnicodeDecodeError is what a byte that is no text gives when it stands in the header.
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
_PARQUET_MAGIC = b"PAR1"
# pandas writes its row index as a column of this name.
_INDEX_COLUMN = "__index_level_"
_LOOKS_LIKE_A_NAME = re.compile(r"[^\W\d][\w .()/%-]{0,63}")
_MOST_NAMES_SHOWN = 40


def read(path: Path, id_columns: Sequence[str]) -> pa.Table:
    """Read a CSV or Parquet file; which of the two it is shows in its first bytes.

    Args:
        path: the file. CSV is UTF-8, separated by commas, with column names in the first row;
            an ending such as ``.gz`` means that it is compressed.
        id_columns: names of the columns that are read as text.

    Returns:
        pyarrow Table of one row or more, its column names unique.

    Raises:
        DataError: the file is missing, empty or malformed, a name stands twice, an id column is
            missing or has a type that has no one text form.
    """
    table = _read_parquet(path, id_columns) if is_parquet(path) else _read_csv(path, id_columns)
    if table.num_rows == 0:
        raise no_rows(path)
    return table


def is_parquet(path: Path) -> bool:
    """Say whether a file is Parquet, by its first bytes; what is not is taken for CSV.

    Raises:
        DataError: the file is missing, empty, no file, or Parquet by its name alone.
    """
    if not path.exists():
        raise DataError(f"there is no file {path.name!r}; check the data path")
    if not path.is_file():
        raise DataError(f"{path.name!r} is not a file; give the path of a CSV or Parquet file")
    try:
        with path.open("rb") as file:
            start = file.read(len(_PARQUET_MAGIC))
    except OSError:
        raise DataError(f"{path.name!r} cannot be opened; check its permissions") from None
    if not start:
        raise DataError(f"{path.name!r} is empty; check that it was written")
    if start != _PARQUET_MAGIC and path.suffix in (".parquet", ".pq"):
        raise DataError(f"{path.name!r} is not a Parquet file, whatever its name; write it again")
    return start == _PARQUET_MAGIC


def csv_options(
    id_columns: Sequence[str],
    malformed: list[csv.InvalidRow],
    types: Mapping[str, pa.DataType] | None = None,
) -> dict[str, Any]:
    """Return Arrow's options for a party's CSV file.

    Args:
        id_columns: these are text.
        malformed: takes the first row that has not the right number of fields.
        types: of other columns that are not to be guessed, by name.
    """

    def keep(row: csv.InvalidRow) -> str:
        malformed.append(row)
        return "error"

    known = {**(types or {}), **dict.fromkeys(id_columns, pa.string())}
    return {
        # One thread, for only then does Arrow know the number of a malformed row.
        "read_options": csv.ReadOptions(use_threads=False),
        "parse_options": csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
        "convert_options": csv.ConvertOptions(column_types=known),
    }


def unreadable_csv(path: Path, malformed: Sequence[csv.InvalidRow]) -> DataError:
    """Say what is wrong with a CSV file. Arrow's own messages quote the row: they go no further."""
    if malformed:
        row = malformed[0]
        return DataError(
            f"row {row.number} of {path.name!r} has {row.actual_columns} fields where the "
            f"first row has {row.expected_columns} (the header is row 1, blank lines are not "
            "counted); mend that row, or quote the fields that hold a comma"
        )
    return DataError(
        f"{path.name!r} cannot be read as CSV; save it as comma-separated text in UTF-8"
    )


def damaged_parquet(path: Path) -> DataError:
    """Say that a Parquet file cannot be read."""
    return DataError(f"{path.name!r} is a damaged Parquet file; write it again")


def no_rows(path: Path) -> DataError:
    """Say that a file is empty but for its header."""
    return DataError(f"{path.name!r} has column names but no rows; check that it was written")


def _read_csv(path: Path, id_columns: Sequence[str]) -> pa.Table:
    malformed: list[csv.InvalidRow] = []
    try:
        table = csv.read_csv(str(path), **csv_options(id_columns, malformed))
        names = table.column_names
    except UNREADABLE:
        raise unreadable_csv(path, malformed) from None
    check_names(names, id_columns, path.name)
    return table


def _read_parquet(path: Path, id_columns: Sequence[str]) -> pa.Table:
    try:
        with parquet.ParquetFile(path) as file:
            check_names(file.schema_arrow.names, id_columns, path.name)
            table = file.read().replace_schema_metadata(None)
        return plain(table, id_columns, path.name)
    except UNREADABLE:
        raise damaged_parquet(path) from None


def plain(table: pa.Table, id_columns: Sequence[str], file: str) -> pa.Table:
    """Return a Parquet table with its ids as text, and no column as a dictionary."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            decoded = table.column(index).cast(field.type.value_type)
            table = table.set_column(index, field.name, decoded)
    for name in id_columns:
        text = _as_text(table.column(name), name, file)
        table = table.set_column(table.column_names.index(name), name, text)
    return table


def _as_text(column: pa.ChunkedArray, name: str, file: str) -> pa.ChunkedArray:
    kind = column.type
    # What pandas writes for a date has a time of day, which is midnight.
    if pa.types.is_timestamp(kind) and kind.tz is None:
        dates = column.cast(pa.date32())
        if pc.all(pc.equal(dates.cast(kind), column), min_count=0).as_py():
            return dates.cast(pa.string())
    # A binary fraction has no one text form: 7.0 at one party may be 7 at another.
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_date(kind)
        or (pa.types.is_decimal(kind) and kind.scale == 0)
    ):
        raise DataError(
            f"the id column {name!r} of {file!r} has the type {kind}; "
            "store ids as text, whole numbers or dates"
        )
    return column.cast(pa.string())


def check_names(names: Sequence[str], id_columns: Sequence[str], file: str) -> None:
    """Refuse what cannot be told apart or found by name."""
    for number, name in enumerate(names, start=1):
        if not name.strip() or name.startswith(_INDEX_COLUMN):
            raise DataError(
                f"column {number} of {file!r} has no name (a row index that was saved along?); "
                "name it or leave it out"
            )
    missing = [name for name in id_columns if name not in names]
    if missing:
        raise DataError(f"{file!r} has no column {missing[0]!r}; {_those_there_are(names)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{file!r} has more than one column {twice[0]!r}; rename or drop all but one"
        )


def _those_there_are(names: Sequence[str]) -> str:
    # A file without a header would show its first row here, which is data.
    if not all(_LOOKS_LIKE_A_NAME.fullmatch(name) for name in names):
        return "its first row must hold the column names, separated by commas, and does not seem to"
    more = len(names) - _MOST_NAMES_SHOWN
    shown = ", ".join(names[:_MOST_NAMES_SHOWN])
    return f"its columns are {shown}" + (f" and {more} more" if more > 0 else "")
