"""The loop over epochs and batches, for every model: progress, metrics, checkpoints, early end."""

# B = rows of a batch.

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tallystick import tracking
from tallystick.models.checkpoints import Checkpoint, Checkpoints
from tallystick.models.coins import Coins
from tallystick.runtime import events, progress
from tallystick.runtime.orders import Selection, pieces
from tallystick.runtime.session import Session
from tallystick.tables import shares, split
from tallystick.train import health, validation
from tallystick.train.configuration import Config
from tallystick.train.learner import Learner, Part, Table, part_rows
from tallystick.train.losses import Loss
from tallystick.train.optimisers import Optimiser

_SAY_EVERY_S = 2.0


@dataclass(kw_only=True, slots=True)
class Progress:
    """What is public of a training's state: where it is, and what was opened so far."""

    epoch: int = 0
    batch: int = 0
    """Both the next ones, counted from 0."""
    losses: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    """The metric on the validation rows after each epoch; empty where none is watched."""
    best_epoch: int = 0
    """The epoch, counted from 1, with the best of them."""
    ended: bool = False
    """Whether the metric has stopped to improve."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows for one purpose."""

    positions: NDArray[np.int64]
    """Among all rows of the shares."""
    table: Table
    at_once: int
    """So many are measured together."""

    def parts(self) -> list[Selection]:
        """Return all of them, as many together as are computed at once."""
        return pieces(len(self.positions), self.at_once)

    def named(self, taken: Sequence[Selection]) -> Iterator[tuple[int, Selection]]:
        """Name rows of a masked table."""
        assert self.table.number is not None
        yield from ((self.table.number, selection) for selection in taken)


