"""Records in the order of their bytes, however many: sorted runs on disk, merged by range.

A record is a key of fixed width and the number of a row. The first bytes of a key look random, so
equal ranges of the space of keys hold about as many records each, and a range is merged by sorting
the few records that each run has in it.

What is spilled goes to a file without a name in the folder of the output. The system takes its
space back when this process ends, however it ends, and nobody else can open it.
"""

# N = records, W = bytes of a key.

import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallystick.runtime.dealer.intersection import MAX_RANGES, leading
from tallystick.runtime.errors import DataError

Keys = NDArray[np.uint8]
Rows = NDArray[np.int64]

RUN_RECORDS = 1 << 20
HELD_BYTES = 128 << 20
"""As much is kept in memory before the first run goes to disk."""


def raw(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a contiguous array, to be read or filled in place."""
    assert array.flags.c_contiguous
    return array.reshape(-1).view(np.uint8).data


class SpillFile:
    """A nameless file for arrays."""

    def __init__(self, folder: Path) -> None:
        # Unbuffered: every array goes through the file's own calls.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self._end = 0

    def write(self, array: NDArray[Any]) -> int:
        """Append an array's bytes; return where they begin."""
        content, start = raw(np.ascontiguousarray(array)), self._end
        try:
            while len(content):
                written = os.pwrite(self._file.fileno(), content, self._end)
                content, self._end = content[written:], self._end + written
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(
                "the disk of the output's folder is full; make room on it, about 50 bytes for "
                "each row, and start again"
            ) from None
        return start

    def read(self, array: NDArray[Any], start: int) -> None:
        """Fill an array with bytes from the file."""
        content = raw(array)
        while len(content):
            count = os.preadv(self._file.fileno(), [content], start)
            assert count, "the file ends before its content"
            content, start = content[count:], start + count

    def close(self) -> None:
        """Give the space back."""
        self._file.close()


@dataclass(slots=True)
class _Run:
    edges: NDArray[np.int64]
    """Where each of :data:`MAX_RANGES` ranges begins, and the end."""
    keys: Keys | None
    rows: Rows | None
    keys_at: int = 0
    rows_at: int = 0


class SortedRuns:
    """Takes records in any order and gives them back in the order of their keys.

    Args:
        width: bytes of a key, a multiple of eight.
        folder: where runs are spilled.
    """

    def __init__(self, width: int, folder: Path) -> None:
        self.count = 0
        self._width = width
        self._folder = folder
        self._file: SpillFile | None = None
        self._runs: list[_Run] = []
        self._held_bytes = 0
        self._pending: list[tuple[Keys, Rows]] = []
        self._pending_records = 0

    def add(self, keys_NW: Keys, rows_N: Rows) -> None:
        """Take records."""
        self._pending.append((keys_NW, rows_N))
        self._pending_records += len(rows_N)
        self.count += len(rows_N)
        if self._pending_records >= RUN_RECORDS:
            self._close_run()

    def counts(self, ranges: int) -> list[int]:
        """Return how many records are in each of so many ranges (a power of two)."""
        self._close_run()
        total = np.zeros(ranges, dtype=np.int64)
        for run in self._runs:
            total += np.diff(run.edges[:: MAX_RANGES // ranges])
        return [int(count) for count in total]

    def merged(self, ranges: int) -> Iterator[tuple[Keys, Rows]]:
        """Give the records of each range in turn, in the order of their keys.

        Args:
            ranges: how many; a power of two of at most :data:`MAX_RANGES`.
        """
        self._close_run()
        step = MAX_RANGES // ranges
        for start in range(0, MAX_RANGES, step):
            parts = [self._part(run, start, start + step) for run in self._runs]
            parts = [part for part in parts if len(part[1])]
            if len(parts) == 1:
                yield parts[0]  # a run is sorted
                continue
            keys = [keys_KW for keys_KW, _ in parts] or [self._empty()[0]]
            rows = [rows_K for _, rows_K in parts] or [self._empty()[1]]
            yield _sorted(np.concatenate(keys), np.concatenate(rows))

    def close(self) -> None:
        """Forget everything."""
        self._runs.clear()
        self._pending.clear()
        if self._file is not None:
            self._file.close()

    def _close_run(self) -> None:
        if not self._pending:
            return
        keys_NW, rows_N = _sorted(
            np.concatenate([keys for keys, _ in self._pending]),
            np.concatenate([rows for _, rows in self._pending]),
        )
        self._pending, self._pending_records = [], 0
        width = (1 << 64) // MAX_RANGES
        starts = np.arange(MAX_RANGES, dtype=np.uint64) * np.uint64(width)
        edges = np.append(np.searchsorted(leading(keys_NW), starts), len(rows_N))
        self._runs.append(_Run(edges.astype(np.int64), keys_NW, rows_N))
        self._held_bytes += keys_NW.nbytes + rows_N.nbytes
        if self._held_bytes > HELD_BYTES:
            self._spill()

    def _spill(self) -> None:
        """Write out what is in memory; from now on every run is, at once."""
        self._file = self._file or SpillFile(self._folder)
        for run in self._runs:
            if run.keys is not None and run.rows is not None:
                run.keys_at, run.rows_at = self._file.write(run.keys), self._file.write(run.rows)
                run.keys = run.rows = None

    def _part(self, run: _Run, first: int, last: int) -> tuple[Keys, Rows]:
        start, end = int(run.edges[first]), int(run.edges[last])
        if run.keys is not None and run.rows is not None:
            return run.keys[start:end], run.rows[start:end]
        assert self._file is not None
        keys_KW = np.empty((end - start, self._width), dtype=np.uint8)
        rows_K = np.empty(end - start, dtype=np.int64)
        self._file.read(keys_KW, run.keys_at + start * self._width)
        self._file.read(rows_K, run.rows_at + start * rows_K.itemsize)
        return keys_KW, rows_K

    def _empty(self) -> tuple[Keys, Rows]:
        return np.empty((0, self._width), dtype=np.uint8), np.empty(0, dtype=np.int64)


def _sorted(keys_NW: Keys, rows_N: Rows) -> tuple[Keys, Rows]:
    """Sort records by key; where keys are equal, by row."""
    high_N = leading(keys_NW)
    order_N = np.argsort(high_N)
    high_N = high_N[order_N]
    if (high_N[1:] == high_N[:-1]).any():
        # The first bytes of some are alike, which for keys that differ happens next to never.
        words = [leading(keys_NW[:, start:]) for start in range(8, keys_NW.shape[1], 8)]
        order_N = np.lexsort((rows_N, *reversed(words), leading(keys_NW)))
    return keys_NW[order_N], rows_N[order_N]
