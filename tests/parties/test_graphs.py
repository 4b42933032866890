"""Graphs on shares, forwards and backwards, against torch and its autograd on the same graph."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from tallystick.models import execution, plain
from tallystick.models.coins import Coins
from tallystick.models.from_torch import convert
from tallystick.models.graph import Graph
from torch import Tensor, nn

from tests import harness
from tests.harness import Place

ROWS = 12
COINS = Coins(seed=3, epoch=1, batch=2)


class Activations(nn.Module):
    """Every activation and every arithmetic operation, on numbers that reach their corners."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 12)
        self.last = nn.Linear(96, 2)
        self.leaky = nn.LeakyReLU(0.2)
        self.dropout = nn.Dropout(0.25)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x) * 3
        parts = [torch.relu(z), self.leaky(z), functional.relu6(2 * z), torch.sigmoid(z)]
        parts += [z.tanh(), functional.silu(z), z.softmax(dim=1), parts[1] * parts[3] - z]
        return self.last(self.dropout(torch.cat(parts, dim=1) + 0.5))


class Images(nn.Module):
    """Convolutions with strides, rims, holes and groups; pooling with overlaps; BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False)
        self.conv3 = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.overlapping = nn.MaxPool2d(3, stride=2, padding=1)
        self.rounded_up = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.last = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        x = x + self.conv2(x)
        parts = [self.overlapping(x), functional.avg_pool2d(x, 3, 2, 1), self.rounded_up(x)]
        x = torch.cat([*parts, self.conv3(x)], dim=1)
        return self.last(x.mean(dim=(2, 3)).view(x.size(0), -1))


class Signals(nn.Module):
    """One dimension: a convolution, BatchNorm, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, 3, 4, stride=3),
            nn.BatchNorm1d(3),
            nn.Tanh(),
            nn.AvgPool1d(2),
            nn.MaxPool1d(2),
            nn.Flatten(),
            nn.Linear(3, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x)
        return result