class Loop:
    """One training of one model.

    Args:
        config: the step's configuration.
        session: the joined session.
        data: the shares.
        log: MLflow's run.
        loss: of the model's scores.
        learner: the model.
        optimiser: moves its parameters.
        checkpoints: keeps its state.
    """

    def __init__(
        self,
        config: Config,
        session: Session,
        data: shares.Shares,
        log: tracking.Run,
        *,
        loss: Loss,
        learner: Learner,
        optimiser: Optimiser,
        checkpoints: Checkpoints,
    ) -> None:
        self._config, self._session, self._data, self._log = config, session, data, log
        self._loss, self.learner, self._optimiser = loss, learner, optimiser
        self._checkpoints = checkpoints
        self._batches = -(-len(data.train_rows) // config.batch_size)
        self._schedule = config.schedule_of(self._batches)
        self.progress = Progress()
        self._best: dict[str, torch.Tensor] = {}

    def run(self) -> None:
        """Train until the last epoch, or until the watched metric stops to improve."""
        self._resume()
        at, config = self.progress, self._config
        first = at.epoch * self._batches + at.batch
        total = config.epochs * self._batches
        if first < total and not at.ended:
            self._prepare()
        began = said = time.monotonic()
        done = 0
        while at.epoch < config.epochs and not at.ended:
            for batch in self._batches_of(at.epoch)[at.batch :]:
                self._descend(batch)
                done += 1
                at.batch += 1
                now = time.monotonic()
                left_s = (now - began) / done * (total - first - done)
                if at.batch < self._batches and now - said > _SAY_EVERY_S:
                    said = now
                    self._say(left_s, batch=at.batch, batches=self._batches)
                if at.batch < self._batches:
                    self._keep_now_and_then()
            self._end_epoch(left_s)
        if self._best:
            self.learner.restore(self._best)

    def _prepare(self) -> None:
        """Make the tables of features, and foretell which rows will be taken of them."""
        self._train = self._ready(self._data.train_rows)
        if self._config.watch != "none":
            self._validation = self._ready(self._data.validation_rows)
        if self._train.table.number is not None:
            at = self.progress
            self._session.engine.context.foretell(self._coming(at.epoch, at.batch))

    def _ready(self, rows: NDArray[np.int64]) -> _Rows:
        def read(selection: Selection) -> torch.Tensor:
            return self._data.features(rows[selection.positions()])

        folder = self._config.trained.parent
        at_once = part_rows(self._data.manifest.joint["feature_shape"])
        masked = progress.Progress("rows masked", len(rows))
        return _Rows(rows, self.learner.table(len(rows), read, folder, masked), at_once)

    def _coming(self, epoch: int, batch: int) -> Iterator[tuple[int, Selection]]:
        """Say what the epochs from here on will take of masked tables, as they do take it."""
        for number in range(epoch, self._config.epochs):
            batches = self._batches_of(number)[batch if number == epoch else 0 :]
            yield from self._train.named([*batches, *self._train.parts()])
            if self._config.watch != "none":
                yield from self._validation.named(self._validation.parts())

    def _batches_of(self, epoch: int) -> list[Selection]:
        config = self._config
        return split.batches(len(self._data.train_rows), config.batch_size, config.seed, epoch)

    def _descend(self, batch: Selection) -> None:
        at, learner = self.progress, self.learner
        coins = Coins(self._config.seed, at.epoch, at.batch)
        gradient_P = learner.gradient(*self._read(self._train, batch), coins)
        rate = self._schedule.rate(at.epoch, at.batch)
        learner.weights_P = self._optimiser.step(learner.weights_P, gradient_P, batch.count, rate)

    def _end_epoch(self, left_s: float) -> None:
        at, ledger = self.progress, self._session.ledger
        mean = self.learner.loss(self._parts(self._train), len(self._train.positions))
        why = "to see whether the training converges"
        loss = ledger.reveal(mean, "training loss", why=why)
        assert loss is not None
        at.losses.append(health.checked(float(loss)))
        health.check_parameters(self._session, self.learner.weights_P)
        at.epoch, at.batch = at.epoch + 1, 0
        self._log.metric("loss", at.losses[-1], at.epoch)
        shown = {"loss": at.losses[-1]}
        if self._config.watch != "none":
            shown |= self._watch()
        self._say(left_s, **shown)
        self._keep()

    def _watch(self) -> dict[str, float]:
        """Open the agreed metric on the validation rows, and see whether it still improves."""
        at, config = self.progress, self._config
        parts = self._parts(self._validation)
        value = validation.measure(self._session, config.watch, self._loss, self.learner, parts)
        at.watched.append(value)
        name = f"validation_{config.watch}"
        self._log.metric(name, value, at.epoch)
        best = (max if config.watch == "accuracy" else min)(at.watched)
        if at.watched.index(best) == at.epoch - 1:
            at.best_epoch = at.epoch
            self._best = {name: share.clone() for name, share in self.learner.state().items()}
        at.ended = 0 < config.patience <= at.epoch - at.best_epoch
        return {name: value}

    def _say(self, left_s: float, **shown: float) -> None:
        at = self.progress
        done = {"done": at.epoch, "total": self._config.epochs, "unit": "epoch"}
        left = {"left_s": round(left_s)} if left_s >= 1 and at.epoch < self._config.epochs else {}
        events.emit("progress", **done, **shown, **left)

    def _read(self, rows: _Rows, selection: Selection) -> Part:
        label = self._data.label(rows.positions[selection.positions()])
        shared = self._session.engine.from_share(label.reshape(selection.count, -1))
        return rows.table.take(selection), shared

    def _parts(self, rows: _Rows) -> Iterator[Part]:
        return (self._read(rows, part) for part in rows.parts())

    def _keep_now_and_then(self) -> None:
        at = self.progress
        done = at.epoch * self._batches + at.batch
        if self._config.checkpoint_batches and done % self._config.checkpoint_batches == 0:
            self._keep()

    def _keep(self) -> None:
        """Write a checkpoint, together with all parties."""
        state: dict[str, torch.Tensor] = {}
        for prefix, part in (
            ("learner", self.learner.state()),
            ("optimiser", self._optimiser.state()),
            ("best", self._best),
        ):
            state |= {f"{prefix}.{name}": share for name, share in part.items()}
        self._checkpoints.write(
            Checkpoint(
                state=state, progress=_plain(self.progress), numbers=self._optimiser.numbers()
            )
        )

    def _resume(self) -> None:
        """Go on from the latest checkpoint that all parties have, if there is one."""
        found = self._checkpoints.latest()
        if found is None:
            return
        self.progress = Progress(**found.progress)
        self.learner.restore(found.part("learner"))
        self._optimiser.restore(found.part("optimiser"), found.numbers)
        self._best = found.part("best")
        for epoch, loss in enumerate(self.progress.losses, start=1):
            self._log.metric("loss", loss, epoch)
        events.emit("resumed", epoch=self.progress.epoch, batch=self.progress.batch)


def _plain(progress: Progress) -> dict[str, Any]:
    return {name: getattr(progress, name) for name in Progress.__slots__}
