"""The quotient that Adam takes, against its bound."""

from typing import Any

import torch
from tallystick.train.adaptive import over_root

from tests import harness
from tests.harness import Place


def _worst(session: Any) -> float:
    """Return the largest error as a part of what is allowed."""
    engine = session.engine
    v = 2.0 ** torch.linspace(-18, 27.9, 4000, dtype=torch.float64)
    v = (v * 2**24).round() / 2**24
    m = v.sqrt() * torch.linspace(-3, 3, 4000, dtype=torch.float64).roll(1234)
    shared_m = engine.share(m if session.rank == 0 else None, 0, m.shape)
    ring = (v * 2**24).long()
    share = engine.share_ring(ring if session.rank == 1 else None, 1, ring.shape)
    quotient = over_root(engine, shared_m, engine.from_share(share, 24))
    exact = m / v.sqrt()
    error = (session.ledger.reveal(quotient, "quotient", why="a test") - exact).abs()
    # The roundings of m itself, by half a unit, weigh as much as the root is small.
    allowed = 2.0**-7 * exact.abs() + 2.0**-12 + 2.0**-17 / v.sqrt()
    return float((error / allowed).max())


def test_a_quotient_by_a_root_keeps_its_bound_over_the_whole_range(place: Place) -> None:
    for party, worst in harness.run_parties(place, _worst).items():
        assert not isinstance(worst, BaseException), (party, worst)
        assert worst <= 1
