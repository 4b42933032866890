"""What a training will cost, found by rehearsing one batch and the end of one epoch.

Rounds and bytes follow from public shapes, so they are those of the run, but for what the handshake
and the checkpoints add. Time is from when the members have met. Apart, each has a core like this
machine's, and the network adds the way there for each round, there and back for each wait for the
dealer, and the bytes at the bandwidth. Here, all share the processors of this machine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from tallystick.models.coins import Coins
from tallystick.runtime.dealer.foresight import ENOUGH_AHEAD_BYTES
from tallystick.runtime.life import peak_bytes
from tallystick.runtime.orders import NATURAL, Selection
from tallystick.runtime.rehearsal import Cost, Rehearsal, Stretch, of_loop
from tallystick.train import losses, optimisers, validation
from tallystick.train.configuration import Config
from tallystick.train.health import range_bit
from tallystick.train.learner import Learner, Part, part_rows
from tallystick.train.linear import LinearLearner
from tallystick.train.network import NetworkLearner

_WARM_S = 0.1
PROCESS_BYTES = 400_000_000
"""What a step's process holds before it computes: torch, MLflow, Kubeflow's executor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What is public of the shares."""

    train: int
    validation: int
    feature_shape: tuple[int, ...]
    label_width: int
    """Values of a row's label: the number of classes, where it has several."""


def rehearse(
    config: Config, parties: int, rows: Rows, loss_name: str, network: Any
) -> tuple[Cost, int]:
    """Return the cost of the whole training, and the memory that its process will need, in bytes.

    Args:
        config: the step's configuration.
        parties: how many there are.
        rows: what is public of the shares.
        loss_name: what is made small.
        network: graph and initial parameters; None for a linear model.
    """
    before_bytes = peak_bytes()
    full, rest = divmod(rows.train, config.batch_size)
    with Rehearsal(parties) as engine:
        loss = losses.make(engine, loss_name, config.class_weights)
        learner: Learner
        if network is None:
            learner = LinearLearner(engine, loss, torch.Size(rows.feature_shape).numel())
        else:
            learner = NetworkLearner(engine, loss, *network)
        optimiser = optimisers.make(engine, config.rule(), learner.penalised_P)
        engine.spent()
        at_once = min(rows.train, part_rows(rows.feature_shape))
        room = max(at_once, min(rows.train, config.batch_size))
        read = partial(_noughts, rows.feature_shape)
        table = learner.table(room, read, None, None)
        watched = rows.validation if config.watch != "none" else 0
        once = engine.spent((rows.train + watched) / room)

        def part(count: int) -> Part:
            taken = Selection(room, NATURAL, 0, count)
            return table.take(taken), engine.from_share(_noughts((rows.label_width,), taken))

        epoch: list[Stretch] = []
        for size, times in ((config.batch_size, full), (rest, 1)):
            if size and times:

                def descend(size: int = size) -> None:
                    gradient_P = learner.gradient(*part(size), Coins(0, 0, 0))
                    learner.weights_P = optimiser.step(
                        learner.weights_P, gradient_P, size, config.learning_rate
                    )

                epoch.append(_rehearsed(engine, descend, times))
        engine.open(learner.loss([part(at_once)], at_once), [0])
        epoch.append(engine.spent(rows.train / at_once if network is None else 1))
        engine.open(range_bit(engine, learner.weights_P), [0])
        epoch.append(engine.spent())
        if config.watch != "none":
            some = min(rows.validation, room)
            parts = [part(some)]
            engine.open(validation.mean(engine, config.watch, loss, learner, parts), [0])
            epoch.append(engine.spent(rows.validation / some))
    cost = of_loop(epoch, config.epochs).plus(once.cost, once.times)
    row_bytes = 8 * math.prod(rows.feature_shape)
    data_bytes = (rows.train + rows.validation) * row_bytes
    if table.number is not None:  # what is opened of them too; the rehearsal held some of it
        data_bytes += max(0, rows.train + watched - room) * row_bytes
    last_bytes = max(step.request.derived_bytes for stretch in epoch for step in stretch.steps)
    ahead_bytes = min(ENOUGH_AHEAD_BYTES + last_bytes, cost.dealer_bytes / config.epochs)
    computing_bytes = peak_bytes() - before_bytes
    return cost, round(PROCESS_BYTES + data_bytes + ahead_bytes + computing_bytes)


def seconds(cost: Cost, *, round_trip_s: float, bytes_per_s: float) -> float:
    """Return how long it takes where every member has a processor of its own.

    In a round all send at once, and each waits for what was sent to it: half of the time there and
    back. Asking the dealer takes all of it.
    """
    computing_s = max(cost.compute_s, cost.dealer_s)
    waiting_s = (cost.rounds / 2 + cost.waits) * round_trip_s
    return computing_s + waiting_s + (cost.sent_bytes + cost.dealer_bytes) / bytes_per_s


def seconds_here(cost: Cost, parties: int, processors: int) -> float:
    """Return how long it takes where all members share the processors of this machine.

    The parties go round by round, so each takes as long as the slowest.
    """
    work_s = parties * cost.compute_s + cost.dealer_s
    shared_s = max(work_s / processors, cost.compute_s, cost.dealer_s)
    return shared_s + cost.turns_s


def _rehearsed(engine: Rehearsal, work: Callable[[], None], times: float) -> Stretch:
    """Rehearse some work: once, and where that was short again, for the first time is slow."""
    engine.spent()
    work()
    cold = engine.spent(times)
    spent_s = cold.cost.compute_s + cold.cost.dealer_s
    again = round(_WARM_S / spent_s)
    if not again:
        return cold
    for _ in range(again):
        work()
    warm = engine.spent()
    return Stretch(
        cost=Cost().plus(warm.cost, 1 / again),
        steps=cold.steps,
        times=times,
        dealt_s=warm.dealt_s,
    )


def _noughts(shape: tuple[int, ...], rows: Selection) -> torch.Tensor:
    return torch.zeros(rows.count, *shape, dtype=torch.int64)
