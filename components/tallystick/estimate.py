"""What a job's training will cost, before anybody starts it: ``tallystick estimate``."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tallystick.job import Job
from tallystick.models.meaning import AUTOMATIC, default_loss
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.rehearsal import Cost
from tallystick.train import estimate
from tallystick.train.configuration import Config
from tallystick.train.step import network_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What to expect."""

    cost: Cost
    peak_bytes: int
    here_s: float
    """On this machine, where all members share the processors."""
    apart_s: float
    """Where each member has a machine like this one."""


def of_job(
    job: Job,
    *,
    rows: estimate.Rows,
    kind: str,
    processors: int,
    round_trip_s: float,
    bandwidth: float,
) -> Outlook:
    """Rehearse a job's training.

    Args:
        job: whose pipeline has the train step.
        rows: what the shares will be.
        kind: of the label: binary, classes or number.
        processors: of this machine.
        round_trip_s: between the members.
        bandwidth: between them, in bytes a second.

    Raises:
        ConfigError: a parameter of the step is wrong, or the pipeline does not train.
    """
    if "train" not in job.package.steps:
        raise ConfigError(f"the pipeline {job.package.name!r} has no step that trains")
    config = _config(job)
    loss = config.loss if config.loss != AUTOMATIC else default_loss(config.model, kind)
    if config.watch != "none" and not rows.validation:
        raise ConfigError(
            f"the job watches the {config.watch} of validation rows; say with --validation-rows "
            "how many there are"
        )
    network = network_of(config, rows, loss)
    parties = len(job.parties)
    cost, peak_bytes = estimate.rehearse(config, parties, rows, loss, network)
    return Outlook(
        cost=cost,
        peak_bytes=peak_bytes,
        here_s=estimate.seconds_here(cost, parties, processors),
        apart_s=estimate.seconds(cost, round_trip_s=round_trip_s, bytes_per_s=bandwidth),
    )


def show(outlook: Outlook, console: Console, *, network: str) -> None:
    """Print a table of what to expect."""
    table = Table("training", "at the first party", box=None, pad_edge=False)
    cost = outlook.cost
    table.add_row("rounds", f"{cost.rounds:,.0f}")
    table.add_row("waits for the dealer", f"{cost.waits:,.0f}")
    table.add_row("sent to the others", _size(cost.sent_bytes))
    table.add_row("from the dealer", _size(cost.dealer_bytes))
    table.add_row("memory", _size(outlook.peak_bytes))
    table.add_row("time, all on this machine", _duration(outlook.here_s))
    table.add_row(f"time, {network}", _duration(outlook.apart_s))
    console.print(table)
    console.print(
        "Times are from when the members have met. The seconds in which their processes start come "
        "on top, and whatever else the machines do meanwhile.",
        style="dim",
    )


def _config(job: Job) -> Config:
    given = {**job.package.defaults, **job.arguments(next(iter(job.parties)))}
    here = Path()
    rest = {"party": "estimate", "session": "estimate", "metrics": None} | dict.fromkeys(
        ("shares", "trained", "consortium", "identity", "reveals"), here
    )
    known = {field.name for field in dataclasses.fields(Config)}
    return Config.from_task({**{k: v for k, v in given.items() if k in known}, **rest})


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
