"""What a training will cost, found by rehearsing one batch and the end of one epoch.

Rounds and bytes follow from public shapes, so they are those of the run, but for what the handshake
and the checkpoints add. Time is the processor time of this machine, and what the network adds to
it: a round-trip time for each round, and the bytes at the bandwidth.
"""

import resource
from dataclasses import dataclass
from typing import Any

import torch

from tallystick.models.coins import Coins
from tallystick.runtime.rehearsal import Cost, Rehearsal
from tallystick.train import losses, optimisers, validation
from tallystick.train.configuration import Config
from tallystick.train.health import range_bit
from tallystick.train.learner import Learner, Part
from tallystick.train.linear import LinearLearner
from tallystick.train.network import NetworkLearner


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What is public of the shares."""

    train: int
    validation: int
    feature_shape: tuple[int, ...]
    label_width: int
    """Values of a row's label: the number of classes, where it has several."""


def rehearse(
    config: Config, parties: int, rows: Rows, loss_name: str, network: Any, part_rows: int
) -> tuple[Cost, int]:
    """Return the cost of the whole training, and the peak memory of this process in bytes.

    Args:
        config: the step's configuration.
        parties: how many there are.
        rows: what is public of the shares.
        loss_name: what is made small.
        network: graph and initial parameters; None for a linear model.
        part_rows: rows whose loss is computed at once.
    """
    full, rest = divmod(rows.train, config.batch_size)
    with Rehearsal(parties) as engine:
        loss = losses.make(engine, loss_name, config.class_weights)
        learner: Learner
        if network is None:
            learner = LinearLearner(engine, loss, torch.Size(rows.feature_shape).numel())
        else:
            learner = NetworkLearner(engine, loss, *network)
        optimiser = optimisers.make(engine, config.rule(), learner.penalised_P)
        epoch = Cost()
        for size, times in ((config.batch_size, full), (rest, 1)):
            if size and times:
                engine.take()
                gradient_P = learner.gradient(*_part(engine, rows, size), Coins(0, 0, 0))
                learner.weights_P = optimiser.step(
                    learner.weights_P, gradient_P, size, config.learning_rate
                )
                epoch = epoch.plus(engine.take(), times)
        some = min(rows.train, part_rows)
        engine.open(learner.loss([_part(engine, rows, some)], some), [0])
        epoch = epoch.plus(engine.take(), rows.train / some if network is None else 1)
        engine.open(range_bit(engine, learner.weights_P), [0])
        epoch = epoch.plus(engine.take())
        if config.watch != "none":
            some = min(rows.validation, part_rows)
            parts = [_part(engine, rows, some)]
            engine.open(validation.mean(engine, config.watch, loss, learner, parts), [0])
            epoch = epoch.plus(engine.take(), rows.validation / some)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost().plus(epoch, config.epochs), peak_bytes


def seconds(cost: Cost, *, round_trip_s: float, bytes_per_s: float) -> float:
    """Return how long it takes where every member has a processor of its own."""
    computing = max(cost.compute_s, cost.dealer_s)
    return (
        computing + cost.rounds * round_trip_s + (cost.sent_bytes + cost.dealer_bytes) / bytes_per_s
    )


def _part(engine: Rehearsal, rows: Rows, count: int) -> Part:
    features = torch.zeros(count, *rows.feature_shape, dtype=torch.int64)
    label = torch.zeros(count, rows.label_width, dtype=torch.int64)
    return engine.from_share(features), engine.from_share(label)
