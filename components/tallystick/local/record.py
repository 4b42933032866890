"""Where every step of every party stands, from the event lines that the parties write."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tallystick.local.failures import Failure, died
from tallystick.local.workspace import PARTY_LOG
from tallystick.runtime.errors import PeerError

# The fields of an event that say whose it is; of a progress event, those its note begins with.
CONTEXT = frozenset({"time", "session", "step", "party", "event"})
COUNT = frozenset({"done", "total", "unit", "left_s"})


@dataclass(kw_only=True, slots=True)
class Step:
    """One step at one party."""

    status: Literal["waiting", "running", "done", "failed", "stopped"] = "waiting"
    began: float = field(default_factory=time.monotonic)
    """When it began, on the monotonic clock."""
    seconds: float = 0.0
    """How long it took, once it is over."""
    note: str = ""
    """How far it is, such as ``epoch 3/10, loss 0.21``."""
    results: Mapping[str, float] = field(default_factory=dict)
    """The totals that it reported at its end, flat."""
    reveals: Sequence[Mapping[str, Any]] = ()
    """What it opened: what, to whom, how many values, why."""

    def end(self, status: Literal["done", "failed", "stopped"], seconds: float | None) -> None:
        """Note the end; the clock's time stands in for a time that the step did not tell."""
        if seconds is None:
            seconds = time.monotonic() - self.began if self.status == "running" else 0.0
        self.status, self.seconds, self.note = status, seconds, ""


class Record:
    """The state of a run."""

    def __init__(
        self, parties: Sequence[str], steps: Sequence[str], *, retrying: bool = False
    ) -> None:
        """Begin with every step before it.

        Args:
            parties: their names.
            steps: the pipeline's steps.
            retrying: whether a step's failure counts only once it is not started anew.
        """
        self._retrying = retrying
        self._words: dict[str, Failure] = {}
        """What a party's step said of its failure, while it may still be started anew."""
        self.steps = {party: {name: Step() for name in steps} for party in parties}
        self.failures: list[Failure] = []

    def step(self, party: str, name: str) -> Step:
        """Return a step; one that the package did not announce comes last."""
        # KFP writes the underscores of a function's name as hyphens.
        return self.steps.setdefault(party, {}).setdefault(name.replace("_", "-"), Step())

    def current(self, party: str) -> str:
        """Return the step that a party is at: a running one, else the first to come or the last."""
        steps = self.steps.get(party, {})
        for status in ("running", "waiting"):
            for name, step in steps.items():
                if step.status == status:
                    return name
        return next(reversed(steps), "start")

    def take(self, party: str, event: Mapping[str, Any]) -> str:
        """Take in one event.

        Returns:
            What to tell a user of it, in a few words; nothing where it adds nothing.
        """
        name = event["step"] if isinstance(event.get("step"), str) else self.current(party)
        step = self.step(party, name)
        match event["event"]:
            case "launched":
                step.status, step.began, step.note = "running", time.monotonic(), "starting"
                return "starts"
            case "started":
                # Its own clock begins here: before it, Python loaded.
                step.began, step.note = time.monotonic(), ""
            case "joined":
                return "joined by all parties"
            case "progress":
                step.note = progress(event)
                return step.note
            case "profile":
                return profile(event)
            case "estimate":
                return estimate(event)
            case "resumed":
                return f"goes on from epoch {event.get('epoch')}, batch {event.get('batch')}"
            case "warning":
                return f"warning: {event.get('message')}"
            case "finished":
                step.end("done", _number(event.get("seconds")))
                step.results = _numbers(event.get("results"))
                step.reveals = [r for r in event.get("reveals") or () if isinstance(r, dict)]
                return f"done in {step.seconds:.1f} s"
            case "failed":
                code = _number(event.get("exit_code")) or 1
                failure = Failure(
                    party=party,
                    step=name,
                    kind=str(event.get("kind")),
                    message=str(event.get("message")),
                    exit_code=int(code),
                    at_fault=event.get("at_fault"),
                    hearsay=code == PeerError.exit_code,
                )
                if self._retrying:
                    self._words[party] = failure
                    return ""
                return self.fail(failure)
            case "exited":
                return self._exited(party, name, event)
        return ""

    def _exited(self, party: str, name: str, event: Mapping[str, Any]) -> str:
        code = int(_number(event.get("code")) or 0)
        word = self._words.pop(party, None)
        if event.get("again"):
            self.step(party, name).note = "starting again"
            return f"{word.kind if word else f'ended with exit code {code}'}; starts again"
        if word and code:
            return self.fail(word)
        return self.ended(party, name, code)

    def ended(self, party: str, name: str, code: int) -> str:
        """Take in that a step's process ended, and what that means if it said nothing itself.

        Returns:
            What to tell a user of it.
        """
        step = self.step(party, name)
        if code:
            return self.fail(died(party, name, code, f"{party}/{PARTY_LOG}"))
        if step.status == "running":
            step.end("done", None)
            return f"done in {step.seconds:.1f} s"
        return ""

    def fail(self, failure: Failure) -> str:
        """Take in a party's failure; its first word is the one that counts.

        Returns:
            What to tell a user of it.
        """
        if any(known.party == failure.party for known in self.failures):
            return ""
        self.failures.append(failure)
        if failure.party in self.steps:
            self.step(failure.party, failure.step).end("failed", None)
        return f"failed: {failure.kind}: {failure.message}"

    def stop(self) -> None:
        """Mark what was running as stopped."""
        for steps in self.steps.values():
            for step in steps.values():
                if step.status == "running":
                    step.end("stopped", None)


def parse(text: str) -> Mapping[str, Any] | None:
    """Find the event in a line of a log; None if it holds none.

    A library that leaves a line unfinished puts its text before the event's.
    """
    start = text.find('{"')
    if start < 0:
        return None
    try:
        event, _ = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def progress(event: Mapping[str, Any]) -> str:
    """Put a progress event into a few words: ``epoch 3/10, loss 0.21``."""
    words = [f"{event.get('unit', '')} {event.get('done')}/{event.get('total')}".strip()]
    for name, value in event.items():
        number = _number(value)
        if name not in CONTEXT | COUNT and number is not None:
            words.append(f"{name.replace('_', ' ')} {number:.4g}")
    left = _number(event.get("left_s"))
    if left is not None:
        words.append(f"{left:.0f} s left")
    return ", ".join(words)


def estimate(event: Mapping[str, Any]) -> str:
    """Put what a training will cost into a few words."""
    counts = [_number(event.get(name)) for name in ("rounds", "sent_bytes", "dealer_bytes")]
    rounds, sent, dealt = (count or 0.0 for count in counts)
    return (
        f"expects {rounds:,.0f} rounds, {sent / 1e6:,.1f} MB to the others, "
        f"{dealt / 1e6:,.1f} MB from the dealer"
    )


def profile(event: Mapping[str, Any]) -> str:
    """Put a party's profile of its own ids into a few words; it holds shapes of ids and no id."""
    words = [f"{event.get('rows')} rows", f"{event.get('distinct')} different ids"]
    shapes = _numbers(event.get("shapes"))
    if shapes:
        words.append("they look like " + ", ".join(f"{k} ({v:.0%})" for k, v in shapes.items()))
    return ", ".join(words)


def _numbers(values: object) -> dict[str, float]:
    found = {str(k): _number(v) for k, v in values.items()} if isinstance(values, dict) else {}
    return {name: number for name, number in found.items() if number is not None}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
