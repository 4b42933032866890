"""What is asked of a private set intersection and what a party learns, by any protocol."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError
from tallystick.runtime.session import Session

RESULTS = ("all", "receiver", "size")
Result = Literal["all", "receiver", "size"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Who is to learn what; the same at every party."""

    minimum: int
    """With fewer matches nobody learns which they are."""
    result: Result = "all"
    """Aligned rows for all, for one receiver, or only the size for all."""
    receiver: str = ""
    """The party that learns, where one does."""

    def rows_to(self, parties: tuple[str, ...]) -> tuple[str, ...]:
        """Return the parties that learn which of their rows match."""
        return {"all": parties, "receiver": (self.receiver,), "size": ()}[self.result]

    def size_to(self, parties: tuple[str, ...]) -> tuple[str, ...]:
        """Return the parties that learn how many rows match."""
        return (self.receiver,) if self.result == "receiver" else parties


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """What a party learns."""

    sizes: tuple[int, ...]
    """Every party's number of ids, in rank order."""
    size: int | None
    """How many ids all parties have; None at a party that does not learn it."""
    positions: NDArray[np.int64] | None = None
    """The rows of its own file that match, in the order that all parties share; None at a party
    that does not learn them."""
    row_order: str = ""
    """A commitment to the matching ids in that order, as hex; equal at all parties that learn."""


class TooFewMatch(DataError):
    """Fewer ids match than the parties had set as the minimum."""

    def __init__(self, minimum: int) -> None:
        super().__init__(
            f"fewer rows match than min_intersection = {minimum}, so nobody learns which"
        )


def note(session: Session, wanted: Wanted, sizes: tuple[int, ...], size: int | None) -> None:
    """Enter into the ledger what the parties of an intersection learn.

    Args:
        session: the joined session.
        wanted: who learns.
        sizes: every party's number of ids.
        size: the number that match; None at a party that does not learn it.
    """
    if wanted.result == "receiver":
        why = f"{wanted.receiver} alone learns which of its rows the others have too"
        session.ledger.note("that enough rows match", count=1, why=why)
        # The others do not know how many match, so the entry counts what is asked: every row.
        session.ledger.note(
            f"whether each id of {wanted.receiver} matches",
            to=[wanted.receiver],
            count=sizes[session.parties.index(wanted.receiver)],
            why=why,
        )
        return
    assert size is not None
    why = "the parties go on with the rows that all of them hold"
    if wanted.result == "size":
        why = "the parties want to know how many rows they share, and not which"
    session.ledger.note("rows matched", count=1, why=why)
    if wanted.result == "all":
        session.ledger.note("each party's own rows that match", count=size, why=why)
