"""A shared table that does not change: masked and opened once, read some rows at a time ever after.

Roles and randomness: as in products.py, with one mask u of the whole table x.
Message, once (all parties to all):    [e] = [x] - [u],   opened, some rows at a time.
Later, for any rows:                   a :class:`Masked` of e and [u] at these rows.

Rounds: one for each piece of the table. Bytes: 8 to each peer for each element, once; later
nothing, however often the rows are multiplied. Each party draws its share of u again for the rows
that it takes, so it holds e alone.

Learnt: nothing; u is uniform and masks nothing else. The dealer learns which rows are taken
together: their numbers, from a public order. Adversary: semi-honest; dealer and parties do not
collude.
Source: Mohassel and Zhang, "SecureML", S&P 2017, section IV-C.
"""

# N = rows, F = values of a row.

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.runtime.errors import DataError
from tallystick.runtime.orders import Selection, pieces
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.products import Masked

Read = Callable[[Selection], Tensor]
PIECE_BYTES = 16 << 20
"""About so much is opened in one round."""


class Kept:
    """One table.

    Args:
        context: the session's means.
        number: of its mask.
        opened_NF: e, which every party knows.
    """

    def __init__(self, context: Context, number: int, opened_NF: NDArray[np.int64]) -> None:
        self._context = context
        self._opened_NF = opened_NF
        self.number = number

    @classmethod
    def make(
        cls, context: Context, size: tuple[int, int], read: Read, folder: Path | None = None
    ) -> Self:
        """Mask and open a table.

        Args:
            context: the session's means.
            size: N, F.
            read: gives this party's share of some rows, [n, F]; it is asked for each row once.
            folder: where e lies in a file without a name, mapped to memory; None for in memory. It
                says nothing, for no mask is ever written.

        Raises:
            DataError: the folder has no room for it.
        """
        rows, width = size
        number = context.reserve()

        def opened() -> Iterator[NDArray[np.int64]]:
            for piece in pieces(rows, max(1, PIECE_BYTES // (8 * width))):
                mask = context.take(number, piece, width)
                yield context.open_sum(read(piece) - mask.share).numpy()

        if folder is None or not rows * width:
            return cls(context, number, np.concatenate([np.empty((0, width), np.int64), *opened()]))
        return cls(context, number, _mapped(opened(), size, folder))

    def take(self, rows: Selection) -> Masked:
        """Return some rows, fit for any number of products: [rows.count, F]."""
        mask = self._context.take(self.number, rows, self._opened_NF.shape[1])
        opened = torch.from_numpy(self._opened_NF[rows.positions()])
        return Masked(mask, opened, mask.share)


def _mapped(
    parts: Iterable[NDArray[np.int64]], size: tuple[int, int], folder: Path
) -> NDArray[np.int64]:
    with _storing(size):
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)
    with file:
        for part in parts:
            with _storing(size):
                file.write(part.data)
        with _storing(size):
            file.flush()
            return np.memmap(file, dtype=np.int64, mode="r", shape=size)


@contextmanager
def _storing(size: tuple[int, int]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the {8 * math.prod(size) / 1e6:.0f} MB of masked features cannot be kept beside the "
            f"step's outputs ({error.strerror}); give this party's step more storage"
        ) from None
