"""What can go wrong, by whose hand, and the exit code of each kind.

::

    TallystickError                 exit code 1
    ├── ConfigError                 2   the job, the consortium file or a parameter is wrong
    ├── DataError                   3   a party's own table or artifact cannot be used
    ├── PeerError                   4   another party, the dealer or the network is at fault
    │   ├── PeerTimeout                 it did not come, or fell silent
    │   ├── PeerLost                    it was there and went away
    │   └── PeerMismatch                it wants something else than this party does
    └── ProtocolViolation           5   a message that no honest peer would send

Each message says who, what, and the remedy, and holds no value from anybody's data.
"""

from typing import ClassVar


class TallystickError(Exception):
    """Base of all errors that a user is meant to read."""

    exit_code: ClassVar[int] = 1


class ConfigError(TallystickError):
    """The job, the consortium file or a parameter is wrong: mend it and start again."""

    exit_code = 2


class DataError(TallystickError):
    """A party's own table or artifact cannot be used as it is."""

    exit_code = 3


class PeerError(TallystickError):
    """Another party, the dealer or the network is at fault."""

    exit_code = 4

    def __init__(self, message: str, *, at_fault: str | None = None) -> None:
        super().__init__(message)
        self.at_fault = at_fault


class PeerTimeout(PeerError):
    """A peer did not come in time, or fell silent."""


class PeerLost(PeerError):
    """A peer was there and went away."""


class PeerMismatch(PeerError):
    """A peer wants something else than this party does."""


class ProtocolViolation(TallystickError):
    """A message that no honest peer would send. Nothing of the session is used."""

    exit_code = 5
