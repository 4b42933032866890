"""Training and inference as the product does them, and SPU's if it is there.

One iteration of logistic regression, whose features are masked once before the first, and the
networks A, B, C of TF-Encrypted's benchmark, a training step and an inference each, always 128
rows; on this machine, or on hosts of a slow network, where every side's own TCP meets the delay.
Where such hosts cannot be made, ours alone is measured with a delay, through a proxy. Gloo's
connections cannot be led through one: CrypTen takes at least its time here, and the way there for
each round that it counts itself.

SPU 0.9.5 pins an old numpy and runs in a venv of its own: ``.venv-peers/spu`` at the repository's
root (``python -m venv .venv-peers/spu`` and ``.venv-peers/spu/bin/pip install spu==0.9.5``). Its
networks have no BatchNorm, ours and CrypTen's have. Its parties are processes as all others are,
with its own links over brpc, in plaintext; beside that, threads of one process with links in
memory, which is the least that its computation takes.
"""

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tallystick.models import architectures, execution
from tallystick.models.coins import Coins
from tallystick.runtime.session import Session
from tallystick.tables import split
from tallystick.train import losses, optimisers
from tallystick.train.learner import Learner
from tallystick.train.linear import LinearLearner
from tallystick.train.network import NetworkLearner

from tests.benchmarks import network
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
from tests.harness import free_port, run_parties
from tests.slow_net import Host

SPU = Path(__file__).parents[2] / ".venv-peers" / "spu" / "bin" / "python"
_SCRIPT = [str(SPU), str(Path(__file__).with_name("spu_peer.py"))]
_TICKS_S = os.sysconf("SC_CLK_TCK")


def ours(hosts: Mapping[str, Host] | None = None, delay_s: float = 0.0) -> dict[str, Cost]:
    """Measure the product's path: two parties and a dealer of their own.

    Args:
        hosts: where each is by name, unless all are on this machine.
        delay_s: how late a proxy passes on what they send.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        network.slow_place(Path(folder), delay_s, hosts) as (place, served),
    ):
        results = run_parties(place, _our_party, served._process.pid, timeout_s=1800)
    for outcome in results.values():
        if isinstance(outcome, BaseException):
            raise outcome
    return together(list(results.values()))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


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
        unit=ROWS,
    )  # fmt: skip

    def step_of(learner: Learner, x: Any, y: Any) -> Callable[[], None]:
        optimiser = optimisers.make(engine, rule, learner.penalised_P)
        table = learner.table(ROWS, lambda rows: x.share[rows.positions()], None, None)
        (batch,) = split.batches(ROWS, ROWS, 1, 0)
        if table.number is not None:
            engine.context.foretell(itertools.repeat((table.number, batch)))

        def step() -> None:
            gradient = learner.gradient(table.take(batch), y, Coins(1, 0, 0))
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


def spu(hosts: Sequence[Host] = ()) -> dict[str, Cost] | None:
    """Measure SPU in its own venv, a process for each party; None without the venv.

    Args:
        hosts: where each party is, unless both are on this machine.
    """
    if not SPU.exists():
        return None
    addresses = [f"{host.address}:7700" for host in hosts]
    addresses = addresses or [f"127.0.0.1:{free_port()}" for _ in range(2)]
    entering = [["nsenter", f"--net={host.namespace}"] for host in hosts] or [[], []]
    with ThreadPoolExecutor(2) as pool:
        begun = [
            pool.submit(_peer, [*entering[rank], *_SCRIPT, str(rank), *addresses])
            for rank in range(2)
        ]
        return together([party.result() for party in begun])


def spu_in_memory() -> dict[str, Cost] | None:
    """Measure SPU with both parties in one process, which send each other pointers."""
    return _peer(_SCRIPT) if SPU.exists() else None


def _peer(command: list[str]) -> dict[str, Cost]:
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800)
    found = json.loads(ended.stdout.splitlines()[-1])
    return {name: Cost(*spent) for name, spent in found.items()}
