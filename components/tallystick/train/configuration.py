"""What the train step is told, checked before anybody is dialled."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.models import architectures
from tallystick.models.linear import LINEAR_MODELS
from tallystick.models.meaning import AUTOMATIC
from tallystick.runtime.configuration import JSON, StepConfig
from tallystick.train.losses import LOSSES
from tallystick.train.optimisers import OPTIMISERS, Rule, adam_unit
from tallystick.train.schedule import SCHEDULES, Schedule
from tallystick.train.validation import WATCHED


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the train step is told."""

    shares: Path
    """The artifact of the encode step."""
    model: str
    """The model's name, or the user's own class."""
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
    """The agreed seed of the batches, the initial weights and Dropout. It is public."""
    feature_shape: tuple[int, ...] = ()
    """The shape that a network sees a row's features in; empty for that of the shares."""
    loss: str = AUTOMATIC
    """What is made small; by default what fits the model and the label."""
    optimiser: str = "sgd"
    """How the gradients move the parameters."""
    nesterov: bool = False
    """Whether the momentum looks ahead."""
    l1: float = 0.0
    """The weight of the penalty on parameters that are not nought."""
    schedule: str = "constant"
    """How the learning rate goes."""
    warmup_epochs: int = 0
    """Epochs in which the rate grows."""
    decay: float = 0.1
    """The factor of the step schedule."""
    decay_epochs: int = 10
    """How often it applies."""
    clip_norm: float = 0.0
    """The largest norm of a gradient; nought lets every one pass."""
    class_weights: tuple[float, ...] = ()
    """The weight of each class in the loss; none for equal ones."""
    watch: str = "none"
    """The metric that is opened on the validation rows after each epoch."""
    patience: int = 0
    """Epochs without an improvement after which training ends; nought goes through all."""
    checkpoints: str = ""
    """A folder or s3:// address that outlives the process; empty for none."""
    checkpoint_batches: int = 0
    """Batches after which a checkpoint is written within an epoch; nought only at its end."""
    resume: bool = True
    """Whether to go on from the latest checkpoint that all parties have."""
    warm_start: str = ""
    """This party's share of a model to begin with; empty to begin anew."""
    architecture: str = ""
    """The digest of the model's graph: filled in by the step, compared when the parties meet."""
    trained: Path
    """Where the model artifact is written."""
    metrics: object
    """KFP's Metrics artifact."""

    LOCAL = StepConfig.LOCAL | {"checkpoints", "warm_start"}

    def __post_init__(self) -> None:
        """Check ranges."""
        StepConfig.__post_init__(self)
        self.require(
            architectures.known(self.model),
            "model",
            f"one of {', '.join(architectures.NAMES)}, or package.module:Class or file.py:Class",
        )
        self.require(1 <= self.epochs <= 100_000, "epochs", "from 1 to 100000")
        self.require(1 <= self.batch_size <= 1 << 20, "batch_size", "from 1 to 1048576")
        self.require(0 < self.learning_rate <= 16, "learning_rate", "above 0, at most 16")
        self.require(0 <= self.momentum < 1, "momentum", "from 0 to below 1")
        self.require(0 <= self.l1 <= 16, "l1", "from 0 to 16")
        self.require(0 <= self.l2 <= 16, "l2", "from 0 to 16")
        self.require(self.seed >= 0, "seed", "0 or more")
        self.require(
            all(size >= 1 for size in self.feature_shape), "feature_shape", "whole numbers above 0"
        )
        self._require_one_of("loss", (AUTOMATIC, *LOSSES))
        self._require_one_of("optimiser", OPTIMISERS)
        self._require_one_of("schedule", SCHEDULES)
        self._require_one_of("watch", WATCHED)
        self.require(
            0 <= self.warmup_epochs < self.epochs, "warmup_epochs", "from 0 to below epochs"
        )
        self.require(0 < self.decay <= 1, "decay", "above 0, at most 1")
        self.require(self.decay_epochs >= 1, "decay_epochs", "1 or more")
        self.require(
            self.clip_norm == 0 or 2**-6 <= self.clip_norm <= 2**10,
            "clip_norm",
            "0, or from 0.016 to 1024",
        )
        self.require(
            all(0 < weight <= 1024 for weight in self.class_weights),
            "class_weights",
            "above 0 and at most 1024, one for each class",
        )
        self.require(
            self.patience == 0 or (self.patience > 0 and self.watch != "none"),
            "patience",
            "0, or more with a metric to watch",
        )
        self.require(self.checkpoint_batches >= 0, "checkpoint_batches", "0 or more")
        # checkpoint_batches may stand without checkpoints: a run on one machine leaves those out.
        looks_ahead = self.optimiser == "sgd" and self.momentum > 0
        self._require_used(looks_ahead, "without sgd and its momentum", "nesterov")
        self._require_used(
            self.schedule == "step", "without the schedule step", "decay", "decay_epochs"
        )
        self._require_used(
            self.model not in LINEAR_MODELS,
            "for a linear model, which sees columns",
            "feature_shape",
        )

    def joint(self) -> dict[str, JSON]:
        """Return what all parties must agree on; where a party keeps a file is its own affair."""
        # Spelled out: super() does not work in a dataclass with slots.
        joint = StepConfig.joint(self)
        return {
            **joint,
            "model": architectures.short(self.model),
            "warm_start": bool(self.warm_start),
        }

    def training(self) -> dict[str, Any]:
        """Return what the model artifact says of its training: what differs from the defaults."""
        always = ["epochs", "batch_size", "learning_rate", "l2", "seed"]
        if self.optimiser == "sgd":
            always.append("momentum")
        optional = (
            *(
                "feature_shape",
                "loss",
                "optimiser",
                "nesterov",
                "l1",
                "schedule",
                "warmup_epochs",
                "decay",
            ),
            *("decay_epochs", "clip_norm", "class_weights", "watch", "patience"),
        )
        changed = [name for name in optional if not self._is_default(name)]
        values = {name: getattr(self, name) for name in (*always, *changed)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def rule(self) -> Rule:
        """Return how to descend."""
        return Rule(
            optimiser=self.optimiser,
            momentum=self.momentum,
            nesterov=self.nesterov,
            l1=self.l1,
            l2=self.l2,
            clip_norm=self.clip_norm,
            unit=adam_unit(self.batch_size, self.class_weights),
        )

    def schedule_of(self, batches: int) -> Schedule:
        """Return how the learning rate goes over epochs of so many batches."""
        return Schedule(
            name=self.schedule,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batches=batches,
            warmup_epochs=self.warmup_epochs,
            decay=self.decay,
            decay_epochs=self.decay_epochs,
        )

    def _require_used(self, used: bool, why: str, *names: str) -> None:
        """Refuse a value that would be of no effect."""
        for name in names:
            self.require(used or self._is_default(name), name, f"left out {why}")

    def _is_default(self, name: str) -> bool:
        (default,) = (field.default for field in dataclasses.fields(self) if field.name == name)
        return bool(getattr(self, name) == default)

    def _require_one_of(self, field: str, names: tuple[str, ...]) -> None:
        self.require(getattr(self, field) in names, field, f"one of {', '.join(names)}")
