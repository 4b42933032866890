"""The largest of many shared values, by a tournament: N comparisons (largest.py: fewer rounds).

Roles: parties P0..Pn-1 with additive shares of x modulo 2**64; a dealer.
Each round halves the field: with pairs (x, y),   [larger] = [x] - min([x] - [y], 0),
by a comparison with a gate (comparison.py).

Rounds: 6 for each of log2 N levels. Bytes: 14 to each peer for each value; the dealer sends P0 50.
Learnt: nothing. Adversary: semi-honest; dealer and parties do not collude.
"""

import torch
from torch import Tensor

from tallystick.runtime.protocols.comparison import below_nought
from tallystick.runtime.protocols.context import Context


def maximum(context: Context, share: Tensor) -> Tensor:
    """Return this party's share of the largest value along the last dimension, which is kept.

    Args:
        context: the session's means.
        share: int64; at least one value along the last dimension; differences fit 63 bits.
    """
    while (count := share.size(-1)) > 1:
        half = count // 2
        x, y = share[..., :half].contiguous(), share[..., half : 2 * half].contiguous()
        below, _ = below_nought(context, x - y)
        larger = x - below
        share = torch.cat([larger, share[..., 2 * half :]], dim=-1)
    return share
