"""Smooth functions on shares by their Fourier series: one opening, however many functions.

Roles: parties P0..Pn-1 with additive shares of x in fixed point (f bits); a dealer.
Randomness: r uniform modulo 2**64, and for k = 1..K the shared values sin(k w r), cos(k w r) in
fixed point, where w = 2 pi / 2**m and 2**m is the period in ring elements.
Message (all parties to all):     [d] = [x] - [r],   opened; only d mod 2**m is used.
Locally, with g(x) = c0 + sum_k a_k sin(k w x) + b_k cos(k w x):
    sin(k w x) = sin(k w d) cos(k w r) + cos(k w d) sin(k w r)
    cos(k w x) = cos(k w d) cos(k w r) - sin(k w d) sin(k w r)
so [g(x)] is a public linear combination of the dealer's shared values: no product of secrets at
all. One truncation then takes the factor of the public coefficients away.

Rounds: 1 + 1. Bytes: 8 + 8 to each peer for each element, whatever K; the dealer sends P0
16 K + 16. Learnt: nothing; x is masked by r, which is uniform. Adversary: semi-honest; dealer and
parties do not collude.
Source: the addition theorem on a value masked by the dealer, the setting of Boyle et al.,
"Function Secret Sharing for Mixed-Mode and Fixed-Point Secure Computation" (EUROCRYPT 2021); a
Fourier series for the sigmoid as in Lu et al., "Squirrel" (USENIX Security 2023). Coefficients are
fitted here, by least squares.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tallystick.runtime.dealer.kinds import Harmonics, waves
from tallystick.runtime.protocols.context import Context
from tallystick.runtime.protocols.truncation import truncate

HARMONICS = 14
_TABLE_BITS = 22
_COEFFICIENT_BITS = 22


@dataclass(frozen=True, slots=True)
class Series:
    """Coefficients of one function, and the period they belong to."""

    period_log2: int
    constant: float
    sines: tuple[float, ...]
    cosines: tuple[float, ...]

    def plain(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate in plaintext: the oracle of the tests."""
        angles = _angles(x.reshape(-1), self.period_log2)
        values = np.sin(angles) @ self.sines + np.cos(angles) @ self.cosines + self.constant
        return values.reshape(x.shape)


def fit(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    domain: tuple[float, float],
    period_log2: int,
) -> Series:
    """Fit a series to a smooth function by least squares.

    Args:
        function: of a real number.
        domain: where the series holds; well inside one period, so that it may bend back outside.
        period_log2: the period is 2**period_log2.
    """
    x = np.linspace(*domain, 4001)
    angles = _angles(x, period_log2)
    basis = np.hstack([np.ones((len(x), 1)), np.sin(angles), np.cos(angles)])
    # The cutoff keeps coefficients small where harmonics are nearly dependent on the domain.
    found = np.linalg.lstsq(basis, function(x), rcond=1e-7)[0]
    sines, cosines = found[1 : HARMONICS + 1], found[HARMONICS + 1 :]
    return Series(period_log2, float(found[0]), tuple(sines), tuple(cosines))


def _angles(x: NDArray[np.float64], period_log2: int) -> NDArray[np.float64]:
    orders = np.arange(1, HARMONICS + 1, dtype=np.float64)
    return np.outer(x, orders * (2 * np.pi / 2.0**period_log2))


def evaluate(
    context: Context, share: Tensor, series: Sequence[Series], precision_bits: int
) -> list[Tensor]:
    """Evaluate one or more series at a shared value.

    Args:
        context: the session's means.
        share: this party's int64 share of x in fixed point, any shape S.
        series: what to evaluate, all of one period.
        precision_bits: of x and of the results.

    Returns:
        This party's share of each result, of shape S and the same precision. Outside the series'
        domain the result is meaningless.
    """
    period_bits = series[0].period_log2 + precision_bits
    r, sin_r, cos_r = context.obtain(
        Harmonics(tuple(share.shape), HARMONICS, period_bits, _TABLE_BITS)
    )
    sin_d, cos_d = waves(context.open_sum(share - r), HARMONICS, period_bits)
    results = []
    for one in series:
        a, b = (
            torch.tensor(c, dtype=torch.float64).reshape(-1, *[1] * share.dim())
            for c in (one.sines, one.cosines)
        )
        of_sin = ((a * cos_d - b * sin_d) * 2.0**_COEFFICIENT_BITS).round().long()
        of_cos = ((a * sin_d + b * cos_d) * 2.0**_COEFFICIENT_BITS).round().long()
        total = (of_sin * sin_r + of_cos * cos_r).sum(0)
        if context.rank == 0:
            total += round(one.constant * 2.0 ** (_TABLE_BITS + _COEFFICIENT_BITS))
        results.append(total)
    surplus_bits = _TABLE_BITS + _COEFFICIENT_BITS - precision_bits
    return list(truncate(context, torch.stack(results), surplus_bits).unbind(0))
