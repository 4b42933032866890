"""Networks on shares, forward and backward through CrypTen's autograd, against torch's own."""

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.harness import Place, run_parties

B = 12
UNIT = 2.0**-16


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """By name: a network of layers that CrypTen has too, and the shape of its input."""
    torch.manual_seed(4)
    return {
        "dense": (
            nn.Sequential(nn.Linear(20, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)),
            (B, 20),
        ),
        "images": (
            nn.Sequential(
                nn.Conv2d(2, 5, 3, stride=2, padding=1),
                nn.BatchNorm2d(5),
                nn.ReLU(),
                nn.Conv2d(5, 4, 2, dilation=2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(4 * 4 * 3, 3),
            ),
            (B, 2, 11, 10),
        ),
    }


def on_shares(session: Any, network: nn.Module) -> Any:
    """CrypTen's network of the same layers, with the same parameters."""
    import crypten.nn as cnn

    class Flatten(cnn.Module):
        def forward(self, x: Any) -> Any:
            return x.view(x.size(0), -1)

    made = []
    for layer in network:
        match layer:
            case nn.Linear():
                twin = cnn.Linear(layer.in_features, layer.out_features)
            case nn.Conv2d():
                places = {"stride": layer.stride, "padding": layer.padding}
                places["dilation"] = layer.dilation
                twin = cnn.Conv2d(
                    layer.in_channels, layer.out_channels, layer.kernel_size, **places
                )
            case nn.BatchNorm1d():
                twin = cnn.BatchNorm1d(layer.num_features, eps=layer.eps)
            case nn.BatchNorm2d():
                twin = cnn.BatchNorm2d(layer.num_features, eps=layer.eps)
            case nn.ReLU():
                twin = cnn.ReLU()
            case _:
                twin = Flatten()
        for name, value in layer.state_dict().items():
            if name != "num_batches_tracked":
                setattr(twin, name, value)
        made.append(twin)
    model = cnn.Sequential(*made)
    return model.encrypt(src=0)


def _compare(session: Any, name: str) -> dict[str, float]:
    """Return the largest error of outputs and gradients, as a part of what is allowed."""
    import crypten

    network, shape = networks()[name]
    x = torch.randn(shape)
    weights = torch.randn(B, 3) * 0.3
    secret = session.engine.share(x if session.rank == 0 else None, 0, shape)
    model = on_shares(session, network)
    found = {}

    def note(what: str, value: Any, exact: Tensor, allowed: float) -> None:
        opened = session.ledger.reveal(value, what, why="the test's oracle")
        found[what] = float((opened - exact.double()).abs().max() / allowed)

    model.train()
    network.train()
    with crypten.enable_grad():
        output = model(secret)
        (output * weights).sum().backward()
    exact = network(x)
    (exact * weights).sum().backward()
    note("output", output, exact.detach(), 2.0**-9)
    parameters = dict(network.named_parameters())
    mine = [p for module in model.modules() for p in module._parameters.values()]
    assert len(mine) == len(parameters)
    for (what, theirs), ours in zip(parameters.items(), mine, strict=True):
        assert theirs.grad is not None
        # An activation that rounding brings to the other side of nought passes its gradient or not.
        note(what, ours.grad, theirs.grad, 2.0**-4 * max(1.0, float(theirs.grad.abs().max())))
    model.eval()
    network.eval()
    note("evaluation", model(secret), network(x).detach(), 2.0**-9)
    # Deviations that are known must not outlive the weights and statistics they are of.
    before = session.rounds
    model(secret)
    quick = session.rounds - before
    for layer, twin in zip(network, model._modules.values(), strict=True):
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.weight.data *= 3
            twin.weight.mul_(3)
            layer.running_var *= 4
            twin.running_var.set(twin.running_var * 4)
    before = session.rounds
    note("changed", model(secret), network(x).detach(), 2.0**-8)
    assert session.rounds - before > quick + 10
    return found


@pytest.mark.parametrize("name", ["dense", "images"])
def test_a_network_and_its_gradients_agree_with_torch(place: Place, name: str) -> None:
    for party, found in run_parties(place, _compare, name).items():
        assert not isinstance(found, BaseException), (party, found)
        assert {what for what, part in found.items() if part > 1} == set(), found
        assert len(found) == 3 + len(list(networks()[name][0].parameters()))


def _openings(session: Any) -> tuple[int, int]:
    """Train two steps; return how many openings there were, and how many pairs tell something."""
    import crypten

    opened: list[Tensor] = []
    engine = session.engine
    opening = engine.context.open_sums

    def watched(shares: Any) -> list[Tensor]:
        values = opening(shares)
        opened.extend(value.flatten() for value in values if value.numel() >= 64)
        return values

    engine.context = dataclasses.replace(engine.context, open_sums=watched)
    network, shape = networks()["dense"]
    secret = engine.share(torch.randn(shape) if session.rank == 0 else None, 0, shape)
    model = on_shares(session, network).train()
    optimiser = crypten.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        with crypten.enable_grad():
            optimiser.zero_grad()
            model(secret).square().sum().backward()
            optimiser.step()
    small = 0
    for one, other in itertools.combinations(opened, 2):
        count = min(len(one), len(other))
        small += int(((one[:count] - other[:count]).double().abs() < 2.0**50).sum() > count / 4)
    return len(opened), small


def test_no_mask_is_ever_on_two_values(pair: Place) -> None:
    """The features are the same in both steps, the weights nearly so; their openings differ by
    what is uniform over the ring, where x - a and x' - a would differ by x - x'.
    """
    for party, outcome in run_parties(pair, _openings).items():
        assert not isinstance(outcome, BaseException), (party, outcome)
        assert outcome[0] > 30
        assert outcome[1] == 0


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

    x, y = torch.randn(7, 5).requires_grad_(), torch.randn(5, 3).requires_grad_()
    images = torch.randn(2, 3, 8, 9).requires_grad_()
    kernels = torch.randn(4, 3, 3, 2).requires_grad_()
    places = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    matmul, conv2d = layers.Matmul.forward, layers.Conv2d.forward
    result, layer = matmul(context, share(x.detach()), share(y.detach()))
    exact = x @ y
    g = torch.randn(exact.shape)
    exact.backward(g)
    note("matmul", result, exact.detach(), 5)
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
