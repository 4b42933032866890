"""Stock CrypTen's side of the training benchmark: Gloo, its default provider, two processes.

Nothing of ours is imported here: our engine adapts CrypTen in place.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.onnx
from torch.onnx._internal.torchscript_exporter import registration

from tests.benchmarks import pair
from tests.benchmarks.costs import (
    CLASSES,
    FEATURES,
    LINEAR,
    ROWS,
    SHAPES,
    Cost,
    measure,
    together,
)
from tests.slow_net import Host


def run(hosts: Sequence[Host] = ()) -> dict[str, Cost]:
    """Measure CrypTen 0.4.1 over Gloo with its default provider: two processes, here or apart."""
    return together(pair.run(_party, timeout_s=1800, hosts=hosts))


def _party(rank: int, rendezvous: str) -> dict[str, Cost]:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", RENDEZVOUS=rendezvous, DISTRIBUTED_BACKEND="gloo"
    )
    # torch 2.13 has moved a module that CrypTen imports.
    sys.modules.setdefault("torch.onnx._internal.registration", registration)
    import crypten
    import crypten.nn as cnn

    torch.set_num_threads(1)
    crypten.init()
    torch.manual_seed(0)

    def cost(work: Callable[[], Any], repeats: int) -> Cost:
        found = measure(work, repeats, lambda: 0.0)
        crypten.cfg.communicator.verbose = True  # that it counts its rounds
        crypten.reset_communication_stats()
        work()
        rounds = crypten.communicator.get().get_communication_stats()["rounds"]
        crypten.cfg.communicator.verbose = False
        return Cost(found.seconds, found.cpu_seconds, rounds)

    def step_of(model: Any, loss: Any, x: Any, y: Any) -> Callable[[], None]:
        optimiser = crypten.optim.SGD(model.parameters(), lr=0.1)

        def step() -> None:
            error = loss(model(x), y)
            optimiser.zero_grad()
            error.backward()
            optimiser.step()

        return step

    model = cnn.Sequential(cnn.Linear(FEATURES, 1), cnn.Sigmoid()).encrypt(src=0)
    x = crypten.cryptensor(torch.randn(ROWS, FEATURES), src=0)
    y = crypten.cryptensor((torch.rand(ROWS, 1) > 0.5).float(), src=1)
    found = {LINEAR: cost(step_of(model.train(), cnn.BCELoss(), x, y), 5)}
    for name, shape in SHAPES.items():
        model = _network(cnn, name).encrypt(src=0)
        images = crypten.cryptensor(torch.randn(ROWS, *shape), src=0)
        classes = torch.nn.functional.one_hot(torch.randint(0, CLASSES, (ROWS,)), CLASSES)
        label = crypten.cryptensor(classes.float(), src=1)
        step = step_of(model.train(), cnn.CrossEntropyLoss(), images, label)
        found[f"network {name.upper()}, training"] = cost(step, 2)
        model.eval()
        with crypten.no_grad():
            scores = cost(lambda model=model, images=images: model(images), 2)
        found[f"network {name.upper()}, inference"] = scores
    return found


def _network(cnn: Any, name: str) -> Any:
    """The layers of ``tfe_network_a, b, c`` from CrypTen's modules, as in its own benchmark."""

    class Flatten(cnn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.view(x.size(0), -1)

    def dense(inputs: int, outputs: int) -> list[Any]:
        return [cnn.Linear(inputs, outputs), cnn.BatchNorm1d(outputs), cnn.ReLU()]

    def images(channels: int, kernels: int) -> list[Any]:
        convolution = [cnn.Conv2d(channels, kernels, 5), cnn.BatchNorm2d(kernels), cnn.ReLU()]
        return [*convolution, cnn.AvgPool2d(2, 2)]

    if name == "a":
        return cnn.Sequential(*dense(784, 128), *dense(128, 128), cnn.Linear(128, CLASSES))
    first, second, hidden = (16, 16, 100) if name == "b" else (20, 50, 500)
    layers = [*images(1, first), *images(first, second), Flatten()]
    return cnn.Sequential(*layers, *dense(16 * second, hidden), cnn.Linear(hidden, CLASSES))
