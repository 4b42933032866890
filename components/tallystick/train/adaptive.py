"""m / sqrt(v) for Adam, where v spans fifteen powers of ten.

Roles: parties with shares of m (16 fraction bits) and of v >= 0 (24 fraction bits); a dealer.
With V the integer that stands for v, for every k = 1..12 at once: b_k = [V >= 16**k].
Locally:    c = 2**10 + sum_k b_k (c_k - c_(k-1)),   c_k = 2**(10 - 2 k):   c**2 v = u in [1/16, 1)
Newton:     y = 3.2 - 2.4 u, then four times   y = y (3 - u y**2) / 2:   y = 1 / sqrt(u)
Result:     (m c) y

Below 2**-24, its smallest unit, v counts as about 2**-24, which is eps**2: so eps is 2**-12 in the
unit of m. The error of the result is below 2**-7 of it plus 2**-12, for v from 2**-18 to 2**28.

Rounds: 6 for the comparison, 32 for the rest. Bytes to each peer for each element: 168 for the
comparisons, about 300 for the rest.
Learnt: nothing. Adversary: semi-honest; dealer and parties do not collude.
Source: the normalisation of Catrina and Saxena, "Secure Computation with Fixed-Point Numbers", FC
2010, with the steps that ``runtime/protocols/functions.py`` takes, over a wider range.
"""

import torch

from tallystick.runtime.engine import PRECISION_BITS, Engine, Secret

EPS = 2.0**-12
"""In the unit of m."""
_STEPS = 13
_BETWEEN_BITS = 30


def over_root(engine: Engine, m: Secret, v: Secret) -> Secret:
    """Return m / sqrt(v); for the domain see the module.

    Args:
        engine: the session's engine.
        m: any shape.
        v: of the same shape, with 24 fraction bits.
    """
    c = _scale(engine, v)
    # In two steps, each rounded where it is large: v c, then v c c = u.
    vc = engine.rounded(engine.product("mul", v, c), _BETWEEN_BITS)
    u = engine.rounded(engine.product("mul", vc, c))
    y = engine.scaled(u, -2.4) + 3.2
    for _ in range(4):
        uyy = _times(engine, u, engine.rounded(engine.squared(y)))
        y = engine.scaled(_times(engine, y, 3 - uyy), 0.5)
    return _times(engine, _times(engine, m, c), y)


def _scale(engine: Engine, v: Secret) -> Secret:
    """Return c, a power of two with c**2 v in [1/16, 1): a public combination of comparisons."""
    thresholds = torch.tensor([16**k for k in range(1, _STEPS)])
    lowered = v.share.unsqueeze(-1).expand(*v.share.shape, _STEPS - 1)
    if engine.rank == 0:
        lowered = lowered - thresholds
    below = engine.negative(engine.from_share(lowered.contiguous())).share
    # Each threshold that v is not below lowers c by three quarters of what it was.
    drops = torch.tensor([(3 << (PRECISION_BITS + 10)) >> (2 * k) for k in range(1, _STEPS)])
    c = (below * drops).sum(-1)
    least = (1 << (PRECISION_BITS + 10)) >> (2 * (_STEPS - 1))
    return engine.from_share(c + least if engine.rank == 0 else c)


def _times(engine: Engine, x: Secret, y: Secret) -> Secret:
    return engine.rounded(engine.product("mul", x, y))
