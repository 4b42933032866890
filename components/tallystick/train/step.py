"""Train one model on the shared rows; its parameters stay shared."""

# F = features of all parties. Shares are int64 modulo 2**64.

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallystick import tracking
from tallystick.models import artifact
from tallystick.models.linear import LINEAR_MODELS, WEIGHTS
from tallystick.runtime import events, life
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.engine import Secret
from tallystick.runtime.errors import DataError
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session
from tallystick.tables import shares, split
from tallystick.train.linear import Descent, LinearTrainer

LOSS_PART_ROWS = 16_384
"""Rows whose loss is computed at once."""
MAX_LOSS = 2.0**16


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the train step is told."""

    shares: Path
    """The artifact of the encode step."""
    model: str
    """The model's name."""
    epochs: int
    """How often the training rows are gone through."""
    batch_size: int
    """Rows of a batch; the last one of an epoch may be smaller."""
    learning_rate: float
    """The length of each step of the descent."""
    momentum: float
    """The part of the last step that the next one keeps."""
    l2: float
    """The weight of the penalty on large parameters."""
    seed: int
    """The agreed seed of the batches. It is public."""
    trained: Path
    """Where the model artifact is written."""
    metrics: object
    """KFP's Metrics artifact."""

    def __post_init__(self) -> None:
        """Check ranges."""
        StepConfig.__post_init__(self)
        self.require(self.model in LINEAR_MODELS, "model", f"one of {', '.join(LINEAR_MODELS)}")
        self.require(1 <= self.epochs <= 100_000, "epochs", "from 1 to 100000")
        self.require(1 <= self.batch_size <= 1 << 20, "batch_size", "from 1 to 1048576")
        self.require(0 < self.learning_rate <= 16, "learning_rate", "above 0, at most 16")
        self.require(0 <= self.momentum < 1, "momentum", "from 0 to below 1")
        self.require(0 <= self.l2 <= 16, "l2", "from 0 to 16")
        self.require(self.seed >= 0, "seed", "0 or more")

    def training(self) -> dict[str, Any]:
        """Return what the model artifact says of its training."""
        names = ("epochs", "batch_size", "learning_rate", "momentum", "l2", "seed")
        return {name: getattr(self, name) for name in names}


@life.step("train")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of epochs.
    """
    data = shares.read(config.shares)
    with (
        tracking.run(session=config.session, party=config.party, step="train") as log,
        Session.join(config, "train") as session,
    ):
        session.agree(data.manifest)
        log.parameters({"model": config.model, **config.training()})
        trainer, losses = _train(config, session, data, log)
        manifest = _manifest(config, session, data, losses)
        session.agree(manifest)
        parameters = {WEIGHTS: trainer.weights.share}
        artifact.write(session.output(config.trained), parameters, manifest)
        for past in manifest.history:
            log.json(f"reveals/{past['step']}.json", past["reveals"])
        config.metrics.log_metric("loss", losses[-1])  # type: ignore[attr-defined]
        session.result(loss=losses[-1])
    return config.epochs


def _train(
    config: Config, session: Session, data: shares.Shares, log: tracking.Run
) -> tuple[LinearTrainer, list[float]]:
    rows_of = _reader(session, data)
    descent = Descent(
        model=config.model,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        l2=config.l2,
    )
    trainer = LinearTrainer(session.engine, descent, len(data.manifest.joint["columns"]))
    num_train = len(data.train_rows)
    parts = [
        data.train_rows[begin : begin + LOSS_PART_ROWS]
        for begin in range(0, num_train, LOSS_PART_ROWS)
    ]
    losses: list[float] = []
    for epoch in range(config.epochs):
        for batch in split.batches(num_train, config.batch_size, config.seed, epoch):
            trainer.descend(*rows_of(data.train_rows[batch]))
        loss = session.ledger.reveal(
            trainer.loss([rows_of(part) for part in parts]),
            "training loss",
            why="to see whether the training converges",
        )
        assert loss is not None
        losses.append(_checked(float(loss)))
        log.metric("loss", losses[-1], epoch + 1)
        events.emit("progress", done=epoch + 1, total=config.epochs, unit="epoch", loss=losses[-1])
    return trainer, losses


def _reader(
    session: Session, data: shares.Shares
) -> Callable[[NDArray[np.int64]], tuple[Secret, Secret]]:
    def rows_of(rows: NDArray[np.int64]) -> tuple[Secret, Secret]:
        features_BF = session.engine.from_share(data.features(rows))
        label_B1 = session.engine.from_share(data.label(rows).unsqueeze(1))
        return features_BF, label_B1

    return rows_of


def _checked(loss: float) -> float:
    """Refuse a loss that shows that values left the fixed-point range.

    Raises:
        DataError: with the advice that helps.
    """
    if not -0.01 <= loss <= MAX_LOSS:
        raise DataError(
            "the training diverged: its loss left the range that fixed-point numbers can hold; "
            "lower learning_rate or momentum, or set standardise to true"
        )
    return loss


def _manifest(
    config: Config, session: Session, data: shares.Shares, losses: list[float]
) -> Manifest:
    before = data.manifest
    kept = ("rows", "row_order", "columns", "label", "precision_bits", "standardised", "split")
    joint = {
        "model": config.model,
        **{name: before.joint[name] for name in kept},
        "training": config.training(),
        "loss": losses,
    }
    return Manifest(
        kind=artifact.KIND,
        session=session.name,
        party=session.party,
        rank=session.rank,
        parties=session.parties,
        joint=joint,
        history=session.history(before.history),
    )
