"""Shuffle shared rows: every party permutes in its turn, and no one knows the whole permutation.

Roles: parties P0..Pn-1 with additive shares of x modulo 2**64, N rows of C values; a dealer.
Randomness, for each party Pi: a uniform of x's size; an order p that Pi alone draws; p(a), which is
a with its rows in that order. a and p(a) are shared by sum.
Turn of Pi (all parties to all):  [d] = [x] - [a],   opened.
Locally:                          [x] = [p(a)] + p(d),   where Pi alone adds p(d).

Rounds: n. Bytes: 8 n to each peer for each value; the dealer sends P0 8 n for each value.
Learnt: nothing. d is masked by a, and nobody but Pi (and the dealer) knows p; the rows' last order
is uniform to everybody, even to n - 1 parties that compare notes, since the remaining one's turn is
unknown to them. Adversary: semi-honest; dealer and parties do not collude.
Source: Chase, Ghosh, Poburinnaya, "Secret-Shared Shuffle" (ASIACRYPT 2020), whose share
translation (a, p, p(a)) comes here from the dealer instead of from oblivious transfers.
"""

# N = rows, C = values of a row. Shares are int64 modulo 2**64.

from torch import Tensor

from tallystick.runtime.dealer.correlations import Permutation, order
from tallystick.runtime.protocols.context import Context


def shuffle(context: Context, share_CN: Tensor) -> Tensor:
    """Put shared rows in an order that nobody knows.

    Args:
        context: the session's means.
        share_CN: this party's int64 share; row i is column i, so that values lie together.

    Returns:
        This party's fresh share of the same rows in a uniformly random order.
    """
    columns, rows = share_CN.shape
    for owner in range(context.world_size):
        a_CN, keys_N, permuted_CN = context.obtain(Permutation((columns, rows), owner))
        d_CN = context.open_sum(share_CN - a_CN)
        if context.rank == owner:
            permuted_CN = permuted_CN + d_CN[:, order(keys_N)]
        share_CN = permuted_CN
    return share_CN
