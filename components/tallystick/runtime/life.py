"""A step's life around its computation: it ends well, or with a named error on every side."""

import atexit
import functools
import gc
import resource
import sys
import time
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tallystick.runtime import cores, events
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.errors import PeerError, TallystickError

C = TypeVar("C", bound=StepConfig)


@dataclass(slots=True)
class Outcome:
    """What the session of this process leaves for the last event."""

    joined: bool = False
    reveals: list[dict[str, object]] | None = None
    results: dict[str, float] | None = None
    traffic: dict[str, float] = field(default_factory=dict)
    """Bytes, frames and rounds of the session's links, and the most memory of this process."""


outcome = Outcome()


def step(name: str) -> Callable[[Callable[[C], int]], Callable[[C | Mapping[str, Any]], int]]:
    """Make a function of a configuration the entry point of a step.

    The function may then be called with a configuration or with a component's ``locals()``. It
    emits ``started`` and ``finished``, or ``failed``, after which the process exits with the code
    of the error's kind. A party that fails before it met the others tells them why, so that nobody
    waits for it in vain.

    Args:
        name: the step's name, the same at every party.
    """

    def decorate(function: Callable[[C], int]) -> Callable[[C | Mapping[str, Any]], int]:
        kind = typing.get_type_hints(function)["config"]

        @functools.wraps(function)
        def run(config: C | Mapping[str, Any]) -> int:
            begin = time.monotonic()
            # Taking torch and mlflow apart at the end of the process would cost a second or two.
            atexit.register(gc.freeze)
            outcome.joined, outcome.reveals, outcome.results = False, None, None
            outcome.traffic = {}
            cores.keep_to_the_limit()
            told = _told(config)
            events.set_context(session=told["session"], step=name, party=told["party"])
            events.emit("started")
            parsed: C | None = None
            try:
                parsed = config if isinstance(config, StepConfig) else kind.from_task(config)
                parsed.require_members(Consortium.load(parsed.consortium).names)
                result = function(parsed)
            except TallystickError as error:
                _fail(error)
                # Of a fault among the peers they learn by themselves, from whom it concerns.
                if not outcome.joined and not isinstance(error, PeerError):
                    _tell_the_others(parsed or config, name, error)
                sys.exit(error.exit_code)
            except Exception as error:
                # Its text may hold anything: the event and the others get its kind alone.
                unexpected = TallystickError(
                    f"an unexpected {type(error).__name__}; its traceback is in this party's log"
                )
                _fail(unexpected)
                if parsed is not None and not outcome.joined:
                    _tell_the_others(parsed, name, unexpected)
                raise
            events.emit(
                "finished",
                seconds=round(time.monotonic() - begin, 3),
                reveals=outcome.reveals or [],
                results=outcome.results or {},
                traffic=outcome.traffic,
            )
            return result

        return run

    return decorate


def peak_bytes() -> int:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _told(config: StepConfig | Mapping[str, Any]) -> dict[str, str]:
    def get(name: str) -> str:
        value = config.get(name) if isinstance(config, Mapping) else getattr(config, name)
        return str(value)[:100]

    return {"session": get("session"), "party": get("party")}


def _fail(error: TallystickError) -> None:
    events.emit(
        "failed",
        kind=type(error).__name__,
        exit_code=error.exit_code,
        message=str(error),
        at_fault=error.at_fault if isinstance(error, PeerError) else None,
    )


def _tell_the_others(
    config: StepConfig | Mapping[str, Any], name: str, error: TallystickError
) -> None:
    from tallystick.runtime.session import decline

    try:
        if not isinstance(config, StepConfig):  # what all steps are told may still be well
            config = StepConfig.from_task(config)
        decline(config, name, error)
    except TallystickError:
        return  # whoever cannot be told finds out at its own deadline