class Frozen(nn.Module):
    """Frozen parameters and statistics before, among and after those that are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 6).requires_grad_(False)
        self.norm1 = nn.BatchNorm1d(6).requires_grad_(False)
        self.middle = nn.Linear(6, 4)
        self.norm2 = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 2).requires_grad_(False)
        nn.init.uniform_(self.norm2.running_mean)
        nn.init.uniform_(self.norm2.running_var, 0.5, 2)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.norm2.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.first(x)))
        return self.last(torch.tanh(self.norm2(self.middle(x))))


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "activations": (Activations, (5,)),
    "images": (Images, (2, 9, 10)),
    "signals": (Signals, (1, 17)),
    "frozen": (Frozen, (5,)),
}


def example(name: str) -> tuple[Graph, dict[str, Tensor], Tensor, Tensor]:
    make, shape = MODULES[name]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        graph, parameters = convert(make(), shape)
        features = torch.randn(ROWS, *shape, dtype=torch.float64)
        slope = torch.randn(ROWS, graph.outputs, dtype=torch.float64)
    return graph, parameters, features, slope


def _on_shares(session: Any, name: str) -> dict[str, NDArray[np.float64]]:
    engine, ledger = session.engine, session.ledger
    graph, parameters, features, slope = example(name)
    owned = features if session.rank == 1 else None
    secret = engine.share(owned, 1, features.shape)
    shared = {key: engine.public(value) for key, value in parameters.items()}
    tape = execution.forward(engine, graph, shared, secret, COINS)
    gradients = execution.backward(tape, engine.public(slope))
    found = {"scores": tape.scores_NK}
    found |= {key: gradients[key] for key in graph.parameters}
    found |= {key: tape.buffers.get(key, shared[key]) for key in graph.buffers}
    found["finished"] = execution.run(engine, graph, shared, secret)
    return {key: ledger.reveal(v, key, why="a test").numpy() for key, v in found.items()}


def in_plaintext(name: str) -> dict[str, Tensor]:
    graph, parameters, features, slope = example(name)
    finished = plain.run(graph, parameters, features)
    for key in graph.parameters:
        parameters[key].requires_grad_()
    scores = plain.run(graph, parameters, features, training=True, coins=COINS)
    (scores * slope).sum().backward()
    gradients = {key: parameters[key].grad for key in graph.parameters}
    buffers = {key: parameters[key] for key in graph.buffers}
    return {"scores": scores, "finished": finished, **gradients, **buffers}  # type: ignore[dict-item]


@pytest.mark.parametrize("name", MODULES)
def test_scores_and_gradients_are_those_of_torch(place: Place, name: str) -> None:
    expected = in_plaintext(name)
    for party, found in harness.run_parties(place, _on_shares, name).items():
        assert not isinstance(found, BaseException), (party, found)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            # Functions are within 2**-9 of the truth; a gradient adds up over rows and places.
            exact = value.detach().numpy()
            allowed = 0.004 + 0.01 * np.abs(exact).max()
            np.testing.assert_allclose(found[key], exact, rtol=0, atol=allowed, err_msg=key)


def _openings(session: Any) -> tuple[int, int]:
    """Go there and back twice; return how many openings there were, and how many pairs tell."""
    opened: list[Tensor] = []
    engine = session.engine
    opening = engine.context.open_sums

    def watched(shares: Any) -> list[Tensor]:
        values: list[Tensor] = opening(shares)
        opened.extend(value.flatten() for value in values if value.numel() >= 64)
        return values

    engine.context = dataclasses.replace(engine.context, open_sums=watched)
    graph, parameters, features, slope = example("images")
    secret = engine.share(features if session.rank == 1 else None, 1, features.shape)
    for turn in range(2):
        shared = {key: engine.public(value + turn / 100) for key, value in parameters.items()}
        tape = execution.forward(engine, graph, shared, secret, COINS)
        execution.backward(tape, engine.public(slope))
    small = 0
    for one, other in itertools.combinations(opened, 2):
        count = min(len(one), len(other))
        small += int(((one[:count] - other[:count]).double().abs() < 2.0**50).sum() > count / 4)
    return len(opened), small


def test_no_mask_is_ever_on_two_values(pair: Place) -> None:
    """The features are the same both times, the weights nearly so; their openings differ by what
    is uniform over the ring, where x - a and x' - a would differ by x - x'.
    """
    for party, outcome in harness.run_parties(pair, _openings).items():
        assert not isinstance(outcome, BaseException), (party, outcome)
        assert outcome[0] > 60
        assert outcome[1] == 0


def _with_known_deviations(session: Any) -> list[int]:
    """Apply one model again and again; return its rounds and how often it differs from torch's."""
    engine, ledger = session.engine, session.ledger
    graph, parameters, features, _ = example("signals")
    secret = engine.share(features if session.rank == 1 else None, 1, features.shape)
    shared = {key: engine.public(value) for key, value in parameters.items()}
    found, wrong = [], 0
    for change in (None, None, "running_var", "weight"):
        for key in parameters:
            if change and key.endswith(f"1.{change}"):
                parameters[key] = parameters[key] * 3 + 1
                if change == "weight":
                    shared[key] = engine.public(parameters[key])
                else:
                    shared[key].set(engine.public(parameters[key]))
        before = session.rounds
        scores = execution.run(engine, graph, shared, secret)
        found.append(session.rounds - before)
        exact = plain.run(graph, parameters, features)
        wrong += int((ledger.reveal(scores, "", why="a test") - exact).abs().max() > 0.01)
    return [*found, wrong]


def test_deviations_are_found_once_for_as_long_as_nothing_changes(pair: Place) -> None:
    for party, found in harness.run_parties(pair, _with_known_deviations).items():
        assert not isinstance(found, BaseException), (party, found)
        first, again, *changed, wrong = found
        assert again + 10 < first
        assert changed == [first, first]
        assert wrong == 0
