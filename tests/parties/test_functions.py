"""Functions of shared numbers hold the bounds that protocols/functions.py states."""

import pytest
import torch
from tallystick.runtime.engine import decode, encode

from tests.harness import Place, run_parties

LIMIT = 2.0**19
AT_ONCE = 50_000


def uniform(low: float, high: float, count: int) -> torch.Tensor:
    return torch.rand(count, dtype=torch.float64) * (high - low) + low


def magnitudes(low: int, high: int, count: int) -> torch.Tensor:
    """Powers of two, uniform in the exponent, below the last."""
    return torch.exp2(uniform(low, high - 2**-12, count))


def cases(count: int) -> dict[str, tuple]:
    """By name: the function, inputs, oracle, relative and absolute bound."""
    torch.manual_seed(7)
    everywhere = torch.cat([uniform(-20, 20, count), uniform(-LIMIT, LIMIT, count)])
    signed = magnitudes(-8, 20, count) * uniform(-1, 1, count).sign()
    roots = magnitudes(-12, 20, count)
    below = torch.cat([uniform(-LIMIT, -12, count), uniform(-12, 0, count)])
    return {
        "sigmoid": ("sigmoid", everywhere, torch.sigmoid, 0, 2**-12),
        "tanh": ("tanh", everywhere, torch.tanh, 0, 2**-12),
        "softplus": ("softplus", everywhere, torch.nn.functional.softplus, 0, 2**-12),
        "exp": ("exp", uniform(-12, 10, count), torch.exp, 2**-9, 2**-12),
        "exp below": ("exp", below, torch.exp, 2**-9, 2**-12),
        "exp above": (
            "exp",
            uniform(10, LIMIT, count),
            lambda x: torch.exp(x.clamp(max=10)),
            2**-9,
            2**-12,
        ),
        "reciprocal": ("reciprocal", signed, torch.reciprocal, 2**-9, 2**-14),
        "reciprocal near 0": (
            "reciprocal",
            uniform(0, 2**-8, count),
            lambda x: torch.full_like(x, 2.0**8),
            0,
            2**-8,
        ),
        "inv_sqrt": ("inv_sqrt", roots, torch.rsqrt, 2**-9, 2**-14),
        "sqrt": ("sqrt", roots, torch.sqrt, 2**-9, 0),
        "log": ("log", roots, torch.log, 0, 2**-12),
        "log below": (
            "log",
            uniform(-LIMIT, 2**-12, count),
            lambda x: torch.full_like(x, 2.0**-12).log(),
            0,
            2**-12,
        ),
    }


def worst(session, count: int) -> dict[str, float]:
    """Return for each case the largest error, as a part of its bound."""
    found = {}
    for case, (name, x, oracle, relative, absolute) in cases(count).items():
        found[case] = 0.0
        for piece in x.split(AT_ONCE):
            secret = session.engine.share(piece if session.rank == 0 else None, 0, piece.shape)
            if name == "softplus":
                result = session.engine.softplus(secret)
            else:
                result = getattr(secret, name)()
            opened = session.ledger.reveal(result, case, why="the test's oracle")
            wanted = oracle(decode(encode(piece)))
            bound = relative * wanted.abs() + absolute
            found[case] = max(found[case], ((opened - wanted).abs() / bound).max().item())
    return found


@pytest.mark.parametrize("count", [5_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_each_function_holds_its_bound(place: Place, count: int):
    for party, found in run_parties(place, worst, count, timeout_s=800).items():
        assert not isinstance(found, BaseException), party
        assert {case for case, part in found.items() if part > 1} == set()
        assert found.keys() == cases(1).keys()


def _maxima(session) -> list[str]:
    """Return what does not agree with plaintext; equal values and groups of many among them."""
    engine, wrong = session.engine, []
    torch.manual_seed(5)

    def share(x):
        return engine.share(x if session.rank == 0 else None, 0, x.shape)

    def check(what, secret, exact, allowed=0.0):
        found = session.ledger.reveal(secret, what, why="the test's oracle")
        if found.shape != exact.shape or (found - exact).abs().max() > allowed:
            wrong.append(what)

    for shape, dim in (((7, 10), 1), ((16, 3), 0), ((2, 3, 17), -1), ((40,), 0), ((4, 1), 1)):
        x = (torch.randn(shape, dtype=torch.float64) * 4).round() / 4  # many are equal
        value, index = x.max(dim)
        secret = share(x)
        check(f"max {shape}", secret.max(dim)[0], value)
        check(f"kept {shape}", secret.max(dim, keepdim=True)[0], value.unsqueeze(dim))
        first = torch.nn.functional.one_hot(index, shape[dim]).movedim(-1, dim)
        check(f"where {shape}", secret.max(dim)[1], first)
        check(f"argmax {shape}", secret.argmax(dim), first)
        check(f"index {shape}", secret.argmax(dim, one_hot=False), index)
        check(f"min {shape}", secret.min(dim)[0], x.min(dim)[0])
        check(f"all {shape}", secret.max(), x.max())
    for shape, scale in (((50, 10), 3.0), ((50, 2), 30.0), ((20, 33), 2.0)):
        x = torch.randn(shape, dtype=torch.float64) * scale
        check(f"softmax {shape}", share(x).softmax(1), x.softmax(1), 2**-11)
        check(f"softmax by column {shape}", share(x.T).softmax(0), x.T.softmax(0), 2**-11)
        near = x.clamp(-4, 4)
        check(f"log_softmax {shape}", share(near).log_softmax(1), near.log_softmax(1), 2**-10)
    images = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    for size, options in ((2, {}), (3, {"stride": 2, "padding": 1})):
        exact = torch.nn.functional.max_pool2d(images, size, **options)
        check(f"max_pool2d {size}", share(images).max_pool2d(size, **options), exact, 2**-16)
    return wrong


def test_maxima_and_what_is_made_of_them_agree_with_plaintext(place: Place):
    assert run_parties(place, _maxima) == {party: [] for party in place.parties}
