"""Shuffle shared rows: every party permutes in its turn, and no one knows the whole permutation.

Roles: parties P0..Pn-1 with additive shares of x modulo 2**64, N rows of C values; a dealer.
Randomness, for each party Pi: a uniform of x's size; an order p that Pi alone draws; p(a), which is
a with its rows in that order. a and p(a) are shared by sum.
First (all parties to all):       [k], 256 bits of each party's own,   opened: a key that all
    parties know and the dealer does not. Locally all put the rows into an order drawn from it.
Turn of Pi (all parties to all):  [d] = [x] - [a],   opened.
Locally:                          [x] = [p(a)] + p(d),   where Pi alone adds p(d).

Rounds: n + 1. Bytes: 8 n to each peer for each value; the dealer sends P0 8 n for each value.
Learnt: nothing. d is masked by a. The rows' last order is uniform to everybody: to n - 1 parties
that compare notes, since the remaining one's turn is unknown to them, and to the dealer, who knows
all turns, since the first order is unknown to it. That matters: what is done with the shuffled rows
may depend on their order, and the dealer sees how much randomness it takes.
Adversary: semi-honest; dealer and parties do not collude.
Source: Chase, Ghosh, Poburinnaya, "Secret-Shared Shuffle" (ASIACRYPT 2020), whose share
translation (a, p, p(a)) comes here from the dealer instead of from oblivious transfers.
"""

# N = rows, C = values of a row. Shares are int64 modulo 2**64.

import torch
from torch import Tensor

from tallystick.runtime.dealer.kinds import Permutation, order
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.randomness import KEY_BYTES, Stream, new_key


def shuffle(context: Context, share_CN: Tensor) -> Tensor:
    """Put shared rows in an order that nobody knows.

    Args:
        context: the session's means.
        share_CN: this party's int64 share; row i is column i, so that values lie together.

    Returns:
        This party's fresh share of the same rows in a uniformly random order.
    """
    columns, rows = share_CN.shape
    share_CN = share_CN[:, order(_common_stream(context).elements((rows,)))]
    for owner in range(context.world_size):
        a_CN, keys_N, permuted_CN = context.obtain(Permutation((columns, rows), owner))
        d_CN = context.open_sum(share_CN - a_CN)
        if context.rank == owner:
            permuted_CN = permuted_CN + d_CN[:, order(keys_N)]
        share_CN = permuted_CN
    return share_CN


def _common_stream(context: Context) -> Stream:
    """Agree on a stream that every party knows and the dealer does not."""
    own = torch.frombuffer(bytearray(new_key()), dtype=torch.int64)
    key = context.open_sum(own).numpy().tobytes()
    assert len(key) == KEY_BYTES
    return Stream(key)
