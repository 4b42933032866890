"""Turn each party's prepared numbers into shares, one for each party, as a stream.

A value becomes the fixed-point integer round(value * 2**precision_bits), and that the sum of the
parties' shares modulo 2**64. Only the owner passes its values to the engine; the others learn
their shape, which follows from the column names and the number of rows. All parties cut the rows
into the same pieces, so memory follows the piece and not the table.
"""

# N = rows, n = rows of one piece, F = features of all parties. Shares are int64 modulo 2**64.

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.encode.label import CLASSES, Label
from tallystick.encode.layout import Holdings, Layout
from tallystick.encode.own import OwnRows
from tallystick.runtime import engine
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.progress import Progress
from tallystick.runtime.session import Session
from tallystick.tables import shares

Block = NDArray[np.float64]


def share_columns(
    session: Session, layout: Layout, holdings: Holdings, own: OwnRows, folder: Path
) -> None:
    """Share rows of which every party holds other columns, and write them."""
    writer, rows = _writer(folder, layout.shape, holdings), own.rows
    at_once = shares.piece_rows(math.prod(layout.shape))
    pieces = own.features.pieces(at_once)
    progress = Progress("rows shared", rows)
    with writer:
        for start in range(0, rows, at_once):
            here = slice(start, min(start + at_once, rows))
            count = here.stop - start
            mine = next(pieces, None)
            blocks = [
                _share(session, mine, party, (count, width))
                for party, width in layout.widths.items()
                if width
            ]
            writer.add(
                torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0],
                _share_label(session, own.label, holdings.label_owner, holdings.label, here),
                _share_group(session, own.group, holdings.group_owner, holdings.groups, here),
            )
            progress.add(count)
    progress.end()


def share_rows(
    session: Session, shape: Sequence[int], holdings: Holdings, own: OwnRows, folder: Path
) -> None:
    """Share rows that each party holds some of, one party's after the other's, and write them."""
    width = math.prod(shape)
    at_once = shares.piece_rows(width)
    progress = Progress("rows shared", sum(holdings.rows.values()))
    with _writer(folder, shape, holdings) as writer:
        for party, rows in holdings.rows.items():
            pieces: Iterator[Block] = iter(())
            if party == session.party:
                pieces = own.features.pieces(at_once)
            for start in range(0, rows, at_once):
                here = slice(start, min(start + at_once, rows))
                count = here.stop - start
                writer.add(
                    _share(session, next(pieces, None), party, (count, width)),
                    _share_label(session, own.label, party, holdings.label, here),
                    _share_group(session, own.group, party, holdings.groups, here),
                )
                progress.add(count)
    progress.end()


def publish_label_units(
    session: Session, owner: str, own: Label | None, ledger_why: str
) -> dict[str, float]:
    """Tell every party a numeric label's mean and deviation, and note that in the ledger.

    Returns:
        mean and deviation.

    Raises:
        ProtocolViolation: the owner sent something else than two finite numbers.
    """
    message = {} if own is None else {"mean": own.mean, "deviation": own.deviation}
    answer = session.exchange(message)[session.parties.index(owner)]
    mean, deviation = answer.get("mean"), answer.get("deviation")
    if not (
        isinstance(mean, int | float)
        and isinstance(deviation, int | float)
        and math.isfinite(mean)
        and 0 < deviation < math.inf
    ):
        raise ProtocolViolation(
            f"party {owner!r} did not send its label's mean and deviation in the "
            "agreed form; check that it runs the same version of tallystick"
        )
    session.ledger.note("label mean and deviation", to=session.parties, count=2, why=ledger_why)
    return {"mean": float(mean), "deviation": float(deviation)}


def _writer(folder: Path, shape: Sequence[int], holdings: Holdings) -> shares.Writer:
    label = holdings.label
    return shares.Writer(
        folder,
        shares.Widths(
            features=math.prod(shape),
            label=label["classes"] if label["kind"] == CLASSES else 1,
            group=holdings.groups,
        ),
    )


def _share(session: Session, block: Block | None, owner: str, shape: Sequence[int]) -> Tensor:
    """Share a block that its owner passes, and nobody else."""
    mine = block if owner == session.party else None
    encoded = None
    if mine is not None:
        # What Arrow lends out without a copy cannot be written to, of which torch would warn.
        encoded = engine.encode(torch.from_numpy(np.require(mine, requirements="W")))
    found: Tensor = session.engine.share_ring(encoded, session.parties.index(owner), shape)
    return found


def _share_label(
    session: Session, own: Label | None, owner: str, label: Mapping[str, Any], rows: slice
) -> Tensor:
    count = rows.stop - rows.start
    shape = (count, label["classes"]) if label["kind"] == CLASSES else (count,)
    return _share(session, own.block(rows) if own is not None else None, owner, shape)


def _share_group(
    session: Session, own: Label | None, owner: str, groups: int, rows: slice
) -> Tensor | None:
    if not groups:
        return None
    block = own.block(rows) if own is not None else None
    return _share(session, block, owner, (rows.stop - rows.start, groups))
