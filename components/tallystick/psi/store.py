"""A party's encoded ids, in the order of its file: in memory, or on disk where there are many."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tallystick.psi.runs import SpillFile

HELD_BYTES = 64 << 20


class IdStore:
    """Encoded ids, piece by piece.

    Args:
        folder: where what has no room in memory is spilled.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[tuple[bytes, int]] = []
        self._held_bytes = 0
        self._spilled: list[tuple[int, int, int]] = []
        self._file: SpillFile | None = None

    def add(self, content: bytes, rows: int) -> None:
        """Take a piece: int32 ends, then bytes."""
        self._held.append((content, rows))
        self._held_bytes += len(content)
        if self._held_bytes > HELD_BYTES:
            self._file = self._file or SpillFile(self._folder)
            for piece, count in self._held:
                start = self._file.write(np.frombuffer(piece, dtype=np.uint8))
                self._spilled.append((start, len(piece), count))
            self._held, self._held_bytes = [], 0

    def pieces(self) -> Iterator[pa.Array]:
        """Give the pieces."""
        for start, size, rows in self._spilled:
            assert self._file is not None
            content = np.empty(size, dtype=np.uint8)
            self._file.read(content, start)
            yield _as_array(pa.py_buffer(content), rows)
        for piece, rows in self._held:
            yield _as_array(pa.py_buffer(piece), rows)

    def close(self) -> None:
        """Forget everything."""
        self._held, self._spilled = [], []
        if self._file is not None:
            self._file.close()


def _as_array(content: pa.Buffer, rows: int) -> pa.Array:
    split = (rows + 1) * 4
    buffers = [None, content.slice(0, split), content.slice(split)]
    return pa.BinaryArray.from_buffers(pa.binary(), rows, buffers)
