"""What no honest member would send is refused by name, and ends the session at every party."""

from typing import Any

import numpy as np
import pytest
from tallystick.psi import keys, opening, ring
from tallystick.runtime.dealer import intersection
from tallystick.runtime.errors import PeerError, ProtocolViolation, TallystickError
from tallystick.runtime.session import Session

from tests.psi.room import Outcome, Room

IDS = [(f"id{number}",) for number in range(30)]


def check(outcome: Outcome, finder: str, words: str) -> None:
    """The finder says what is wrong; the others hear of it, or find it too."""
    for name in outcome.values:
        assert isinstance(outcome.of[name], TallystickError), outcome.of[name]
    assert isinstance(outcome.of[finder], ProtocolViolation | PeerError)
    assert words in str(outcome.of[finder])


@pytest.mark.parametrize("point", [bytes(32), b"\xff" * 32])
@pytest.mark.parametrize("parties", [2, 3])
def test_points_that_are_none_are_refused(
    room: Room, monkeypatch: pytest.MonkeyPatch, parties: int, point: bytes
) -> None:
    mask = ring._Ring._mask

    def bad(self: Any, content: np.ndarray, *, hashed: bool, sender: str) -> np.ndarray:
        points = mask(self, content, hashed=hashed, sender=sender).copy()
        if self._session.party == "alice" and hashed:
            points[-1] = np.frombuffer(point, dtype=np.uint8)
        return points

    monkeypatch.setattr(ring._Ring, "_mask", bad)
    sets = dict.fromkeys(("alice", "bob", "carol")[:parties], IDS)
    check(room.intersect("ecdh", sets), "bob", "'alice' sent bytes that are no point of the group")


@pytest.mark.parametrize(
    ("protocol", "field", "value", "words"),
    [
        ("aided", "contribution", "00", "party 'bob' sent no 32 bytes"),
        ("ecdh", "ids", -3, "party 'bob' sent no 32 bytes of key material and number of ids"),
        ("ecdh", "counts", [31], "party 'bob' sent no proper counts of masked ids"),
        ("ecdh", "counts", [10, 20], "party 'bob' sent no proper counts"),
        ("ecdh", "counts", None, "party 'bob' sent no proper counts"),
        ("ecdh", "counts", [30.0], "party 'bob' sent no proper counts"),
        ("ecdh", "matched", 29, "intersections of different sizes"),
        ("ecdh", "enough", "yes", "intersections of different sizes"),
    ],
)
def test_poor_messages_are_refused_and_their_sender_named(
    room: Room,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    field: str,
    value: object,
    words: str,
) -> None:
    exchange = Session.exchange

    def bad(self: Session, message: dict[str, Any]) -> list[dict[str, Any]]:
        if self.party == "bob" and field in message:
            message = {**message, field: value}
        return exchange(self, message)

    monkeypatch.setattr(Session, "exchange", bad)
    outcome = room.intersect(protocol, {"alice": IDS, "bob": IDS})
    check(outcome, "alice", words)


@pytest.mark.parametrize("place", [30, -1, 0])
def test_places_that_there_are_not_are_refused(
    room: Room, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    swap = opening._swap

    def bad(session: Session, receiver: str, outgoing: np.ndarray, *rest: Any) -> None:
        # What bob asks for, and then what he answers.
        swap(session, receiver, outgoing * 0 + place if session.party == "bob" else outgoing, *rest)

    monkeypatch.setattr(opening, "_swap", bad)
    words = "bob' asked for a place" if place else "'bob' named the same place twice"
    check(room.intersect("ecdh", {"alice": IDS, "bob": IDS}), "alice", words)


def test_an_id_that_stands_twice_is_refused_by_the_dealer(room: Room) -> None:
    """It would count twice, and make up the minimum."""
    outcome = room.intersect("aided", {"alice": IDS, "bob": [*IDS, IDS[0]]})
    check(outcome, "alice", "'bob' sent pseudonyms out of order, or one twice")


def test_a_dealer_that_marks_other_rows_than_it_counts_is_found(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = intersection.common

    def bad(tables: Any) -> Any:
        found = common(tables)
        found[1][:] = False
        return found

    monkeypatch.setattr(intersection, "common", bad)
    outcome = room.intersect("aided", {"alice": IDS, "bob": IDS})
    assert isinstance(outcome.of["bob"], ProtocolViolation)
    assert "count of matches is not that of the rows" in str(outcome.of["bob"])


def test_parties_that_ask_the_dealer_for_different_things_are_refused(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet = keys.meet

    def bad(session: Session, num_ids: int) -> Any:
        joint, sizes = meet(session, num_ids)
        return joint, (*sizes, 1 << 20) if session.party == "bob" else sizes

    monkeypatch.setattr(keys, "meet", bad)
    outcome = room.intersect("aided", {"alice": IDS, "bob": IDS})
    check(outcome, "alice", "the parties asked for different matchings")
