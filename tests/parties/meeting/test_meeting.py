"""Who finds whom: the right members do, from any start, and who does not come is named."""

import dataclasses
import signal
import socket
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from tallystick.runtime.dealer.server import DealerServer
from tallystick.runtime.errors import (
    ConfigError,
    PeerLost,
    PeerTimeout,
)
from tallystick.runtime.meeting import Meeting

from tests import harness
from tests.harness import DEALER, Place
from tests.parties.meeting.room import (
    all_meet,
    everybody_else,
    meet,
    meet_and_stay,
    met,
    ours,
    served,
)


def test_all_members_meet(three: Place) -> None:
    assert all_meet(three) == everybody_else(three)


def test_they_meet_whoever_starts_first_and_last(three: Place) -> None:
    for order in (("alice", "bob", "carol"), ("carol", "bob", "alice")):

        def late(name: str, after_s: float) -> list[str]:
            time.sleep(after_s)
            return meet(three, name)

        results = harness.together(
            {name: partial(late, name, 0.3 * i) for i, name in enumerate(order)}
        )
        assert results == everybody_else(three)


def test_two_sessions_and_two_steps_meet_side_by_side(place: Place) -> None:
    jobs = {
        (name, session, step): partial(meet, place, name, session=session, step=step)
        for name in place.parties
        for session in ("credit-1", "credit-2")
        for step in ("train", "evaluate")
    }
    results = harness.together(jobs)  # type: ignore[arg-type]
    expected = everybody_else(place)
    assert results == {job: expected[job[0]] for job in jobs}


def test_the_dealer_may_come_last(tmp_path: Path) -> None:
    late = served(tmp_path, 2)
    threading.Timer(0.5, late.__enter__).start()
    try:
        assert all_meet(late.place) == everybody_else(late.place)
    finally:
        late.server.stop()


def test_a_party_that_goes_before_all_have_come_may_come_again(three: Place) -> None:
    """Alice and bob wait for carol; bob is killed and started again; then carol comes."""
    alices = Meeting(three.load(), three.identity("alice"), ours(three, "alice"))
    first = harness.Process(three, meet, three, "bob", log=three.folder / "bob.log")

    def alice() -> list[str]:
        links = alices.meet(15)
        met.extend(links)
        return sorted(link.peer for link in links)

    def bob() -> list[str]:
        deadline = time.monotonic() + 10
        while {"bob", DEALER} - alices._links.keys():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        first.signal(signal.SIGKILL)
        first.wait(5)
        return meet(three, "bob")

    def carol() -> list[str]:
        first.wait(15)
        time.sleep(0.5)
        return meet(three, "carol")

    results = harness.together({"alice": alice, "bob": bob, "carol": carol})
    assert results == everybody_else(three)


def test_parties_that_left_do_not_stay_with_the_dealer(three: Place) -> None:
    """What an attempt in vain leaves behind must not spoil the next: it would break it at once."""
    for name in ("alice", "bob"):
        with pytest.raises(PeerTimeout, match="'carol'"):
            meet(three, name, 0.7)
    meetings = {}
    for attempt in range(2):
        results = harness.together(
            {name: partial(meet_and_stay, three, name, 10) for name in three.parties}
        )
        for name, links in results.items():
            assert not isinstance(links, BaseException), links
            meetings[attempt, name] = links
        time.sleep(0.3)
        for name in three.parties:
            for link in meetings[attempt, name]:
                link.fill()  # the dealer has not hung up
        for links in results.values():
            for link in links:
                link.close()


# Who does not come


def test_who_does_not_come_is_named_in_time(three: Place) -> None:
    start = time.monotonic()
    results = harness.together({name: partial(meet, three, name, 1) for name in ("alice", "bob")})
    assert time.monotonic() - start < 1 + 5
    for error in results.values():
        assert isinstance(error, (PeerTimeout, PeerLost))
        assert error.at_fault == "carol"
        assert "party 'carol' (rank 2) did not join session 'credit-1', step 'train'" in str(error)
    assert any("within 1 s" in str(error) for error in results.values())


def test_a_dealer_that_does_not_come_is_named(tmp_path: Path) -> None:
    place = harness.make_place(tmp_path, 2)
    for error in all_meet(place, timeout_s=1).values():
        assert isinstance(error, (PeerTimeout, PeerLost))
        assert error.at_fault == DEALER
        port = place.load().dealer.port
        assert "the dealer 'notary' did not join session 'credit-1', step 'train'" in str(error)
        assert f"127.0.0.1:{port}: Connection refused" in str(error)


def test_a_name_that_nobody_knows_is_named(place: Place) -> None:
    consortium = place.load()
    lost = dataclasses.replace(consortium.dealer, address="no-such-host.invalid:7700")
    dataclasses.replace(consortium, dealer=lost).save(place.consortium)
    with pytest.raises(PeerTimeout, match=r"the name 'no-such-host\.invalid' is unknown"):
        meet(place, "alice", 1)


def test_a_port_that_is_taken_is_named(place: Place) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", place.load().member("alice").port))
        squatter.listen()
        with pytest.raises(ConfigError, match="'alice' cannot listen on port"):
            meet(place, "alice", 1)


def test_two_dealers_do_not_share_a_port(place: Place) -> None:
    time.sleep(0.2)
    second = DealerServer(place.load(), place.identity(DEALER))
    with pytest.raises(ConfigError, match="'notary' cannot listen on port"):
        second.serve()
