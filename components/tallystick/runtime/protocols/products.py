"""Products of shared values, for any bilinear operation: element-wise, matrices, convolutions.

Roles: parties P0..Pn-1 with additive shares of x and y modulo 2**64; a dealer.
Randomness: a, b uniform, c = a op b; all shared.
Message (all parties to all):     [e] = [x] - [a],  [d] = [y] - [b],   opened together.
Locally:                          [z] = [c] + e op [b] + [a] op d + e op d
where P0 alone adds e op d, which it folds into the second term: e op ([b] + d).

Rounds: 1. Bytes: 8 to each peer for each element of x and of y; the dealer sends P0 8 for each of
z.
Learnt: nothing; e and d are masked by uniform values. Adversary: semi-honest; dealer and parties
do not collude.
Source: Beaver, "Efficient Multiparty Protocols Using Circuit Randomization", CRYPTO 1991.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tallystick.runtime.dealer.correlations import And, Product, Square
from tallystick.runtime.protocols.context import Context


def product(context: Context, request: Product, x: Tensor, y: Tensor) -> Tensor:
    """Return this party's int64 share of x op y; fraction bits add up."""
    a, b, c = context.obtain(request)
    e, d = _open_both(context.open_sum, x - a, y - b)
    right = b + d if context.rank == 0 else b
    return request.add_to(request.add_to(c, e, right), a, d)


def square(context: Context, x: Tensor) -> Tensor:
    """Return this party's int64 share of x * x, from r and r * r: one value less to open."""
    r, squared = context.obtain(Square(tuple(x.shape)))
    e = context.open_sum(x - r)
    result = squared + 2 * e * r
    return result + e * e if context.rank == 0 else result


def bitwise_and(context: Context, x: Tensor, y: Tensor) -> Tensor:
    """Return this party's share of x & y, words shared by exclusive or; shapes may broadcast."""
    a, b, c = context.obtain(And(tuple(x.shape), tuple(y.shape)))
    e, d = _open_both(context.open_xor, x ^ a, y ^ b)
    right = b ^ d if context.rank == 0 else b
    return c ^ (e & right) ^ (a & d)


def _open_both(opening: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Open two values in one message."""
    opened = opening(torch.cat([x.reshape(-1), y.reshape(-1)]))
    return opened[: x.numel()].view(x.shape), opened[x.numel() :].view(y.shape)
