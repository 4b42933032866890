"""Why a run did not succeed: each party's own word, and whose word is the cause."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.runtime.errors import PeerLost


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why one party's step, or the dealer, did not succeed."""

    party: str
    """The party or dealer that failed."""
    step: str
    kind: str
    """The error's name, such as ``DataError``."""
    message: str
    exit_code: int
    at_fault: str | None = None
    """The party that the error blames."""
    hearsay: bool = False
    """Whether it tells what became of somebody else: another party, the dealer, the network."""


def died(party: str, step: str, code: int, log: str) -> Failure:
    """Say what can be said of a process that ended without a word of its own.

    Args:
        party: the party or dealer that it worked for.
        step: what it was doing.
        code: its exit code; below 0 (as Python tells it) or above 128 (as a shell does), the
            signal that killed it.
        log: the file to look into.
    """
    number = -code if code < 0 else code - 128
    if number > 0:
        try:
            name = f" ({signal.Signals(number).name})"
        except ValueError:
            name = ""
        out_of_memory = number == signal.SIGKILL
        remedy = "did the machine run out of memory?" if out_of_memory else "see its log"
        return Failure(
            party=party,
            step=step,
            kind=PeerLost.__name__,
            message=f"{party!r} was lost in step {step!r}: its process was killed by signal "
            f"{number}{name}; {remedy} ({log})",
            exit_code=PeerLost.exit_code,
        )
    return Failure(
        party=party,
        step=step,
        kind="UnexpectedExit",
        message=f"{party!r} ended in step {step!r} with exit code {code} and said no reason; "
        f"the end of its log may tell ({log})",
        exit_code=1,
    )


def root_cause(failures: Sequence[Failure]) -> Failure | None:
    """Pick the failure that explains the others.

    That is the first that speaks of the party's own trouble. Where all blame each other, it is
    that of a party which is blamed, else one that names somebody, else the earliest.
    """
    if own := [failure for failure in failures if not failure.hearsay]:
        return own[0]
    blamed = {failure.at_fault for failure in failures}
    for candidates in (
        [failure for failure in failures if failure.party in blamed],
        [failure for failure in failures if failure.at_fault is not None],
        failures,
    ):
        if candidates:
            return candidates[0]
    return None
