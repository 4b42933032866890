"""How a party's CSV or Parquet file is read: ids as they are written, no value in any error.

Id columns are text from the first moment on, so that ``007`` and ``7`` stay two ids. The other
columns get the types that the job declares, or else those that the file holds (Parquet) or shows
(CSV). Files are read piece by piece: see :mod:`tallystick.tables.streaming`.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from tallystick.runtime.errors import DataError
from tallystick.tables.dialect import Dialect, not_text
from tallystick.tables.files import File

# UnicodeDecodeError is what a byte that is no text gives when it stands in the header.
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "#N/A"]
"""What stands for no value in a CSV column of numbers or dates."""
_PARQUET_MAGIC = b"PAR1"
# pandas writes its row index as a column of this name.
_INDEX_COLUMN = "__index_level_"
_LOOKS_LIKE_A_NAME = re.compile(r"[^\W\d][\w .()/%-]{0,63}")
_TYPES = {"number": pa.float64(), "category": pa.string(), "date": pa.timestamp("s")}


def is_parquet(file: File) -> bool:
    """Say whether a file is Parquet, by its first bytes; what is not is taken for CSV.

    Raises:
        DataError: the file is empty, or Parquet by its name alone.
    """
    start = file.head(plain=False)[: len(_PARQUET_MAGIC)]
    if not start:
        raise DataError(f"{file.name!r} is empty; check that it was written")
    if start != _PARQUET_MAGIC and file.name.endswith((".parquet", ".pq")):
        raise DataError(f"{file.name!r} is not a Parquet file, whatever its name; write it again")
    return start == _PARQUET_MAGIC


def csv_options(
    file: File,
    dialect: Dialect,
    id_columns: Sequence[str],
    malformed: list[csv.InvalidRow],
    types: Mapping[str, pa.DataType] | None = None,
) -> dict[str, Any]:
    """Return Arrow's options for a party's CSV file.

    Args:
        file: its beginning shows its delimiter and its encoding.
        dialect: what its owner declares.
        id_columns: these are text.
        malformed: takes the first row that has not the right number of fields.
        types: of other columns that are not to be guessed, by name.
    """

    def keep(row: csv.InvalidRow) -> str:
        malformed.append(row)
        return "error"

    head = file.head(plain=True)
    declared = {name: arrow_type(kind) for name, kind in dialect.types.items()}
    known = {**declared, **(types or {}), **dict.fromkeys(id_columns, pa.string())}
    forms = [kind.removeprefix("date:") for kind in dialect.types.values() if ":" in kind]
    return {
        # One thread, for only then does Arrow know the number of a malformed row.
        "read_options": csv.ReadOptions(use_threads=False, encoding=dialect.encoding_of(head)),
        "parse_options": csv.ParseOptions(
            delimiter=dialect.delimiter_of(head, file.name),
            quote_char=dialect.quote or False,
            newlines_in_values=bool(dialect.quote),
            invalid_row_handler=keep,
        ),
        "convert_options": csv.ConvertOptions(
            column_types=known,
            null_values=[*MISSING, *dialect.missing],
            decimal_point=dialect.decimal,
            timestamp_parsers=[csv.ISO8601, *dict.fromkeys(forms)],
        ),
    }


def arrow_type(kind: str) -> pa.DataType:
    """Return the type of a column that is declared a number, a category or a date."""
    return _TYPES[kind.partition(":")[0]]


def declared(batch: pa.RecordBatch, dialect: Dialect, ids: Sequence[str]) -> pa.RecordBatch:
    """Return a piece with the types and the missing values that its owner declares.

    Raises:
        DataError: a column cannot be turned into what was declared.
    """
    for index, field in enumerate(batch.schema):
        if field.name in ids:
            continue
        column, kind = batch.column(index), dialect.types.get(field.name)
        if dialect.missing and (
            pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ):
            gone = pc.is_in(column, value_set=pa.array(dialect.missing, field.type))
            column = pc.if_else(gone, pa.scalar(None, field.type), column)
        if kind is not None:
            column = _cast(column, field.name, kind)
        if column is not batch.column(index):
            batch = batch.set_column(index, field.name, column)
    return batch


def _cast(column: pa.Array, name: str, kind: str) -> pa.Array:
    try:
        if kind.startswith("date:") and pa.types.is_string(column.type):
            return pc.strptime(column, format=kind.removeprefix("date:"), unit="s")
        return column.cast(arrow_type(kind))
    except pa.ArrowException:
        raise not_as_declared(name, kind) from None


def not_as_declared(name: str, kind: str) -> DataError:
    """Say that a column is not what ``reading.types`` says."""
    return DataError(
        f"column {name!r} holds values that are no {kind}, as reading.types declares it; correct "
        "them, or name what stands for no value in reading.missing"
    )


def unreadable_csv(name: str, malformed: Sequence[csv.InvalidRow]) -> DataError:
    """Say what is wrong with a CSV file. Arrow's own messages quote the row: they go no further."""
    if malformed:
        row = malformed[0]
        return DataError(
            f"row {row.number} of {name!r} has {row.actual_columns} fields where the "
            f"first row has {row.expected_columns} (the header is row 1, blank lines are not "
            "counted); mend that row, or quote the fields that hold the delimiter"
        )
    return not_text(name)


def damaged_parquet(name: str) -> DataError:
    """Say that a Parquet file cannot be read."""
    return DataError(f"{name!r} is a damaged Parquet file; write it again")


def no_rows(name: str) -> DataError:
    """Say that a file is empty but for its header."""
    return DataError(f"{name!r} has column names but no rows; check that it was written")


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


def check_names(names: Sequence[str], wanted: Sequence[str], file: str) -> None:
    """Refuse what cannot be told apart, and a table that lacks a column that must be there."""
    for number, name in enumerate(names, start=1):
        if not name.strip() or name.startswith(_INDEX_COLUMN):
            raise DataError(
                f"column {number} of {file!r} has no name (a row index that was saved along?); "
                "name it or leave it out"
            )
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(f"{file!r} has no column {missing[0]!r}; {_advice(missing[0], names)}")
    places: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        # By its place, for without a header the name would be a value of the first row.
        if (before := places.setdefault(name, number)) != number:
            raise DataError(
                f"columns {before} and {number} of {file!r} have the same name; rename or drop "
                "all but one"
            )


def _advice(missing: str, names: Sequence[str]) -> str:
    # Of a file without a header this is the first row, which is data: it is not shown.
    if not all(_LOOKS_LIKE_A_NAME.fullmatch(name) for name in names):
        return "its first row must hold the column names, separated by commas, and does not seem to"
    known = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(missing.casefold(), known, n=1)
    meant = f"did you mean {known[close[0]]!r}? " if close else ""
    return f"{meant}`tallystick inspect` shows its owner the columns that it has"
