"""A party's table in a file without a name, to be read by column and by piece.

A table is read from where it lies once, which may be slow (text, compression, an object store).
What comes after asks for one column whole, to fit it, and then for all columns of some rows. The
file lies in the folder of the output; nobody else can open it, and the system takes it back when
the process ends, however it ends.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa

from tallystick.runtime.progress import Progress
from tallystick.tables import reading
from tallystick.tables.streaming import Restart, Source


class Spool:
    """A table with typed columns."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)
        self.rows = 0
        self.schema = pa.schema([])

    @classmethod
    def fill(cls, source: Source, folder: Path) -> Self:
        """Read a table into a new spool.

        Raises:
            DataError: the table is malformed, or has no rows.
        """
        progress = Progress("MB read", source.total_bytes >> 20)
        while True:
            spool = cls(folder)
            try:
                spool._take(source, progress)
                break
            except Restart:
                spool.close()
        if not spool.rows:
            raise reading.no_rows(source.name)
        return spool

    def _take(self, source: Source, progress: Progress) -> None:
        writer: pa.ipc.RecordBatchFileWriter | None = None
        for batch in source.batches():
            if writer is None:
                self.schema = batch.schema
                writer = pa.ipc.new_file(pa.PythonFile(self._file, "w"), self.schema)
            writer.write_batch(batch)
            self.rows += batch.num_rows
            progress.reached(source.done_bytes >> 20)
        if writer is not None:
            writer.close()

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column whole."""
        batches = list(self._batches([name]))
        return pa.chunked_array(
            [batch.column(0) for batch in batches], self.schema.field(name).type
        )

    def pieces(self, rows: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Give some columns, so many rows at a time; the last piece may be shorter."""
        held: list[pa.RecordBatch] = []
        count = 0
        for batch in self._batches(columns):
            while batch.num_rows:
                taken = batch.slice(0, rows - count)
                batch = batch.slice(taken.num_rows)
                held.append(taken)
                count += taken.num_rows
                if count == rows:
                    yield pa.Table.from_batches(held)
                    held, count = [], 0
        if held:
            yield pa.Table.from_batches(held)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        wanted = [self.schema.get_field_index(name) for name in columns]
        self._file.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
        with pa.ipc.open_file(pa.PythonFile(self._file, "r"), options=options) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(columns)
