"""Who brings which features of the new rows, and their shares piece by piece."""

# n = rows of a piece. Shares are int64 modulo 2**64.

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tallystick.predict.rows import Brought, Piece, Rows
from tallystick.runtime.engine import Secret, encode
from tallystick.runtime.errors import DataError
from tallystick.runtime.session import Session

_AT_ONCE = 1 << 21
"""Features that are shared at once, so that memory follows the piece and not the table."""


class Layout:
    """Who brings which features: the parties tell each other, and find the same."""

    def __init__(self, session: Session, rows: Brought | None, shape: tuple[int, ...]) -> None:
        self._session = session
        self.shape = shape
        told = {} if rows is None else {"rows": rows.count, "shape": list(rows.shape)}
        answers = session.exchange(told)
        self.widths = [
            math.prod(told["shape"]) if told.get("rows") is not None else 0 for told in answers
        ]
        counts = {told["rows"] for told in answers if told.get("rows") is not None}
        if len(counts) != 1:
            raise DataError(
                "no party has rows to predict"
                if not counts
                else "the parties have different numbers of rows; match them by psi first"
            )
        self.count: int = counts.pop()
        if sum(self.widths) != math.prod(self.shape):
            raise DataError(
                f"the parties' rows have {sum(self.widths)} values together, and the model takes "
                f"{math.prod(self.shape)}; check which party brings what"
            )

    def pieces(self, rows: Rows | None) -> Iterator[tuple[Piece | None, Secret]]:
        """Share some rows at a time; give this party's own and everybody's share."""
        at_once = max(1, _AT_ONCE // math.prod(self.shape))
        own = rows.pieces(at_once) if rows else None
        for begin in range(0, self.count, at_once):
            n = min(at_once, self.count - begin)
            piece = next(own) if own else None
            yield piece, self.joined(None if piece is None else piece.values, n)

    def joined(self, values: NDArray[np.float64] | None, n: int) -> Secret:
        """Share n rows of everybody's.

        Args:
            values: this party's part of them; None if it brings none.
            n: how many.
        """
        blocks = []
        for rank, width in enumerate(self.widths):
            if width:
                mine = None
                if values is not None and rank == self._session.rank:
                    mine = encode(torch.from_numpy(values).reshape(n, -1))
                blocks.append(self._session.engine.share_ring(mine, rank, (n, width)))
        share = torch.cat(blocks, dim=1).reshape(n, *self.shape)
        return self._session.engine.from_share(share)
