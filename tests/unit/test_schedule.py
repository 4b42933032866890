"""The learning rate of each batch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tallystick.train.schedule import Schedule
from torch.optim import lr_scheduler


def schedule(name: str, **changes: int) -> Schedule:
    fields = {"epochs": 8, "batches": 5, "warmup_epochs": 0, "decay_epochs": 3, **changes}
    return Schedule(name=name, learning_rate=0.4, decay=0.5, **fields)  # type: ignore[arg-type]


def rates(of: Schedule) -> list[float]:
    return [of.rate(epoch, batch) for epoch in range(of.epochs) for batch in range(of.batches)]


THEIRS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "constant": lambda optimiser: lr_scheduler.LambdaLR(optimiser, lambda _: 1.0),
    "step": lambda optimiser: lr_scheduler.StepLR(optimiser, step_size=15, gamma=0.5),
    "cosine": lambda optimiser: lr_scheduler.CosineAnnealingLR(optimiser, T_max=40),
}


@pytest.mark.parametrize("name", THEIRS)
def test_rates_are_those_of_torch(name: str) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    theirs = THEIRS[name](optimiser)
    for rate in rates(schedule(name)):
        assert rate == pytest.approx(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()


@pytest.mark.parametrize("name", THEIRS)
def test_a_warm_up_grows_evenly_to_the_rate_and_then_the_schedule_begins(name: str) -> None:
    warm = rates(schedule(name, warmup_epochs=2))
    assert warm[:10] == pytest.approx([0.4 * (n + 1) / 10 for n in range(10)])
    assert warm[10:] == pytest.approx(rates(schedule(name, epochs=6)))
    assert min(warm) > 0
