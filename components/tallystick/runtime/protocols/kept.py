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

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.runtime.orders import Selection, whole
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
    def keep(
        cls, context: Context, size: tuple[int, int], read: Read, folder: Path | None = None
    ) -> Self:
        """Mask and open a table.

        Args:
            context: the session's means.
            size: N, F.
            read: gives this party's share of some rows, [n, F]; it is asked for each row once.
            folder: where e lies in a file without a name, mapped to memory; None for in memory. It
                says nothing, for no mask is ever written.
        """
        rows, width = size
        number, opened_NF = context.reserve(), _room(rows, width, folder)
        for piece in whole(rows, max(1, PIECE_BYTES // (8 * width))):
            mask = context.take(number, piece, width)
            opened = context.open_sum(read(piece) - mask.share)
            opened_NF[piece.begin : piece.begin + piece.count] = opened.numpy()
        return cls(context, number, opened_NF)

    def take(self, rows: Selection) -> Masked:
        """Return some rows, fit for any number of products: [rows.count, F]."""
        mask = self._context.take(self.number, rows, self._opened_NF.shape[1])
        opened = torch.from_numpy(self._opened_NF[rows.positions()])
        return Masked(mask, opened, mask.share)


def _room(rows: int, width: int, folder: Path | None) -> NDArray[np.int64]:
    if folder is None or not rows * width:
        return np.empty((rows, width), dtype=np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype=np.int64, mode="w+", shape=(rows, width))
