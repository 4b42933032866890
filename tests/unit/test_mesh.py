"""All links of a member at once: waiting, deadlines, heartbeats, and how it ends."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tallystick.runtime import mesh
from tallystick.runtime.errors import PeerLost, PeerTimeout, ProtocolViolation
from tallystick.runtime.frames import ABORT, DATA, HEADER, MAX_MESSAGE_BYTES, MESSAGE
from tallystick.runtime.links import Link
from tallystick.runtime.mesh import Mesh

from tests import harness


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> harness.Place:
    return harness.make_place(tmp_path_factory.mktemp("members"), 3)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(mesh, "SILENCE_S", 1.0)


@pytest.fixture
def links(members: harness.Place) -> Iterator[Callable[..., dict[str, list[Link]]]]:
    made: list[Link] = []

    def connect(*names: str) -> dict[str, list[Link]]:
        connected = harness.connected(members, names)
        made.extend(link for several in connected.values() for link in several)
        return connected

    yield connect
    for link in made:
        link.close()


@pytest.fixture
def meshes(links: Callable[..., dict[str, list[Link]]]) -> Iterator[Callable[..., dict[str, Mesh]]]:
    made: dict[str, Mesh] = {}

    def connect(*names: str) -> dict[str, Mesh]:
        made.update({name: Mesh(several) for name, several in links(*names).items()})
        return made

    yield connect
    for one in made.values():
        one.close()


def test_messages_and_raw_bytes_go_both_ways(meshes: Any) -> None:
    made = meshes("alice", "bob")

    def side(me: str, peer: str) -> Any:
        made[me].post_message(peer, {"from": me})
        made[me].post(peer, memoryview(me.encode() * 100_000))
        message = made[me].message(peer)
        buffer = bytearray(len(peer) * 100_000)
        made[me].wait([made[me].expect(peer, memoryview(buffer))])
        made[me].end()
        return message, bytes(buffer) == peer.encode() * 100_000

    results = harness.together(
        {"alice": lambda: side("alice", "bob"), "bob": lambda: side("bob", "alice")}
    )
    assert results == {"alice": ({"from": "bob"}, True), "bob": ({"from": "alice"}, True)}


def test_a_message_over_the_limit_is_the_senders_error(meshes: Any) -> None:
    made = meshes("alice", "bob")
    with pytest.raises(ValueError, match="at most 1048576 bytes"):
        made["alice"].post_message("bob", "x" * MAX_MESSAGE_BYTES)


def test_a_peer_that_computes_for_long_is_not_silent(meshes: Any) -> None:
    made = meshes("alice", "bob")

    def compute() -> None:
        time.sleep(2.5 * mesh.SILENCE_S)
        made["bob"].post_message("alice", "done")

    results = harness.together({"alice": lambda: made["alice"].message("bob"), "bob": compute})
    assert results["alice"] == "done"


def test_a_peer_without_a_heartbeat_is_named_in_time(links: Any) -> None:
    connected = links("alice", "bob")  # bob's side has no mesh: nothing beats there
    alice = Mesh(connected["alice"])
    start = time.monotonic()
    with pytest.raises(PeerTimeout, match="'bob' has been silent for 1 s") as caught:
        alice.message("bob")
    assert caught.value.at_fault == "bob"
    assert mesh.SILENCE_S <= time.monotonic() - start < mesh.SILENCE_S + 1
    alice.close()


def test_a_silent_peer_is_noticed_while_another_is_waited_for(links: Any) -> None:
    connected = links("alice", "bob", "carol")
    alice, bob = Mesh(connected["alice"]), Mesh(connected["bob"])
    with pytest.raises(PeerTimeout, match="'carol' has been silent"):
        alice.message("bob")
    alice.close()
    bob.close()


def test_a_living_peer_that_never_answers_is_given_up(
    meshes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh, "WAIT_S", 1.5)
    made = meshes("alice", "bob")
    with pytest.raises(PeerTimeout, match="nothing of use"):
        made["alice"].message("bob")


def test_who_stops_says_why_to_everybody(meshes: Any) -> None:
    made = meshes("alice", "bob", "carol")

    def stop() -> None:
        made["alice"].abort("DataError", "the file is missing", None)

    results = harness.together(
        {
            "alice": stop,
            "bob": lambda: made["bob"].message("carol"),
            "carol": lambda: made["carol"].message("bob"),
        }
    )
    for name in ("bob", "carol"):
        assert isinstance(results[name], PeerLost)
        assert results[name].at_fault == "alice"
    # One of them hears it from alice; the other may hear it from that one, who names alice.
    assert any("DataError: the file is missing" in str(e) for e in results.values())


def test_the_dealer_is_told_that_a_party_stops_but_not_why(links: Any) -> None:
    connected = links("alice", "bob", harness.DEALER)
    Mesh(connected["alice"], dealer=harness.DEALER).abort("DataError", "no column 'age'", None)
    (to_bob, _), (to_dealer, _) = connected["bob"], connected[harness.DEALER]
    with pytest.raises(PeerLost, match="'alice' stopped with DataError: no column 'age'"):
        to_bob.fill()
    with pytest.raises(PeerLost, match="'alice' stopped with DataError: see its log") as told:
        to_dealer.fill()
    assert "age" not in str(told.value)


def test_whose_fault_it_is_says_so_itself_though_another_was_quicker(links: Any) -> None:
    connected = links("alice", "bob", harness.DEALER)
    made = {name: Mesh(connected[name]) for name in connected}
    made[harness.DEALER].abort("PeerLost", "'alice' stopped with DataError: see its log", "alice")

    def stop() -> None:
        time.sleep(0.3)
        made["alice"].abort("DataError", "no column 'age'", None)

    results = harness.together({"alice": stop, "bob": lambda: made["bob"].message("alice")})
    assert str(results["bob"]) == "'alice' stopped with DataError: no column 'age'"
    for one in made.values():
        one.close()


def test_the_reason_is_kept_for_a_peer_that_computes_meanwhile(meshes: Any) -> None:
    """Its heart meets the closed connection first; the main thread must still learn the reason."""
    made = meshes("alice", "bob")
    made["alice"].abort("DataError", "the file is missing", None)
    time.sleep(1.0)  # ten heartbeats into a connection that is closed
    for _ in range(2):
        with pytest.raises(PeerLost, match="'alice' stopped with DataError: the file is missing"):
            made["bob"].message("alice")


def test_the_reason_comes_through_behind_a_big_payload(meshes: Any) -> None:
    made = meshes("alice", "bob")
    content = memoryview(bytes(30_000_000))

    def stop() -> None:
        made["alice"].post("bob", content)
        made["alice"].abort("DataError", "the file is missing", None)

    def receive() -> Any:
        buffer = bytearray(len(content))
        made["bob"].wait([made["bob"].expect("alice", memoryview(buffer))])
        return made["bob"].message("alice")

    results = harness.together({"alice": stop, "bob": receive})
    assert "DataError: the file is missing" in str(results["bob"])


def test_the_reason_comes_through_although_our_own_words_lie_unread(meshes: Any) -> None:
    """A socket closed over unread bytes resets the connection; the last words must not go along."""
    made = meshes("alice", "bob")
    made["bob"].post("alice", memoryview(bytes(100_000)))  # alice never asks for it
    made["alice"].abort("DataError", "the file is missing", None)
    with pytest.raises(PeerLost, match="DataError: the file is missing"):
        made["bob"].message("alice")


def test_to_stop_takes_no_longer_than_to_be_heard(meshes: Any) -> None:
    made = meshes("alice", "bob")
    made["alice"].post("bob", memoryview(bytes(30_000_000)))  # bob never reads it
    start = time.monotonic()
    made["alice"].abort("DataError", "the file is missing", None)
    assert time.monotonic() - start < mesh.LINGER_S + 1


def test_a_lost_peer_does_not_stop_the_heartbeats_to_the_others(links: Any) -> None:
    connected = links("alice", "bob", "carol")
    alice = Mesh(connected["alice"])
    (to_alice, _) = connected["bob"]
    to_alice.close()
    (from_alice, _) = connected["carol"]
    heard: list[float] = []
    deadline = time.monotonic() + 3 * mesh.SILENCE_S
    while time.monotonic() < deadline:
        from_alice.fill()
        heard.append(from_alice.last_heard)
        time.sleep(0.05)
    assert deadline - heard[-1] < mesh.SILENCE_S
    alice.close()


def test_all_finish_together(meshes: Any) -> None:
    made = meshes("alice", "bob", "carol")
    ended: list[str] = []

    def finish(name: str, after_s: float) -> None:
        time.sleep(after_s)
        assert not ended
        made[name].end()
        ended.append(name)

    results = harness.together(
        {
            "alice": lambda: finish("alice", 0.0),
            "bob": lambda: finish("bob", 0.1),
            "carol": lambda: finish("carol", 1.5),
        }
    )
    assert results == dict.fromkeys(made)


def test_nobody_finishes_when_one_is_lost_before_the_end(links: Any) -> None:
    connected = links("alice", "bob", "carol")
    made = {name: Mesh(connected[name]) for name in ("alice", "bob")}
    threading.Timer(0.3, lambda: [link.close() for link in connected["carol"]]).start()
    results = harness.together({name: one.end for name, one in made.items()})
    for error in results.values():
        assert isinstance(error, PeerLost)
    for one in made.values():
        one.close()


def test_a_peer_that_finishes_while_it_is_needed_breaks_the_protocol(meshes: Any) -> None:
    made = meshes("alice", "bob")

    def needs() -> None:
        try:
            made["alice"].message("bob")
        finally:
            made["alice"].close()

    results = harness.together({"alice": needs, "bob": made["bob"].end})
    assert isinstance(results["alice"], ProtocolViolation)
    assert isinstance(results["bob"], PeerLost)


def test_sides_that_have_parted_end_at_once_and_do_not_wait(meshes: Any) -> None:
    """One opens a value, the other is already done: each would wait for the other for ever."""
    made = meshes("alice", "bob")

    def opens() -> None:
        try:
            made["alice"].post("bob", memoryview(bytes(8)))
            made["alice"].wait([made["alice"].expect("bob", memoryview(bytearray(8)))])
        except ProtocolViolation as error:
            made["alice"].abort("ProtocolViolation", str(error), None)
            raise

    def finishes() -> None:
        try:
            made["bob"].post_message("alice", {"ledger": "..."})
            made["bob"].message("alice")
        except ProtocolViolation as error:
            made["bob"].abort("ProtocolViolation", str(error), None)
            raise

    start = time.monotonic()
    results = harness.together({"alice": opens, "bob": finishes})
    assert {type(result) for result in results.values()} <= {ProtocolViolation, PeerLost}
    assert any("something else than was due" in str(result) for result in results.values())
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("kind", [DATA, MESSAGE])
def test_what_comes_instead_of_the_end_is_refused(links: Any, kind: int) -> None:
    connected = links("alice", "bob")
    alice = Mesh(connected["alice"])
    (raw,) = connected["bob"]
    raw.post(kind, b"{}")
    raw.flush()
    with pytest.raises(ProtocolViolation, match="something else than was due"):
        alice.end()
    alice.close()


def test_last_words_are_cut_to_what_a_peer_accepts(links: Any) -> None:
    connected = links("alice", "bob")
    alice = Mesh(connected["alice"])
    alice.abort("DataError", "\U0001f600" * 100_000, "bob")
    with pytest.raises(PeerLost, match="'alice' stopped"):
        connected["bob"][0].fill()


def test_words_that_came_before_the_connection_broke_are_read(links: Any) -> None:
    """The peer's ABORT is in our buffer when our own sending fails."""
    connected = links("alice", "bob")
    (from_bob,), (to_alice,) = connected["alice"], connected["bob"]
    words = json.dumps({"kind": "DataError", "message": "no file"}).encode()
    header = HEADER.pack(ABORT, 0, len(words))
    to_alice.connection.setblocking(True)
    to_alice.connection.sendall(header + words)
    to_alice.connection.close()

    def send_on() -> None:
        for _ in range(100):
            from_bob.post(DATA, bytes(1 << 20))
            from_bob.flush()

    with pytest.raises(PeerLost, match="DataError: no file"):
        send_on()
