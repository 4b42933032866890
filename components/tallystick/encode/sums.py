"""Sums over all parties of numbers that each has a part of; the sum is opened and no part.

Roles: P parties, of which each has V numbers s_p, such as sums over its own rows.

A number is shared in two words, and both are opened as sums alone, through the ledger::

    coarse = sum_p round(s_p * 2**8)          |s_p| < 2**50
    fine   = sum_p round(s_p * 2**48)         modulo 2**64
    s      = (fine + 2**64 k) / 2**48         k = round((coarse * 2**40 - fine) / 2**64)

so s is right to about 2**-37, or to 2**-52 of itself where that is more. Of a count, it may be
opened whether it reaches a threshold, and not the count: one comparison.

Rounds: 1 for sums (16 V bytes to each peer); for thresholds those of a comparison, and 1.
Learnt: by every party the sums; with two parties each learns the other's part from them, and with
more all but one together learn that one's. Of thresholds, one bit each. The dealer learns V of
thresholds.
Adversary: semi-honest, as everywhere. Source: additive secret sharing, nothing else.
"""

# V = numbers, K = counts.

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError
from tallystick.runtime.session import Session

COARSE_BITS, FINE_BITS = 8, 48
MOST = 2.0**50
"""A party's part is smaller."""
CONSTANT = 2.0**-30
"""A variance below this is rounding, and so is a deviation of 2**-45 of the mean."""
Floats = NDArray[np.float64]


def joint(session: Session, parts_V: Floats, what: str, why: str) -> Floats:
    """Open the sums of numbers that each party has a part of, as this module's formula says.

    Args:
        session: the joined session.
        parts_V: this party's parts.
        what: what the ledger calls the sums.
        why: what the ledger gives as the reason.

    Raises:
        DataError: a number is too large.
    """
    if not np.all(np.abs(parts_V) < MOST):
        raise DataError(
            "a column holds numbers too large for a joint mean; give it in a larger unit"
        )
    words_2V = as_words(parts_V)
    engine = session.engine
    shape = words_2V.shape
    total = torch.zeros(shape, dtype=torch.int64)
    for rank in range(session.world_size):
        mine = torch.from_numpy(words_2V) if rank == session.rank else None
        total = total + engine.share_ring(mine, rank, shape)
    opened = session.ledger.reveal(engine.from_share(total, precision_bits=0), what, why=why)
    assert opened is not None
    return from_words(opened.numpy())


def as_words(parts_V: Floats) -> NDArray[np.int64]:
    """Return what a party shares of its parts: int64 [2, V], coarse and fine."""
    coarse_V = np.rint(parts_V * 2.0**COARSE_BITS).astype(np.int64)
    # Python's whole numbers, for a product may exceed 64 bits.
    fine_V = [_wrapped(round(float(part) * 2**FINE_BITS)) for part in parts_V]
    return np.stack([coarse_V, np.array(fine_V, dtype=np.int64)])


def from_words(sums_2V: Floats) -> Floats:
    """Return the numbers from the sums of their words, the fine one modulo 2**64."""
    coarse_V, fine_V = sums_2V
    wraps_V = np.rint((coarse_V * 2.0 ** (FINE_BITS - COARSE_BITS) - fine_V) / 2.0**64)
    result: Floats = (fine_V + wraps_V * 2.0**64) / 2.0**FINE_BITS
    return result


def standard(
    session: Session, values_T: Floats, total: int, what: str, why: str
) -> tuple[float, float]:
    """Return the joint mean and deviation of one number that all parties hold."""
    (mean,) = joint(session, np.array([values_T.sum() / total]), f"mean of {what}", why)
    part = np.array([((values_T - mean) ** 2).sum() / total])
    (variance,) = joint(session, part, f"variance of {what}", why)
    return float(mean), math.sqrt(variance) if not is_constant(mean, variance) else 1.0


def is_constant(mean: float, variance: float) -> bool:
    """Say whether numbers of such mean and variance differ by rounding alone."""
    return variance <= CONSTANT + (mean * 2.0**-45) ** 2


def reached(
    session: Session, counts_K: Sequence[int], least_K: Sequence[int], what: str
) -> list[bool]:
    """Open whether joint counts reach their thresholds, and not the counts."""
    if not counts_K:
        return []
    engine = session.engine
    shape = (len(counts_K),)
    total = torch.zeros(shape, dtype=torch.int64)
    for rank in range(session.world_size):
        mine = torch.tensor(counts_K, dtype=torch.int64) if rank == session.rank else None
        total = total + engine.share_ring(mine, rank, shape)
    if session.rank == 0:
        total = total - torch.tensor(least_K, dtype=torch.int64)
    short = engine.negative(engine.from_share(total, precision_bits=0))
    opened = session.ledger.reveal(
        short, what, why="rare categories share one column, and their counts stay hidden"
    )
    assert opened is not None
    return [value < 0.5 for value in opened.tolist()]


def _wrapped(value: int) -> int:
    """Return a whole number modulo 2**64, as int64 has it."""
    return (value + 2**63) % 2**64 - 2**63
