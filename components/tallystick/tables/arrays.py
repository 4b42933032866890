"""Arrow's arrays as NumPy sees them, without loading pandas as Arrow's own conversions do."""

# B = bytes of all values, K = some of N values.

from typing import Self

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray


def numbers(values_N: NDArray[np.int64]) -> pa.Array:
    """Return numbers as an Arrow array, as ``pa.array`` would after it had loaded pandas."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(values_N))]
    return pa.Int64Array.from_buffers(pa.int64(), len(values_N), buffers)


class Bytes:
    """The values of an Arrow array of text or bytes without nulls, one after the other."""

    CHUNK_ROWS = 1 << 16
    """So few at a time that the indices of their bytes stay in the cache."""

    def __init__(self, content_B: NDArray[np.uint8], ends_N: NDArray[np.int64]) -> None:
        self.content_B = content_B
        self.ends_N = ends_N
        self.lengths_N = np.diff(ends_N)

    @classmethod
    def of(cls, array: pa.Array) -> Self:
        """Look into an array, without a copy."""
        _, ends, data = array.buffers()
        found = np.frombuffer(ends, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
        content_B = np.frombuffer(data or b"", dtype=np.uint8)
        return cls(content_B, found.astype(np.int64))

    def put(
        self,
        target_B: NDArray[np.uint8],
        starts_K: NDArray[np.int64],
        rows_K: NDArray[np.int64] | None = None,
    ) -> None:
        """Copy values to their places.

        Args:
            target_B: takes them.
            starts_K: where each value begins there.
            rows_K: which values, ascending; all by default.
        """
        for first in range(0, len(starts_K), self.CHUNK_ROWS):
            starts = starts_K[first : first + self.CHUNK_ROWS]
            if rows_K is None:
                rows = np.arange(first, first + len(starts))
            else:
                rows = rows_K[first : first + self.CHUNK_ROWS]
            lengths, begins = self.lengths_N[rows], self.ends_N[rows]
            together = bool(rows[-1] - rows[0] == len(rows) - 1)
            if together and (lengths == lengths[0]).all() and _evenly(starts, lengths[0]):
                # Ids of one length, which is what ids often are, are a rectangle.
                assert starts[-1] + lengths[-1] <= len(target_B)
                values = self.content_B[begins[0] : begins[-1] + lengths[-1]]
                shape, strides = (len(rows), int(lengths[0])), (_step(starts), 1)
                places = as_strided(target_B[starts[0] :], shape, strides)
                places[:] = values.reshape(shape)
                continue
            firsts = np.cumsum(lengths) - lengths
            byte = np.arange(lengths.sum())
            values = self.content_B[byte + np.repeat(begins - firsts, lengths)]
            target_B[byte + np.repeat(starts - firsts, lengths)] = values


def _step(starts: NDArray[np.int64]) -> int:
    return int(starts[1] - starts[0]) if len(starts) > 1 else 1


def _evenly(starts: NDArray[np.int64], length: int) -> bool:
    """Say whether values of one length have places that are as far apart, and do not overlap."""
    step = _step(starts)
    return len(starts) == 1 or (step >= length and bool((np.diff(starts) == step).all()))
