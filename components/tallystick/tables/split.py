"""Which rows train, validate and test, and in which batches: the same at all parties.

The randomness is public: see ``runtime/orders.py``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.runtime import orders
from tallystick.runtime.errors import DataError

SPLIT = "split.arrow"
TRAIN, VALIDATION, TEST = 0, 1, 2
_COLUMN = "part"


@dataclass(frozen=True, slots=True)
class Split:
    """To which part each row belongs."""

    part_N: NDArray[np.uint8]
    """``TRAIN``, ``VALIDATION`` or ``TEST``."""

    @classmethod
    def of(
        cls, rows: int, *, test: NDArray[np.int64], validation: Sequence[int] | NDArray[np.int64]
    ) -> Self:
        """Make a split from row numbers; the rows that are not named train."""
        part_N = np.full(rows, TRAIN, dtype=np.uint8)
        part_N[np.asarray(validation, dtype=np.int64)] = VALIDATION
        part_N[test] = TEST
        return cls(part_N)

    @property
    def train_rows(self) -> NDArray[np.int64]:
        """Positions, ascending."""
        return np.flatnonzero(self.part_N == TRAIN)

    @property
    def validation_rows(self) -> NDArray[np.int64]:
        """Positions, ascending."""
        return np.flatnonzero(self.part_N == VALIDATION)

    @property
    def test_rows(self) -> NDArray[np.int64]:
        """Positions, ascending."""
        return np.flatnonzero(self.part_N == TEST)

    def counts(self) -> dict[str, int]:
        """Return how many rows each part has."""
        train, validation, test = np.bincount(self.part_N, minlength=3).tolist()
        return {"train_rows": train, "validation_rows": validation, "test_rows": test}

    def digest(self) -> str:
        """Return the SHA-256 of which row belongs where."""
        return hashlib.sha256(self.part_N.tobytes()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``split.arrow``."""
        array = pa.Array.from_buffers(
            pa.uint8(), len(self.part_N), [None, pa.py_buffer(self.part_N)]
        )
        batch = pa.record_batch([array], names=[_COLUMN])
        with (
            pa.OSFile(str(folder / SPLIT), "wb") as sink,
            pa.ipc.new_file(sink, batch.schema) as writer,
        ):
            writer.write_batch(batch)

    @classmethod
    def read(cls, folder: Path, rows: int) -> Self:
        """Read it again.

        Raises:
            DataError: the file is missing, or holds something else than the parts of so many rows.
        """
        try:
            with pa.OSFile(str(folder / SPLIT)) as source:
                column = pa.ipc.open_file(source).read_all().column(_COLUMN)
            part_N = column.to_numpy()
        except (OSError, ValueError, KeyError, pa.ArrowException):
            raise DataError(f"{SPLIT} cannot be read; run encode again") from None
        if part_N.dtype != np.uint8 or len(part_N) != rows or np.any(part_N > TEST):
            raise DataError(
                f"{SPLIT} does not hold the parts of {rows} rows, as its manifest says; "
                "run encode again"
            )
        return cls(part_N)


def cut(order_N: NDArray[np.int64], test_fraction: float, validation_fraction: float = 0) -> Split:
    """Split rows that stand in some order: the first of them test, the next validate.

    Args:
        order_N: a permutation of the rows.
        test_fraction: about this part is for the test; in (0, 1).
        validation_fraction: about this part is for validation; in [0, 1).

    Returns:
        A split with one test row or more and one training row or more.

    Raises:
        DataError: there are fewer than two rows.
    """
    rows = len(order_N)
    if rows < 2:
        raise DataError(
            f"{rows} rows cannot be split into training and test rows; bring more rows that match"
        )
    num_test = min(max(round(rows * test_fraction), 1), rows - 1)
    num_validation = min(round(rows * validation_fraction), rows - 1 - num_test)
    return Split.of(
        rows, test=order_N[:num_test], validation=order_N[num_test : num_test + num_validation]
    )


def by_number(rows: int, seed: int, test_fraction: float, validation_fraction: float = 0) -> Split:
    """Split range(rows) by the seed and the rows' numbers alone; see :func:`cut`."""
    order_N = orders.order(rows, orders.key("train-test split", seed))
    return cut(order_N, test_fraction, validation_fraction)


def batches(rows: int, batch_size: int, seed: int, epoch: int) -> list[orders.Selection]:
    """Cut the training rows, shuffled anew for each epoch, into batches.

    Args:
        rows: how many training rows there are.
        batch_size: rows of each batch; the last one may be shorter and is kept.
        seed: agreed by the parties.
        epoch: counted from 0.
    """
    return orders.pieces(rows, batch_size, orders.key(f"batches of epoch {epoch}", seed))


def positions(rows: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the same batches as positions among the training rows."""
    return [batch.positions() for batch in batches(rows, batch_size, seed, epoch)]
