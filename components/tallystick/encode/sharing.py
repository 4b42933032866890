"""Turn each party's block of numbers into shares, one for each party.

A value becomes the fixed-point integer round(value * 2**precision_bits), and that the sum of the
parties' shares modulo 2**64. Only the owner passes its block to the engine; the others learn its
shape, which follows from the column names and the number of rows.
"""

# N = aligned rows, F = features of all parties. Shares are int64 modulo 2**64.

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.encode.label import Label
from tallystick.encode.layout import Layout
from tallystick.runtime import engine, events
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.session import Session


def share_features(
    session: Session, layout: Layout, own_NF: NDArray[np.float64], rows: int
) -> Tensor:
    """Share every party's features.

    Args:
        session: the joined session.
        layout: whose columns stand where.
        own_NF: this party's prepared features.
        rows: N.

    Returns:
        int64 share_NF, columns as in ``layout.columns()``.
    """
    blocks = []
    total = sum(len(names) for names in layout.features.values())
    for rank, (party, names) in enumerate(layout.features.items()):
        if not names:
            continue
        own = engine.encode(torch.from_numpy(own_NF)) if party == session.party else None
        blocks.append(session.engine.share_ring(own, rank, (rows, len(names))))
        done = sum(block.shape[1] for block in blocks)
        events.emit("progress", done=done, total=total, unit="columns")
    return torch.cat(blocks, dim=1)


def share_label(session: Session, layout: Layout, own: Label | None, rows: int) -> Tensor:
    """Share the label, which its owner passes and nobody else: int64 share_N."""
    encoded = None if own is None else engine.encode(torch.from_numpy(own.values_N))
    rank = session.parties.index(layout.label_owner)
    share_N: Tensor = session.engine.share_ring(encoded, rank, (rows,))
    return share_N


def publish_label_units(session: Session, layout: Layout, own: Label | None) -> dict[str, float]:
    """Tell every party a numeric label's mean and deviation, and note that in the ledger.

    Returns:
        mean and deviation.

    Raises:
        ProtocolViolation: the owner sent something else than two finite numbers.
    """
    message = {} if own is None else {"mean": own.mean, "deviation": own.deviation}
    answer = session.exchange(message)[session.parties.index(layout.label_owner)]
    mean, deviation = answer.get("mean"), answer.get("deviation")
    if not (
        isinstance(mean, int | float)
        and isinstance(deviation, int | float)
        and math.isfinite(mean)
        and 0 < deviation < math.inf
    ):
        raise ProtocolViolation(
            f"party {layout.label_owner!r} did not send its label's mean and deviation in the "
            "agreed form; check that it runs the same version of tallystick"
        )
    session.ledger.note(
        "label mean and deviation",
        to=session.parties,
        count=2,
        why="errors are reported in the label's own units",
    )
    return {"mean": float(mean), "deviation": float(deviation)}
