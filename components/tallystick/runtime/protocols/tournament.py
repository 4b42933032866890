"""The largest of many shared values, by few comparisons; largest.py takes fewer rounds and more.

Roles: parties P0..Pn-1 with additive shares of x modulo 2**64; a dealer.
Neighbours a, c meet, by a comparison with a gate (comparison.py):
    [b] = [a < c],   [winner] = [a] - [b (a - c)].
Backwards the slope d of a winner is shared out by the same comparison:   [b d] goes to c, the rest
to a.

Rounds: 6 for each of log2 k levels for k values; backwards 1 a level. Bytes: 14 to each peer for
each of the k - 1 comparisons; the dealer sends P0 50.
Learnt: nothing. Adversary: semi-honest; dealer and parties do not collude.
"""

# W = what is compared, last dimension.

import torch
from torch import Tensor

from tallystick.runtime.protocols.comparison import Compared, below_nought
from tallystick.runtime.protocols.context import Context

Levels = list[Compared]


def winner(context: Context, share: Tensor) -> tuple[Tensor, Levels]:
    """Find the largest value along the last dimension.

    Args:
        context: the session's means.
        share: int64 [..., W], W at least 1; differences fit 63 bits.

    Returns:
        This party's share of the largest, [...], and each level's comparisons.
    """
    levels = []
    while (width := share.shape[-1]) > 1:
        left, right = share[..., 0 : width - 1 : 2], share[..., 1::2]
        below, signs = below_nought(context, left - right)
        share = torch.cat([left - below, share[..., width - width % 2 :]], dim=-1)
        levels.append(signs)
    return share.squeeze(-1), levels


def spread(context: Context, slope: Tensor, levels: Levels) -> Tensor:
    """Return this party's share of the values' slopes, [..., W], from the largest's, [...]."""
    share = slope.unsqueeze(-1)
    for signs in reversed(levels):
        pairs = signs.sign.shape[-1]
        won = share[..., :pairs]
        right = signs.times(context, won)
        both = torch.stack([won - right, right], dim=-1).flatten(-2)
        share = torch.cat([both, share[..., pairs:]], dim=-1)
    return share
