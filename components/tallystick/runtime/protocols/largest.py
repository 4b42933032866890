"""The largest of several shared values, and where it is, in the rounds of one comparison and two.

tournament.py takes fewer comparisons and more rounds.

Roles: parties P0..Pn-1 with additive shares of x_1..x_k; a dealer.
Step 1: b_ij = [x_i < x_j] for all i < j, all comparisons at once (comparison.py).
Locally:                          the number of values that beat x_i:
                                  [s_i] = sum over j > i of [b_ij] + sum over j < i of (1 - [b_ji])
so of equal values the first beats the others, and exactly one s_i is 0.
Randomness: r uniform modulo 2**64; the table D_v = [v = r mod 2**m] for v = 0..2**m - 1, shared by
sum, where 2**m >= k.
Message 2 (all parties to all):   [c] = [s] + [r],   opened.
Locally:                          [s = 0] = [D_v] at v = c mod 2**m.
Step 3: the maximum is the sum of x_i [s_i = 0] (products.py).

More than 16 values are compared in groups of 16, and then the groups' maxima.

Rounds: 6 + 1 + 1 for up to 16 values, 2 more and the groups' after that. Bytes for each maximum:
k (k - 1) / 2 comparisons, then 24 k to each peer; the dealer sends P0 8 k 2**m for the tables.
Learnt: nothing; c is masked by r, which is uniform. Adversary: semi-honest; dealer and parties do
not collude.
Source: one-time tables, Ishai et al., "On the Power of Correlated Randomness in Secure
Computation", TCC 2013; a maximum by all pairs as in CrypTen.
"""

import torch
from torch import Tensor

from tallystick.runtime.dealer.kinds import Nought
from tallystick.runtime.protocols.comparison import negative
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.products import mask, product, times

_GROUP = 16


def largest(context: Context, x: Tensor) -> tuple[Tensor, Tensor]:
    """Find the maximum along the last dimension.

    Args:
        context: the session's means.
        x: this party's int64 share, [..., k] with k at least 1.

    Returns:
        This party's share of the maximum, [...], and of the bits where it is, [..., k].
    """
    count = x.shape[-1]
    if count == 1:
        here = torch.ones_like(x) if context.rank == 0 else torch.zeros_like(x)
        return x[..., 0], here
    if count > _GROUP:
        return _of_groups(context, x)
    here = _first_largest(context, x)
    values, bits = mask(context, x, here)
    return product(context, "dot", values, bits), here


def _of_groups(context: Context, x: Tensor) -> tuple[Tensor, Tensor]:
    count = x.shape[-1]
    # What fills the last group up equals the last value and comes after it, so it never wins.
    filling = x[..., -1:].expand(*x.shape[:-1], -count % _GROUP)
    groups = torch.cat([x, filling], dim=-1).view(*x.shape[:-1], -1, _GROUP)
    values, within = largest(context, groups)
    value, which = largest(context, values)
    here = times(context, within, which.unsqueeze(-1))
    return value, here.view(*x.shape[:-1], -1)[..., :count]


def _first_largest(context: Context, x: Tensor) -> Tensor:
    """Return shared bits: is it the largest, and the first of its kind?"""
    count = x.shape[-1]
    i, j = torch.triu_indices(count, count, offset=1)
    beaten = negative(context, x[..., i] - x[..., j])
    by = torch.zeros_like(x).index_add_(-1, i, beaten)
    by.index_add_(-1, j, 1 - beaten if context.rank == 0 else -beaten)
    bits = (count - 1).bit_length()
    r, table = context.obtain(Nought(tuple(x.shape), bits))
    place = context.open_sum(r.add_(by)) & ((1 << bits) - 1)
    return table.gather(0, place.unsqueeze(0)).squeeze(0)
