"""The quotient that Adam takes, against its bound; and Adam's steps against torch's."""

from typing import Any

import torch
from tallystick.train.adaptive import over_root
from tallystick.train.optimisers import Adam, Rule, adam_eps, adam_unit
from torch import Tensor

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


STEPS, RATE = 12, 0.01
SIZES: dict[str, tuple[int, list[float]]] = {
    "usual": (64, []),
    "large": (1 << 20, []),
    "weighted": (256, [1.0, 100.0]),
}


def _gradients(name: str) -> Tensor:
    """Mean gradients [STEPS, P], from nearly nothing to as much as a class's weight gives."""
    _, weights = SIZES[name]
    generator = torch.Generator().manual_seed(1)
    sizes = torch.logspace(-3.5, -0.3, 400, dtype=torch.float64) * max([1.0, *weights])
    noise = torch.randn(STEPS, 400, generator=generator, dtype=torch.float64)
    return sizes * (1 + 0.3 * noise) * sizes.new_tensor([1, -1]).repeat(200)


def _expected(name: str) -> Tensor:
    parameters = torch.zeros(400, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([parameters], lr=RATE, eps=adam_eps(*SIZES[name]))
    for gradient in _gradients(name):
        parameters.grad = gradient
        adam.step()
    return parameters.detach()


def _descents(session: Any) -> dict[str, float]:
    """Return how far each descent ends from torch's, as a part of its longest way."""
    engine, found = session.engine, {}
    for name, (batch, weights) in SIZES.items():
        rule = Rule(
            optimiser="adam",
            momentum=0,
            nesterov=False,
            l1=0,
            l2=0,
            clip_norm=0,
            unit=adam_unit(batch, weights),
        )
        adam = Adam(engine, rule, torch.ones(400, dtype=torch.int64))
        parameters = engine.public(torch.zeros(400))
        for number, gradient in enumerate(_gradients(name)):
            rows = batch if number % 3 else batch // 2 + 1
            parameters = adam.step(parameters, engine.public(gradient * rows), rows, RATE)
        opened = session.ledger.reveal(parameters, "parameters", why="a test")
        found[name] = float((opened - _expected(name)).abs().max()) / (STEPS * RATE)
    return found


def test_adam_steps_as_torchs_does_whatever_the_batch_and_the_weights(place: Place) -> None:
    for party, found in harness.run_parties(place, _descents).items():
        assert not isinstance(found, BaseException), (party, found)
        assert max(found.values()) < 0.03, found
