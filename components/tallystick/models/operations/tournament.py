"""The largest of several shared values, by a tournament whose comparisons the way back uses again.

Neighbours a, c meet:   b = [a < c],   winner = a - b (a - c).   Slope d of the winner: b d goes to
c, the rest to a. ceil(log2 k) levels for k values; each costs a comparison that multiplies its own
value, k - 1 of them in all; on the way back one opening a level.
"""

# W = what is compared, last dimension.

import torch

from tallystick.runtime.engine import Engine, Secret
from tallystick.runtime.protocols.comparison import Compared, below_nought

Levels = list[Compared]


def largest(engine: Engine, values_W: Secret) -> tuple[Secret, Levels]:
    """Return the largest along the last dimension, which goes, and each level's comparisons."""
    share, levels = values_W.share, []
    while (width := share.shape[-1]) > 1:
        left, right = share[..., 0 : width - 1 : 2], share[..., 1::2]
        below, signs = below_nought(engine.context, left - right)
        share = torch.cat([left - below, share[..., width - width % 2 :]], dim=-1)
        levels.append(signs)
    return engine.from_share(share.squeeze(-1)), levels


def spread(engine: Engine, slope: Secret, levels: Levels) -> Secret:
    """Return the slopes of the values, from that of the largest."""
    share = slope.share.unsqueeze(-1)
    for signs in reversed(levels):
        pairs = signs.sign.shape[-1]
        won = share[..., :pairs]
        right = signs.times(engine.context, won)
        both = torch.stack([won - right, right], dim=-1).flatten(-2)
        share = torch.cat([both, share[..., pairs:]], dim=-1)
    return engine.from_share(share)
