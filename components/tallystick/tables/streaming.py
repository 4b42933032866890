"""Read a party's table piece by piece, as often as needed, in bounded memory.

What may stand in a file and what is said of a bad one is in :mod:`tallystick.tables.reading`.
Arrow guesses the type of a CSV column from its first piece. Where a later piece does not fit, the
column alone is read whole to find its type, and the reading has to begin again: :class:`Restart`.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from tallystick.runtime.addresses import name_of
from tallystick.runtime.errors import DataError
from tallystick.tables import files, reading
from tallystick.tables.dialect import Dialect
from tallystick.tables.files import File

CSV_BLOCK_BYTES = 8 << 20
PARQUET_BATCH_ROWS = 1 << 16
PARQUET_BATCH_BYTES = 64 << 20
"""Of a table so wide that so many rows take more, fewer rows are read at once."""
_MISFIT = re.compile(r"In CSV column #(\d+):")


class Restart(Exception):
    """A column's type was not what the first piece had shown: read from the start again."""


class Source:
    """A table that is read piece by piece: a file, or the files of a folder one after the other.

    Args:
        location: of CSV or Parquet files, here or in an object store.
        id_columns: names of the columns that are read as text.
        dialect: how its owner says that it is written.

    Raises:
        DataError: the table is missing or empty.
    """

    def __init__(
        self, location: str | Path, id_columns: Sequence[str], dialect: Dialect | None = None
    ) -> None:
        self.id_columns = tuple(id_columns)
        self.name = name_of(location)
        self._dialect = dialect or Dialect()
        self._files = files.find(location)
        self._parquet_files = {file.path for file in self._files if reading.is_parquet(file)}
        self.total_bytes = sum(file.total_bytes for file in self._files)
        self.done_bytes = 0
        """About how far the reading is."""
        self._types: dict[str, pa.DataType] = {}
        self._stamps = [file.stamp() for file in self._files]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the table from its start.

        Yields:
            pieces of one row or more, all of one schema; none where the table has no rows.

        Raises:
            Restart: begin again; at most once for each column.
            DataError: a file is malformed, or changed since it was opened.
        """
        self.done_bytes = 0
        schema: pa.Schema | None = None
        for file in self._files:
            before = self.done_bytes
            pieces = self._parquet if file.path in self._parquet_files else self._csv
            for batch in pieces(file, before):
                if not batch.num_rows:
                    continue
                found = reading.declared(batch, self._dialect, self.id_columns)
                schema = schema or found.schema
                yield found if found.schema == schema else self._as_before(found, schema, file)
            self.done_bytes = before + file.total_bytes
        if [file.stamp() for file in self._files] != self._stamps:
            raise DataError(
                f"{self.name!r} was changed while it was read; leave it alone until the step "
                "has ended, and start again"
            )

    def _as_before(self, batch: pa.RecordBatch, schema: pa.Schema, file: File) -> pa.RecordBatch:
        """Give a later file's columns the order and the types of the first file's."""
        if set(batch.schema.names) != set(schema.names):
            raise DataError(
                f"{file.name!r} has not the columns of {self._files[0].name!r}; all files of a "
                "folder must hold the same columns"
            )
        batch = batch.select(schema.names)
        for index, field in enumerate(schema):
            if batch.schema.field(index).type == field.type:
                continue
            try:
                batch = batch.set_column(index, field, batch.column(index).cast(field.type))
            except pa.ArrowException:
                raise DataError(
                    f"column {field.name!r} of {file.name!r} has another type than in "
                    f"{self._files[0].name!r}; declare it in reading.types, or write the files "
                    "alike"
                ) from None
        return batch

    def _parquet(self, file: File, before: int) -> Iterator[pa.RecordBatch]:
        try:
            with file.open() as opened, parquet.ParquetFile(opened) as content:
                reading.check_names(content.schema_arrow.names, self.id_columns, file.name)
                total, done = content.metadata.num_rows, 0
                width = 8 * max(content.metadata.num_columns, 1)
                rows = max(1, min(PARQUET_BATCH_ROWS, PARQUET_BATCH_BYTES // width))
                for batch in content.iter_batches(rows, use_threads=False):
                    table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
                    # One batch has one chunk.
                    (found,) = reading.plain(table, self.id_columns, file.name).to_batches()
                    done += batch.num_rows
                    self.done_bytes = before + file.total_bytes * done // max(total, 1)
                    yield found
        except reading.UNREADABLE:
            raise reading.damaged_parquet(file.name) from None

    def _csv(self, file: File, before: int) -> Iterator[pa.RecordBatch]:
        malformed: list[csv.InvalidRow] = []
        options = reading.csv_options(file, self._dialect, self.id_columns, malformed, self._types)
        options["read_options"].block_size = CSV_BLOCK_BYTES
        schema: pa.Schema | None = None
        try:
            with file.open() as opened, csv.open_csv(file.plain(opened), **options) as reader:
                schema = reader.schema
                reading.check_names(schema.names, self.id_columns, file.name)
                for batch in reader:
                    self.done_bytes = before + opened.tell()
                    yield batch
        except reading.UNREADABLE as error:
            misfit = _MISFIT.search(str(error))
            if misfit is None or malformed:
                raise reading.unreadable_csv(file.name, malformed) from None
            number = int(misfit[1])
            if schema is None:  # it stood in the first piece
                raise self._misfit(file, number) from None
            raise self._learnt(file, schema.field(number)) from None

    def _misfit(self, file: File, number: int) -> DataError:
        """Say what is wrong with a column that is not of the type which it was to have."""
        names = self._dialect.header_of(file.head(plain=True), file.name)
        kind = self._dialect.types.get(names[number]) if number < len(names) else None
        if kind is None:
            return reading.unreadable_csv(file.name, ())
        return reading.not_as_declared(names[number], kind)

    def _learnt(self, file: File, guessed: pa.Field) -> Restart | DataError:
        """Find the type of a column from all of it; return what is to be raised."""
        if guessed.name in self._dialect.types:
            return reading.not_as_declared(guessed.name, self._dialect.types[guessed.name])
        malformed: list[csv.InvalidRow] = []
        options = reading.csv_options(file, self._dialect, self.id_columns, malformed)
        options["convert_options"].include_columns = [guessed.name]
        try:
            with file.open() as opened:
                column = csv.read_csv(file.plain(opened), **options)
            found = column.schema.field(0).type
        except reading.UNREADABLE:
            return reading.unreadable_csv(file.name, malformed)
        if guessed.name in self.id_columns or found == guessed.type:
            return reading.unreadable_csv(file.name, malformed)
        self._types[guessed.name] = found
        return Restart()


def read(
    location: str | Path, id_columns: Sequence[str], dialect: Dialect | None = None
) -> pa.Table:
    """Read a table whole.

    Returns:
        pyarrow Table of one row or more, its column names unique.

    Raises:
        DataError: it is missing, empty or malformed, a name stands twice, an id column is missing
            or has a type that has no one text form.
    """
    source = Source(location, id_columns, dialect)
    while True:
        try:
            batches = list(source.batches())
            break
        except Restart:
            continue
    if not batches:
        raise reading.no_rows(source.name)
    return pa.Table.from_batches(batches)
