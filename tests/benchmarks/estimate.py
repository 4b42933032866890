"""``python -m tests.benchmarks.estimate [JOB ...]``: how long trainings were to take, and did.

The members share this machine, as in ``tallystick estimate``'s "all on this machine". What took is
from where the members have met to the end. Nothing else may run meanwhile, on the host of a virtual
machine neither: the last column says how much of the time the processors were away.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tallystick.runtime.rehearsal import Cost
from tallystick.train import estimate

from tests import harness
from tests.train import room
from tests.train.room import Rows, Training


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training."""

    config: Mapping[str, Any]
    rows: int
    shape: tuple[int, ...]
    kind: str = "binary"
    parties: int = 2


SGD = {"epochs": 2, "batch_size": 128, "momentum": 0.9}
ADAM = {"epochs": 2, "batch_size": 128, "optimiser": "adam", "learning_rate": 0.01}
JOBS = {
    "logistic_regression, 20 features": Job(
        config={**SGD, "model": "logistic_regression"}, rows=20_000, shape=(20,)
    ),
    "logistic_regression, 100 features": Job(
        config={**SGD, "model": "logistic_regression"}, rows=20_000, shape=(100,)
    ),
    "logistic_regression, 100 features, three": Job(
        config={**SGD, "model": "logistic_regression"}, rows=20_000, shape=(100,), parties=3
    ),
    "linear_svm, Adam": Job(config={**ADAM, "model": "linear_svm"}, rows=10_000, shape=(50,)),
    "softmax_regression": Job(
        config={**SGD, "model": "softmax_regression"}, rows=4_000, shape=(1, 8, 8), kind="classes"
    ),
    "mlp": Job(config={**SGD, "model": "mlp"}, rows=1_500, shape=(1, 8, 8), kind="classes"),
    "mlp, three": Job(
        config={**SGD, "model": "mlp"}, rows=1_500, shape=(1, 8, 8), kind="classes", parties=3
    ),
    "cnn": Job(config={**SGD, "model": "cnn"}, rows=1_500, shape=(1, 8, 8), kind="classes"),
    "lenet": Job(
        config={**SGD, "model": "lenet", "epochs": 1}, rows=640, shape=(1, 28, 28), kind="classes"
    ),
}


def measure(job: Job) -> tuple[float, float, float]:
    """Return the seconds that were expected, those that it took, and the part stolen of them."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(job.rows, *job.shape, generator=generator, dtype=torch.float64)
    classes = 2 if job.kind == "binary" else 10
    label = torch.randint(classes, (job.rows,), generator=generator)
    rows = Rows(features=features, label=label, kind=job.kind)
    with tempfile.TemporaryDirectory() as folder:
        place = harness.make_place(Path(folder) / "place", job.parties)
        with harness.dealer(place):
            room.write(rows, place, Path(folder))
            before = _ticks()
            training = Training(place, Path(folder), job.config)
            training.finish(3600)
            stolen, ticks = (after - then for after, then in zip(_ticks(), before, strict=True))
        (found,) = training.events("alice", "estimate")
        begin, end = (
            datetime.fromisoformat(training.events("alice", kind)[0]["time"])
            for kind in ("joined", "finished")
        )
    cost = Cost(**{name: found[name] for name in Cost.__slots__})
    here_s = estimate.seconds_here(cost, job.parties, len(os.sched_getaffinity(0)))
    return here_s, (end - begin).total_seconds(), stolen / ticks


def _ticks() -> tuple[int, int]:
    """Return the processors' time that the host gave to other machines, and all time."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    return ticks[-1], sum(ticks)


def table(names: list[str]) -> Table:
    """Measure them one after the other."""
    found = Table("training", "expected, s", "took, s", "took / expected", "stolen")
    for name in names:
        expected_s, took_s, stolen = measure(JOBS[name])
        ratio = took_s / expected_s
        found.add_row(name, f"{expected_s:.1f}", f"{took_s:.1f}", f"{ratio:.2f}", f"{stolen:.0%}")
        print(name, f"{expected_s:.1f} {took_s:.1f} {ratio:.2f} {stolen:.0%}", flush=True)
    return found


if __name__ == "__main__":
    Console().print(table(sys.argv[1:] or list(JOBS)))
