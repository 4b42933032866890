"""The largest of several shared values, by a tournament whose bits the way back uses again.

Neighbours a, c meet:   b = [a < c],   winner = a + b (c - a).   Slope d of the winner: b d goes to
c, the rest to a. ceil(log2 k) levels for k values; each costs a comparison and a product, k - 1 of
them in all; on the way back a product alone.
"""

# W = what is compared, last dimension. Bits are whole numbers nought or one.

import torch

from tallystick.runtime.engine import Engine, Secret

Bits = list[Secret]


def largest(engine: Engine, values_W: Secret) -> tuple[Secret, Bits]:
    """Return the largest along the last dimension, which goes, and the bits of each level."""
    share, levels = values_W.share, []
    while (width := share.shape[-1]) > 1:
        left, right = share[..., 0 : width - 1 : 2], share[..., 1::2]
        bits = engine.negative(engine.from_share(left - right))
        gain = engine.product("mul", bits, engine.from_share(right - left))
        share = torch.cat([left + gain.share, share[..., width - width % 2 :]], dim=-1)
        levels.append(bits)
    return engine.from_share(share.squeeze(-1)), levels


def spread(engine: Engine, slope: Secret, levels: Bits) -> Secret:
    """Return the slopes of the values, from that of the largest."""
    share = slope.share.unsqueeze(-1)
    for bits in reversed(levels):
        pairs = bits.share.shape[-1]
        won = share[..., :pairs]
        right = engine.product("mul", bits, engine.from_share(won)).share
        both = torch.stack([won - right, right], dim=-1).flatten(-2)
        share = torch.cat([both, share[..., pairs:]], dim=-1)
    return engine.from_share(share)
