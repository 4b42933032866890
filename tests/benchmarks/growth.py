"""``python -m tests.benchmarks.growth FILE.png``: how a training grows with rows, features, batch.

One epoch, two parties and a dealer. Drawn are the first party's processor time, for others
may be at work on the machine, and the most memory that it holds.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from tallystick.models import architectures
from tallystick.models.coins import Coins
from tallystick.runtime import life
from tallystick.runtime.session import Session
from tallystick.tables import split
from tallystick.train import losses, optimisers
from tallystick.train.learner import Learner
from tallystick.train.linear import LinearLearner
from tallystick.train.network import NetworkLearner

from tests.harness import dealer, make_place, run_parties

MODELS = ("logistic_regression", "mlp")
USUAL = {"rows": 2048, "features": 100, "batch": 128}
VARIED = {
    "rows": (512, 2048, 8192),
    "features": (25, 100, 400),
    "batch": (32, 128, 512),
}
Measured = tuple[float, float]
"""Seconds and bytes."""


def run() -> dict[tuple[str, str], list[Measured]]:
    """Return what each model takes while one of the sizes is varied."""
    found: dict[tuple[str, str], list[Measured]] = {}
    for model in MODELS:
        for name, sizes in VARIED.items():
            found[model, name] = [_measure(model, {**USUAL, name: size}) for size in sizes]
            print(model, name, found[model, name], flush=True)
    return found


def _measure(model: str, sizes: dict[str, int]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        place = make_place(Path(folder))
        with dealer(place):
            changes = {name: {"join_timeout_s": 200} for name in place.parties}
            results = run_parties(place, _epoch, model, sizes, timeout_s=900, configs=changes)
    outcome = results["alice"]
    if isinstance(outcome, BaseException):
        raise outcome
    seconds, memory = outcome
    return seconds, memory


def _epoch(session: Session, model: str, sizes: dict[str, int]) -> Measured:
    engine, rows, features = session.engine, sizes["rows"], sizes["features"]
    loss = losses.make(engine, "logistic", [])
    learner: Learner = LinearLearner(engine, loss, features)
    if model == "mlp":
        learner = NetworkLearner(engine, loss, *architectures.build(model, (features,), 1, 1))
    rule = optimisers.Rule(
        optimiser="sgd", momentum=0.0, nesterov=False, l1=0.0, l2=0.0, clip_norm=0.0,
        unit=sizes["batch"],
    )  # fmt: skip
    optimiser = optimisers.make(engine, rule, learner.penalised_P)
    label = (torch.rand(rows, 1) > 0.5).double()
    shares = [
        engine.share(value if session.rank == 0 else None, 0, value.shape).share
        for value in (torch.randn(rows, features), label)
    ]
    begin = time.process_time()
    table = learner.table(rows, lambda part: shares[0][part.positions()], None, None)
    batches = split.batches(rows, sizes["batch"], 1, 0)
    if table.number is not None:
        engine.context.foretell((table.number, batch) for batch in batches)
    for batch in batches:
        label = engine.from_share(shares[1][batch.positions()])
        gradient = learner.gradient(table.take(batch), label, Coins(1, 0, 0))
        learner.weights_P = optimiser.step(learner.weights_P, gradient, batch.count, 0.1)
    return time.process_time() - begin, float(life.peak_bytes())


def draw(found: dict[tuple[str, str], list[Measured]], file: Path) -> None:
    """Draw a column for each size, time above memory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    panels = figure.subplots(2, len(VARIED), sharex="col", sharey="row")
    for (above, below), (name, sizes) in zip(panels.T, VARIED.items(), strict=True):
        for model in MODELS:
            seconds, memory = zip(*found[model, name], strict=True)
            above.plot(sizes, seconds, marker="o", label=model)
            below.plot(sizes, [count / 1e6 for count in memory], marker="o", label=model)
        fixed = ", ".join(f"{size} {other}" for other, size in USUAL.items() if other != name)
        above.set_title(fixed, fontsize="small")
        above.set(xscale="log", yscale="log")
        below.set(xlabel=name, xticks=sizes, xticklabels=sizes, ylim=(0, None))
        below.minorticks_off()
    panels[0, 0].set_ylabel("s of one core for an epoch")
    panels[1, 0].set_ylabel("MB of memory")
    panels[0, 0].legend()
    figure.savefig(file)


if __name__ == "__main__":
    draw(run(), Path(sys.argv[1]))
