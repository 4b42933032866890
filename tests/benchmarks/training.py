"""Training and inference, side by side: the product, stock CrypTen, and SPU if it is there.

One iteration of logistic regression, and the networks A, B, C of TF-Encrypted's benchmark, a
training step and an inference each, always 128 rows. SPU 0.9.5 pins an old numpy and runs in a venv
of its own: ``.venv-peers/spu`` at the repository's root (``python -m venv .venv-peers/spu`` and
``.venv-peers/spu/bin/pip install spu==0.9.5``). Its networks have no BatchNorm, ours and CrypTen's
have.
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.onnx
from tallystick.models import architectures, execution
from tallystick.models.coins import Coins
from tallystick.runtime.session import Session
from tallystick.train import losses, optimisers
from tallystick.train.linear import LinearLearner
from tallystick.train.network import NetworkLearner
from torch.onnx._internal.torchscript_exporter import registration

from tests.harness import dealer, make_place, run_parties

ROWS, FEATURES, CLASSES = 128, 100, 10
SHAPES = {"a": (784,), "b": (1, 28, 28), "c": (1, 28, 28)}
LINEAR = "logistic regression, an iteration"
SPU = Path(__file__).parents[2] / ".venv-peers" / "spu" / "bin" / "python"
_TICKS_S = os.sysconf("SC_CLK_TCK")
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one iteration, step or inference."""

    seconds: float
    cpu_seconds: float
    """Of all processes of that side together."""
    rounds: float = 0.0


def names() -> list[str]:
    """Return what is measured, in order."""
    networks = [
        f"network {n.upper()}, {what}" for n in SHAPES for what in ("training", "inference")
    ]
    return [LINEAR, *networks]


def ours() -> dict[str, Cost]:
    """Measure the product's path: two parties and a dealer of their own."""
    with tempfile.TemporaryDirectory() as folder:
        place = make_place(Path(folder))
        with dealer(place) as served:
            pid = served._process.pid
            results = run_parties(place, _our_party, pid, timeout_s=1800)
    for outcome in results.values():
        if isinstance(outcome, BaseException):
            raise outcome
    return _together(list(results.values()))


def _together(parties: list[dict[str, Cost]]) -> dict[str, Cost]:
    """Take the first party's clock and everybody's CPU."""
    return {
        name: Cost(cost.seconds, sum(party[name].cpu_seconds for party in parties), cost.rounds)
        for name, cost in parties[0].items()
    }


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def measure(work: Callable[[], Any], repeats: int, others_s: Callable[[], float]) -> Cost:
    """Return the median time of some work, and the mean of its CPU time."""
    for _ in range(2):
        work()  # from the second time on the dealer is asked ahead, as in any loop
    times, begin_s = [], time.process_time() + others_s()
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    spent_s = time.process_time() + others_s() - begin_s
    return Cost(statistics.median(times), spent_s / repeats)


def _our_party(session: Session, dealer_pid: int) -> dict[str, Cost]:
    torch.set_num_threads(1)

    def others_s() -> float:
        return _cpu_s(dealer_pid) if session.rank == 0 else 0.0

    def share(value: torch.Tensor) -> Any:
        return session.engine.share(value if session.rank == 0 else None, 0, value.shape)

    def cost(work: Callable[[], Any], repeats: int) -> Cost:
        found, before = measure(work, repeats, others_s), session.rounds
        work()
        return Cost(found.seconds, found.cpu_seconds, session.rounds - before)

    torch.manual_seed(0)
    engine, found = session.engine, {}
    rule = optimisers.Rule(
        optimiser="sgd", momentum=0.0, nesterov=False, l1=0.0, l2=0.0, clip_norm=0.0,
        batch_size=ROWS,
    )  # fmt: skip

    def step_of(learner: Any, x: Any, y: Any) -> Callable[[], None]:
        optimiser = optimisers.make(engine, rule, learner.penalised_P)

        def step() -> None:
            gradient = learner.gradient(x, y, Coins(1, 0, 0))
            learner.weights_P = optimiser.step(learner.weights_P, gradient, ROWS, 0.1)

        return step

    x, y = torch.randn(ROWS, FEATURES), (torch.rand(ROWS, 1) > 0.5).double()
    linear = LinearLearner(engine, losses.make(engine, "logistic", []), FEATURES)
    found[LINEAR] = cost(step_of(linear, share(x), share(y)), 20)
    for name, shape in SHAPES.items():
        network = architectures.build(f"tfe_network_{name}", shape, CLASSES, 1)
        learner = NetworkLearner(engine, losses.make(engine, "cross_entropy", []), *network)
        images = share(torch.randn(ROWS, *shape))
        classes = torch.nn.functional.one_hot(torch.randint(0, CLASSES, (ROWS,)), CLASSES)
        step = step_of(learner, images, share(classes.double()))
        found[f"network {name.upper()}, training"] = cost(step, 3)
        finished = {key: engine.from_share(v) for key, v in learner.parameters().items()}
        scores = cost(partial(execution.run, engine, network[0], finished, images), 3)
        found[f"network {name.upper()}, inference"] = scores
    return found


def stock() -> dict[str, Cost]:
    """Measure CrypTen 0.4.1 over Gloo with its default provider: two processes."""
    results: Any = _spawn.Queue()
    with tempfile.TemporaryDirectory() as folder:
        place = f"file://{folder}/rendezvous"
        parties = [_spawn.Process(target=_stock_party, args=(r, place, results)) for r in range(2)]
        for process in parties:
            process.start()
        found = dict(results.get(timeout=1800) for _ in parties)
        for process in parties:
            process.join(60)
    return _together([found[0], found[1]])


def _stock_party(rank: int, rendezvous: str, results: Any) -> None:
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
        return measure(work, repeats, lambda: 0.0)

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
        model = _stock_network(cnn, name).encrypt(src=0)
        images = crypten.cryptensor(torch.randn(ROWS, *shape), src=0)
        classes = torch.nn.functional.one_hot(torch.randint(0, CLASSES, (ROWS,)), CLASSES)
        label = crypten.cryptensor(classes.float(), src=1)
        step = step_of(model.train(), cnn.CrossEntropyLoss(), images, label)
        found[f"network {name.upper()}, training"] = cost(step, 2)
        model.eval()
        with crypten.no_grad():
            scores = cost(lambda model=model, images=images: model(images), 2)
        found[f"network {name.upper()}, inference"] = scores
    results.put((rank, found))


def _stock_network(cnn: Any, name: str) -> Any:
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


def spu() -> dict[str, Cost] | None:
    """Measure SPU in its own venv; None where there is none."""
    if not SPU.exists():
        return None
    script = Path(__file__).with_name("spu_peer.py")
    ended = subprocess.run([SPU, script], capture_output=True, text=True, check=True, timeout=1800)
    found = json.loads(ended.stdout.splitlines()[-1])
    return {name: Cost(seconds, cpu) for name, (seconds, cpu) in found.items()}
