"""Write a party's matching rows in the order that all parties share, in bounded memory.

A file that is small stands in memory. A large one is read a second time; its matching rows are cut
into pieces by their place in the result, the pieces go to a nameless file, and each part of the
result is put together from its pieces.
"""

# N = rows of the file, M = rows that match.

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from tallystick.psi.intake import OwnIds
from tallystick.runtime.progress import Progress
from tallystick.tables.arrays import numbers
from tallystick.tables.streaming import Source

TABLE = "aligned.parquet"
GROUP_ROWS = 1 << 17
"""Rows of each part of the result,"""
GROUP_BYTES = 256 << 20
"""or as many as take about this much, where rows are wide."""
PIECE_BYTES = 64 << 20
"""As much of the matching rows is in memory before it is cut into pieces."""


def write(path: Path, own: OwnIds, positions_M: NDArray[np.int64], folder: Path) -> None:
    """Write rows of a party's file as Parquet.

    Args:
        path: the file to write.
        own: this party's ids, and where they came from.
        positions_M: rows of the file, in the order in which they are to stand.
        folder: where what has no room in memory is spilled.
    """
    if own.held is not None:
        table = pa.Table.from_batches(own.held).combine_chunks()
        with parquet.ParquetWriter(path, table.schema) as writer:
            for start in range(0, max(len(positions_M), 1), GROUP_ROWS):
                writer.write_table(table.take(numbers(positions_M[start : start + GROUP_ROWS])))
        return
    places_N = np.full(own.rows, -1, dtype=np.int64)
    places_N[positions_M] = np.arange(len(positions_M))
    _Pieces(own.source, places_N, len(positions_M), folder).write(path)


class _Pieces:
    """The matching rows of a large file, on their way into order."""

    def __init__(
        self, source: Source, places_N: NDArray[np.int64], matched: int, folder: Path
    ) -> None:
        self._source = source
        self._places_N = places_N
        self._matched = matched
        self._file = tempfile.TemporaryFile(dir=folder)
        self._pieces_of_group: dict[int, list[tuple[int, NDArray[np.int64]]]] = defaultdict(list)
        self._num_pieces = 0
        self._group_rows = GROUP_ROWS

    def write(self, path: Path) -> None:
        progress = Progress("rows written", self._matched)
        with self._file:
            schema = self._cut()
            self._file.seek(0)
            with (
                parquet.ParquetWriter(path, schema) as writer,
                pa.ipc.open_file(pa.PythonFile(self._file, "r")) as pieces,
            ):
                for group in range(-(-self._matched // self._group_rows)):
                    found = self._pieces_of_group[group]
                    table = pa.Table.from_batches([pieces.get_batch(n) for n, _ in found], schema)
                    places = np.concatenate([places for _, places in found])
                    writer.write_table(table.combine_chunks().take(numbers(np.argsort(places))))
                    progress.add(len(places))
        progress.end()

    def _cut(self) -> pa.Schema:
        """Read the file again and spill the pieces; return the schema."""
        start, bytes_held = 0, 0
        held: list[tuple[pa.RecordBatch, NDArray[np.int64]]] = []
        writer: pa.ipc.RecordBatchFileWriter | None = None
        schema = None
        progress = Progress("MB read again", self._source.total_bytes >> 20)
        for batch in self._source.batches():
            if writer is None:
                schema = batch.schema
                writer = pa.ipc.new_file(pa.PythonFile(self._file, "w"), schema)
                self._group_rows = max(1, min(GROUP_ROWS, GROUP_BYTES // (8 * len(schema))))
            places = self._places_N[start : start + batch.num_rows]
            start += batch.num_rows
            chosen = np.flatnonzero(places >= 0)
            if len(chosen):
                part = batch.take(numbers(chosen))
                held.append((part, places[chosen]))
                bytes_held += part.nbytes
            if bytes_held > PIECE_BYTES:
                self._spill(held, writer)
                held, bytes_held = [], 0
            progress.reached(self._source.done_bytes >> 20)
        assert writer is not None
        if held:
            self._spill(held, writer)
        writer.close()
        return schema

    def _spill(
        self,
        held: list[tuple[pa.RecordBatch, NDArray[np.int64]]],
        writer: pa.ipc.RecordBatchFileWriter,
    ) -> None:
        places = np.concatenate([places for _, places in held])
        order = np.argsort(places)
        table = pa.Table.from_batches([batch for batch, _ in held]).combine_chunks()
        (batch,) = table.take(numbers(order)).combine_chunks().to_batches()
        places = places[order]
        groups, starts = np.unique(places // self._group_rows, return_index=True)
        ends = np.append(starts[1:], len(places))
        for group, start, end in zip(groups, starts, ends, strict=True):
            writer.write_batch(batch.slice(start, end - start))
            self._pieces_of_group[int(group)].append((self._num_pieces, places[start:end]))
            self._num_pieces += 1
