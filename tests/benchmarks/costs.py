"""What the training benchmark's sides have in common: sizes, names, and how a cost is measured."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ROWS, FEATURES, CLASSES = 128, 100, 10
SHAPES = {"a": (784,), "b": (1, 28, 28), "c": (1, 28, 28)}
LINEAR = "logistic regression"


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


def together(parties: list[dict[str, Cost]]) -> dict[str, Cost]:
    """Take the first party's clock and everybody's CPU."""
    return {
        name: Cost(cost.seconds, sum(party[name].cpu_seconds for party in parties), cost.rounds)
        for name, cost in parties[0].items()
    }


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
