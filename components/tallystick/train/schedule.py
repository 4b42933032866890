"""The learning rate of each batch: public, and a function of the batch's number alone."""

import math
from dataclasses import dataclass

SCHEDULES = ("constant", "step", "cosine")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How the learning rate goes.

    constant: always the same. step: times ``decay`` after every ``decay_epochs``. cosine: along
    half a wave from the rate down to nearly nought. Each may begin with a warm-up, in which the
    rate grows from batch to batch in equal steps.
    """

    name: str
    learning_rate: float
    epochs: int
    batches: int
    """Of an epoch."""
    warmup_epochs: int
    decay: float
    decay_epochs: int

    def rate(self, epoch: int, batch: int) -> float:
        """Return the rate of a batch, both counted from 0."""
        done = epoch * self.batches + batch
        warmup = self.warmup_epochs * self.batches
        if done < warmup:
            return self.learning_rate * (done + 1) / warmup
        match self.name:
            case "step":
                past = (epoch - self.warmup_epochs) // self.decay_epochs
                return self.learning_rate * self.decay**past
            case "cosine":
                part = (done - warmup) / (self.epochs * self.batches - warmup)
                return self.learning_rate * (1 + math.cos(math.pi * part)) / 2
            case _:
                return self.learning_rate
