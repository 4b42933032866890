"""The last step of Diffie-Hellman PSI: which of one's own rows are behind sorted elements?

The party that masked a set last has sorted it, and alone knows where each element stood. It answers
the set's owner, element by element; it learns how many are asked for, and nothing of any id.
"""

# M = elements that are asked for, N = elements of the set.

import numpy as np

from tallystick.psi.runs import Rows, SortedRuns, raw
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.session import Session

CHUNK = 1 << 20
"""Places that are sent at once."""


def look_up(
    session: Session,
    masked: SortedRuns,
    sizes: tuple[int, ...],
    ranges: int,
    askers: tuple[str, ...],
    places_M: Rows | None,
) -> Rows | None:
    """Ask for one's own places, and answer whoever asks this party.

    Args:
        session: the joined session.
        masked: the set that this party has masked last: that of the next party.
        sizes: every party's number of ids.
        ranges: in how many ranges the sets were compared.
        askers: the parties that learn their rows.
        places_M: places in this party's own sorted set; None asks for all of them.

    Returns:
        For each place that was asked for, where the element stood when this party sent it out;
        None at a party that is not among those that ask.

    Raises:
        ProtocolViolation: a place that there is not.
    """
    mesh, rank, parties = session.mesh, session.rank, session.parties
    holder, owner = parties[rank - 1], parties[(rank + 1) % len(parties)]
    asks, answers = session.party in askers, owner in askers
    if asks:
        mesh.post_message(holder, {"places": None if places_M is None else len(places_M)})
    wanted: Rows | None = None
    if answers:
        number = _number(mesh.message(owner), owner, sizes[parties.index(owner)])
        wanted = None if number is None else np.empty(number, dtype=np.int64)
    # Places go out to one side while others come in from the other.
    sent = places_M if asks and places_M is not None else np.empty(0, dtype=np.int64)
    _swap(session, holder, sent, owner, wanted)
    reply = np.empty(0, dtype=np.int64)
    if answers:
        reply = np.concatenate([rows_K for _, rows_K in masked.merged(ranges)])
        if wanted is not None:
            if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(reply)):
                raise ProtocolViolation(f"{owner!r} asked for a place that its set has not")
            reply = reply[wanted]
    count = sizes[rank] if places_M is None else len(places_M)
    found = np.empty(count, dtype=np.int64) if asks else None
    _swap(session, owner, reply, holder, found)
    if found is None:
        return None
    if len(found) and (found.min() < 0 or found.max() >= sizes[rank]):
        raise ProtocolViolation(f"{holder!r} named a place that this party's set has not")
    if len(np.unique(found)) != len(found):
        raise ProtocolViolation(f"{holder!r} named the same place twice")
    return found


def _swap(
    session: Session, receiver: str, outgoing: Rows, sender: str, incoming: Rows | None
) -> None:
    """Send numbers to one party while others come from another (or from the same)."""
    mesh = session.mesh
    received = 0 if incoming is None else len(incoming)
    for start in range(0, max(len(outgoing), received), CHUNK):
        part = np.ascontiguousarray(outgoing[start : start + CHUNK], dtype="<i8")
        if len(part):
            mesh.post(receiver, raw(part))
        receipts = []
        if incoming is not None and start < received:
            buffer = raw(incoming[start : start + CHUNK])
            receipts.append(mesh.expect(sender, buffer))
        mesh.wait(receipts)


def _number(message: object, party: str, size: int) -> int | None:
    match message:
        case {"places": None | int() as number, **rest} if not rest and (
            number is None or 0 <= number <= size
        ):
            return number
    raise ProtocolViolation(f"{party!r} asked for the places of its ids in no proper way")
