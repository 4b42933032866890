"""Read a party's CSV or Parquet file piece by piece, as often as needed, in bounded memory.

What may stand in a file and what is said of a bad one are as in :mod:`tallystick.tables.reading`.
Arrow guesses the type of a CSV column from its first piece. Where a later piece does not fit, the
column alone is read whole to find its type, and the reading has to begin again: :class:`Restart`.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from tallystick.runtime.errors import DataError
from tallystick.tables import reading

CSV_BLOCK_BYTES = 8 << 20
PARQUET_BATCH_ROWS = 1 << 16
_MISFIT = re.compile(r"In CSV column #(\d+):")


class Restart(Exception):
    """A column's type was not what the first piece had shown: read from the start again."""


class Source:
    """A file that is read piece by piece.

    Args:
        path: CSV or Parquet.
        id_columns: names of the columns that are read as text.

    Raises:
        DataError: the file is missing or empty.
    """

    def __init__(self, path: Path, id_columns: Sequence[str]) -> None:
        self.path = path
        self.id_columns = tuple(id_columns)
        self.total_bytes = path.stat().st_size if path.is_file() else 0
        self.done_bytes = 0
        """About how far the reading is."""
        self._is_parquet = reading.is_parquet(path)
        self._types: dict[str, pa.DataType] = {}
        self._state = self._stamp()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the file from its start.

        Yields:
            pieces of one row or more, all of one schema; none where the file has no rows.

        Raises:
            Restart: begin again; at most once for each column.
            DataError: the file is malformed, or changed since it was opened.
        """
        self.done_bytes = 0
        for batch in self._parquet() if self._is_parquet else self._csv():
            if batch.num_rows:
                yield batch
        if self._stamp() != self._state:
            raise DataError(
                f"{self.path.name!r} was changed while it was read; leave it alone until the step "
                "has ended, and start again"
            )

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self.path)
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_size, found.st_mtime_ns)

    def _parquet(self) -> Iterator[pa.RecordBatch]:
        name = self.path.name
        try:
            with parquet.ParquetFile(self.path) as file:
                reading.check_names(file.schema_arrow.names, self.id_columns, name)
                total, done = file.metadata.num_rows, 0
                for batch in file.iter_batches(PARQUET_BATCH_ROWS, use_threads=False):
                    table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
                    # One batch has one chunk.
                    (found,) = reading.plain(table, self.id_columns, name).to_batches()
                    done += batch.num_rows
                    self.done_bytes = self.total_bytes * done // max(total, 1)
                    yield found
        except reading.UNREADABLE:
            raise reading.damaged_parquet(self.path) from None

    def _csv(self) -> Iterator[pa.RecordBatch]:
        malformed: list[csv.InvalidRow] = []
        options = reading.csv_options(self.id_columns, malformed, self._types)
        options["read_options"].block_size = CSV_BLOCK_BYTES
        schema: pa.Schema | None = None
        try:
            with (
                pa.OSFile(str(self.path)) as file,
                csv.open_csv(_plain(file, self.path), **options) as reader,
            ):
                schema = reader.schema
                reading.check_names(schema.names, self.id_columns, self.path.name)
                for batch in reader:
                    self.done_bytes = file.tell()
                    yield batch
        except reading.UNREADABLE as error:
            misfit = _MISFIT.search(str(error))
            if misfit is None or malformed or schema is None:
                raise reading.unreadable_csv(self.path, malformed) from None
            self._learn_type(schema.field(int(misfit[1])))
            raise Restart from None

    def _learn_type(self, guessed: pa.Field) -> None:
        """Find the type of a column from all of it."""
        malformed: list[csv.InvalidRow] = []
        options = reading.csv_options(self.id_columns, malformed)
        options["convert_options"].include_columns = [guessed.name]
        try:
            found = csv.read_csv(str(self.path), **options).schema.field(0).type
        except reading.UNREADABLE:
            raise reading.unreadable_csv(self.path, malformed) from None
        if guessed.name in self.id_columns or found == guessed.type:
            raise reading.unreadable_csv(self.path, malformed)
        self._types[guessed.name] = found


def _plain(file: pa.NativeFile, path: Path) -> pa.NativeFile:
    """Return a file's content, decompressed if its name says that it is compressed."""
    try:
        codec = pa.Codec.detect(str(path))
    except (TypeError, ValueError, pa.ArrowException):
        return file  # it names none
    return pa.CompressedInputStream(file, codec.name)
