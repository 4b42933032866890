"""Every step's configuration, built from a job before anything starts.

Each step checks its own when its turn comes. Without this look ahead, a slip in what the last one
is told would be found when the others have done their work.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tallystick.job import SUPERVISED, Job
from tallystick.package import Task
from tallystick.runtime.configuration import JSON, StepConfig
from tallystick.runtime.errors import ConfigError

_PLACE = Path("/not-known-yet")


def check(job: Job, parties: Iterable[str]) -> None:
    """Build the configuration of each step for each of the parties.

    Raises:
        ConfigError: one is refused; names party, step, field and what is allowed.
    """
    for party in parties:
        for _ in configurations(job, party):
            pass


def configurations(job: Job, party: str) -> Iterator[tuple[str, StepConfig]]:
    """Return the name and the configuration of each step of ours, as the party will run them.

    Places of artifacts are not known yet, and stand for nothing.

    Raises:
        ConfigError: as in :func:`check`.
    """
    known = {**job.package.defaults, **dict.fromkeys(SUPERVISED, str(_PLACE))}
    known |= {**job.arguments(party), "party": party, "session": job.session}
    for name, task in job.package.tasks.items():
        values = _values(task, known)
        if not task.step or values is None:
            continue  # another's component, or one that is told what a step before it finds out
        config: type[StepConfig] = import_module(f"tallystick.{task.step}.step").Config
        try:
            parsed = config.from_task(values)
            parsed.require_members([*job.parties])
        except ConfigError as error:
            raise ConfigError(f"{party}, step {name}: {error}") from None
        yield name, parsed


def _values(task: Task, known: Mapping[str, JSON]) -> dict[str, Any] | None:
    """Return what a task is given, or None where some of it is made by a task before it."""
    values: dict[str, Any] = {**task.defaults, **dict.fromkeys(task.artifacts, _PLACE)}
    for name, source in task.arguments.items():
        match source:
            case {"componentInputParameter": parameter}:
                if parameter in known:
                    values[name] = known[parameter]
            case {"runtimeValue": {"constant": constant}}:
                values[name] = constant
            case _:
                return None
    return values
