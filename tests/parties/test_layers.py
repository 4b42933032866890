"""The layers of networks on shares, forward and backward, against torch's own."""

from typing import Any

import torch
from torch import Tensor

from tests.harness import Place, run_parties

UNIT = 2.0**-16


def _gradients_of_inputs(session: Any) -> dict[str, float]:
    """Gradients by both operands of each layer, exact but for the rounding of fixed point."""
    from tallystick.runtime.protocols import batch_norm, layers

    torch.manual_seed(8)
    context, engine = session.engine.context, session.engine
    found: dict[str, float] = {}

    def share(value: Tensor) -> Tensor:
        return engine.share(value if session.rank == 0 else None, 0, value.shape).share

    def note(what: str, value: Any, exact: Tensor, terms: int) -> None:
        opened = session.ledger.reveal(engine.from_share(value), what, why="the test's oracle")
        found[what] = float((opened - exact.double()).abs().max() / (UNIT * 8 * terms))

    x, y = torch.randn(7, 5).requires_grad_(), torch.randn(3, 5).requires_grad_()
    z = torch.randn(3)
    images = torch.randn(2, 3, 8, 9).requires_grad_()
    kernels = torch.randn(4, 3, 3, 2).requires_grad_()
    places = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    linear, conv2d = layers.Linear.forward, layers.Conv2d.forward
    result, layer = linear(context, share(x.detach()), share(y.detach()), share(z))
    exact = x @ y.t() + z
    g = torch.randn(exact.shape)
    exact.backward(g)
    note("linear", result, exact.detach(), 5)
    for what, value, by in zip(
        ("x", "y"), layer.backward(context, share(g), wanted=(True, True)), (x, y), strict=True
    ):
        note(what, value, by.grad, 7)
    result, layer = conv2d(context, share(images.detach()), share(kernels.detach()), places)
    exact = torch.conv2d(images, kernels, **places)
    g = torch.randn(exact.shape)
    exact.backward(g)
    note("conv2d", result, exact.detach(), 18)
    grads = layer.backward(context, share(g), wanted=(True, True))
    note("images", grads[0], images.grad, 24)
    note("kernels", grads[1], kernels.grad, 64)
    assert layer.backward(context, share(g), wanted=(False, True))[0] is None

    x = torch.randn(40).requires_grad_()
    g = torch.randn(40)
    x.relu().backward(g)
    result, compared = layers.relu(context, share(x.detach()))
    note("relu", result, x.detach().relu(), 1)
    note("through relu", layers.relu_gradient(context, compared, share(g)), x.grad, 1)

    x = (torch.randn(6, 3, 4, 5) * 2 + 3).requires_grad_()
    weight, bias = torch.rand(3).requires_grad_(), torch.randn(3).requires_grad_()
    g = torch.randn(x.shape)
    exact = torch.batch_norm(x, weight, bias, None, None, True, 0.1, 1e-5, False)
    exact.backward(g)
    result, layer, (mean, variance) = batch_norm.BatchNorm.of_the_batch(
        context, *(share(v.detach()) for v in (x, weight, bias)), 1e-5
    )
    by_x, by_weight, by_bias = layer.backward(context, share(g), wanted=True)
    note("mean", mean, x.detach().mean((0, 2, 3)), 2)
    note("variance", variance, x.detach().var((0, 2, 3), unbiased=False), 8)
    # One over the deviation is good to 2**-9 of it.
    note("batch norm", result, exact.detach(), 60)
    note("by x", by_x, x.grad, 60)
    note("by weight", by_weight, weight.grad, 600)
    note("by bias", by_bias, bias.grad, 120)
    return found


def test_every_layer_and_its_gradients_agree_with_torch(place: Place) -> None:
    for party, found in run_parties(place, _gradients_of_inputs).items():
        assert not isinstance(found, BaseException), (party, found)
        assert {what for what, part in found.items() if part > 1} == set(), found
        assert len(found) == 14


def _widely_spread(session: Any) -> dict[str, float]:
    """The largest error of what batch normalisation makes of inputs near the rim of its domain."""
    from tallystick.runtime.protocols.batch_norm import BatchNorm

    torch.manual_seed(9)
    context, engine = session.engine.context, session.engine
    found = {}
    for shape, spread in (((64, 3), 900), ((16, 2, 48, 48), 240), ((16, 2, 48, 48), 900)):
        x = (torch.randn(shape) * spread + 100).clamp(-4000, 4000)
        exact = torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)
        share = engine.share(x if session.rank == 0 else None, 0, shape).share
        ones, noughts = engine.public(torch.ones(shape[1])), engine.public(torch.zeros(shape[1]))
        result, _, _ = BatchNorm.of_the_batch(context, share, ones.share, noughts.share, 1e-5)
        opened = session.ledger.reveal(engine.from_share(result), "result", why="the oracle")
        # One over the deviation has 16 fraction bits, and it is multiplied by up to 4000.
        found[f"{shape} {spread}"] = float((opened - exact.double()).abs().max() / (4000 * UNIT))
    return found


def test_batch_normalisation_holds_to_the_rim_of_its_domain(place: Place) -> None:
    for party, found in run_parties(place, _widely_spread).items():
        assert not isinstance(found, BaseException), (party, found)
        assert max(found.values()) < 1.5, found
        assert len(found) == 3
