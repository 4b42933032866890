"""Who finds whom: the right members do, from any start; every impostor is refused by name.

The parties are threads that meet over real connections; nobody computes anything here.
"""

import dataclasses
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tallystick.runtime import meeting, mesh
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.dealer.server import DealerServer
from tallystick.runtime.errors import (
    ConfigError,
    PeerLost,
    PeerMismatch,
    PeerTimeout,
    ProtocolViolation,
)
from tallystick.runtime.hello import Hello, receive_hello, send_hello
from tallystick.runtime.identity import keygen, peer_name, tls_contexts
from tallystick.runtime.links import Link
from tallystick.runtime.meeting import Meeting

from tests import harness
from tests.harness import DEALER, Place

_met: list[Link] = []


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mesh, "LINGER_S", 0.3)
    yield
    while _met:
        _met.pop().close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with served(tmp_path, 2) as place:
        yield place


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Place]:
    with served(tmp_path, 3) as place:
        yield place


class served:
    """A place whose dealer is a thread."""

    def __init__(self, folder: Path, parties: int) -> None:
        self.place = harness.make_place(folder, parties)
        self.server = DealerServer(self.place.load(), self.place.identity(DEALER))

    def __enter__(self) -> Place:
        threading.Thread(target=self.server.serve, daemon=True).start()
        return self.place

    def __exit__(self, *_: object) -> None:
        self.server.stop()


def meet(place: Place, name: str, timeout_s: float = 15, **changes: Any) -> list[str]:
    """Return whom the party met; they stay together until the test ends."""
    links = meet_and_stay(place, name, timeout_s, **changes)
    _met.extend(links)
    return sorted(link.peer for link in links)


def meet_and_stay(place: Place, name: str, timeout_s: float = 15, **changes: Any) -> list[Link]:
    return Meeting(place.load(), place.identity(name), ours(place, name, **changes)).meet(timeout_s)


def ours(place: Place, name: str, **changes: Any) -> Hello:
    joint = {"epochs": 3, "consortium": place.load().digest(), **changes.pop("joint", {})}
    return Hello(
        **{"session": "credit-1", "step": "train", "member": name, "joint": joint, **changes}
    )


def all_meet(place: Place, **changes: Any) -> dict[str, Any]:
    return harness.together({name: partial(meet, place, name, **changes) for name in place.parties})


def everybody_else(place: Place) -> dict[str, list[str]]:
    members = {*place.parties, DEALER}
    return {name: sorted(members - {name}) for name in place.parties}


def dial(
    place: Place, door: str, identity: Path, consortium: Consortium | None = None
) -> ssl.SSLSocket:
    """Connect to a member as whoever holds an identity."""
    trusted = consortium or place.load()
    member = place.load().member(door)
    holder = identity.name if consortium is None else "mallory"
    context = tls_contexts(trusted, holder, identity)[0]
    deadline = time.monotonic() + 5
    while True:
        try:
            raw = socket.create_connection((member.host, member.port), timeout=5)
            return context.wrap_socket(raw)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


# The right members


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
        _met.extend(links)
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


# Those who want something else


def test_another_configuration_stops_both_sides_by_the_field_and_both_values(place: Place) -> None:
    results = harness.together(
        {
            "alice": lambda: meet(place, "alice"),
            "bob": lambda: meet(place, "bob", joint={"epochs": 4}),
        }
    )
    expected = {"alice": "'alice' has 3, 'bob' has 4", "bob": "'bob' has 4, 'alice' has 3"}
    for name, error in results.items():
        assert isinstance(error, PeerMismatch)
        assert f"'epochs' differs: {expected[name]}" in str(error)


def test_a_third_party_learns_at_once_why_two_others_differ(three: Place) -> None:
    start = time.monotonic()
    results = harness.together(
        {
            "alice": lambda: meet(three, "alice"),
            "bob": lambda: meet(three, "bob", joint={"epochs": 4}),
            "carol": lambda: meet(three, "carol"),
        }
    )
    assert time.monotonic() - start < 5
    for error in results.values():
        assert isinstance(error, (PeerMismatch, PeerLost))
        assert "'epochs' differs" in str(error)


def test_another_package_version_stops_both_sides_by_both_versions(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Hello.encode

    def older(self: Hello) -> bytes:
        content = encode(self)
        if self.member != "bob":
            return content
        return content.replace(b'"package": "', b'"package": "0.0.1-')

    monkeypatch.setattr(Hello, "encode", older)
    # Bob's process is of this version, and finds nothing wrong with alice; the real one would.
    error = all_meet(place, timeout_s=1.5)["alice"]
    assert isinstance(error, PeerMismatch)
    assert "'bob' runs package version '0.0.1-" in str(error)


def test_a_dealer_of_another_version_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Hello.encode

    def older(self: Hello) -> bytes:
        content = encode(self)
        mine = self.member == DEALER
        return content.replace(b'"package": "', b'"package": "9') if mine else content

    monkeypatch.setattr(Hello, "encode", older)
    with pytest.raises(PeerMismatch, match="'notary' runs package version '9"):
        meet(place, "alice", 3)


def test_a_dealer_of_another_consortium_is_named(tmp_path: Path) -> None:
    """It would take the parties in another order, and deal to the wrong one."""
    place = harness.make_place(tmp_path, 2)
    consortium = place.load()
    turned = dataclasses.replace(consortium, parties=consortium.parties[::-1])
    server = DealerServer(turned, place.identity(DEALER))
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        with pytest.raises(PeerMismatch, match=r"'consortium' differs: 'alice' has .* 'notary'"):
            meet(place, "alice", 5)
    finally:
        server.stop()


@pytest.mark.parametrize(("field", "value"), [("session", "credit-2"), ("step", "evaluate")])
def test_another_session_or_step_is_not_taken_but_told(
    place: Place, field: str, value: str
) -> None:
    results = harness.together(
        {
            "alice": lambda: meet(place, "alice", 4),
            "bob": lambda: meet(place, "bob", 4, **{field: value}),
        }
    )
    for name, error in results.items():
        assert isinstance(error, PeerTimeout)
        other = "bob" if name == "alice" else "alice"
        assert error.at_fault == other
    asked = {"session": "credit-1", "step": "train", field: value}
    said = f"'bob' asked for session {asked['session']!r}, step {asked['step']!r}"
    assert said in str(results["alice"])


def test_a_party_that_cannot_run_the_step_is_named_with_its_reason(place: Place) -> None:
    reason = {"kind": "DataError", "message": "data.csv has no column 'id'", "at_fault": None}
    start = time.monotonic()
    results = harness.together(
        {
            "alice": lambda: meet(place, "alice"),
            "bob": lambda: meet(place, "bob", stopped=reason),
        }
    )
    assert time.monotonic() - start < 5
    assert results["bob"] == ["alice"]
    assert isinstance(results["alice"], PeerLost)
    assert str(results["alice"]) == "'bob' stopped with DataError: data.csv has no column 'id'"


# Those who are not who they say


def test_a_certificate_that_is_not_pinned_is_refused(place: Place, tmp_path: Path) -> None:
    """Mallory trusts everybody and dials alice; nobody trusts mallory."""
    keygen("mallory", tmp_path / "mallory")
    certificate = (tmp_path / "mallory" / "tls.crt").read_text()
    consortium = place.load()
    widened = dataclasses.replace(
        consortium,
        parties=(
            *consortium.parties,
            dataclasses.replace(consortium.dealer, name="mallory", certificate=certificate),
        ),
    )
    said: list[Any] = []

    def mallory() -> None:
        with dial(place, "alice", tmp_path / "mallory", widened) as connection:
            try:
                send_hello(connection, ours(place, "bob"))
                said.append(receive_hello(connection))
            except OSError as error:
                said.append(error)

    results = harness.together({"alice": lambda: meet(place, "alice", 1), "mallory": mallory})
    assert not said or said[0] is None or isinstance(said[0], OSError)
    assert isinstance(results["alice"], PeerTimeout)
    assert "somebody was refused who has no pinned certificate" in str(results["alice"])
    assert "'bob'" in str(results["alice"])


def test_a_party_whose_certificate_others_do_not_pin_learns_who_refused_it(
    place: Place, tmp_path: Path
) -> None:
    """Bob made a new key and told nobody."""
    path = keygen("bob", tmp_path / "new" / "bob")
    consortium = place.load()
    (alice, bob) = consortium.parties
    renewed = dataclasses.replace(bob, certificate=path.read_text())
    theirs = dataclasses.replace(consortium, parties=(alice, renewed))
    hello = ours(place, "bob")
    results = harness.together(
        {
            "alice": lambda: meet(place, "alice", 1),
            "bob": lambda: Meeting(theirs, path.parent, hello).meet(1),
        }
    )
    assert "'alice' refused our certificate" in str(results["bob"])
    assert "'notary' refused our certificate" in str(results["bob"])
    assert "somebody was refused who has no pinned certificate" in str(results["alice"])


@pytest.mark.parametrize(
    ("member", "error"),
    [
        ("bob", "a peer with the certificate of 'carol' calls itself 'bob'"),
        ("notary", "a peer with the certificate of 'carol' calls itself 'notary'"),
    ],
)
def test_the_right_certificate_under_another_name_is_refused(
    three: Place, member: str, error: str
) -> None:
    def carol() -> None:
        with dial(three, "alice", three.identity("carol")) as connection:
            send_hello(connection, ours(three, member))
            receive_hello(connection)

    results = harness.together({"alice": lambda: meet(three, "alice", 3), "carol": carol})
    assert isinstance(results["alice"], ProtocolViolation)
    assert error in str(results["alice"])


@pytest.mark.parametrize("holder", ["alice", "notary"])
def test_a_member_that_has_no_business_here_is_not_taken(place: Place, holder: str) -> None:
    """Alice's own certificate, or the dealer's, at alice's door, in bob's name."""

    def impostor() -> None:
        with dial(place, "alice", place.identity(holder)) as connection:
            send_hello(connection, ours(place, "bob"))
            assert receive_hello(connection) is None

    results = harness.together({"alice": lambda: meet(place, "alice", 1), "x": impostor})
    assert results["x"] is None
    assert isinstance(results["alice"], PeerTimeout)


def test_another_member_at_a_partys_address_is_not_taken(three: Place) -> None:
    """Bob dials alice, and carol answers at that address with her own, pinned certificate."""
    consortium = three.load()
    (alice, _, carol) = consortium.parties
    door = dataclasses.replace(carol, address=alice.address)
    context = tls_contexts(consortium, "carol", three.identity("carol"))[1]
    heard: list[Any] = []

    def answer() -> None:
        with meeting.listen(door) as listener:
            listener.settimeout(2)
            raw, _ = listener.accept()
            with context.wrap_socket(raw, server_side=True) as connection:
                heard.append(receive_hello(connection))

    results = harness.together({"bob": lambda: meet(three, "bob", 1), "carol": answer})
    assert heard == [None]  # he says nothing to her, not even hello
    assert isinstance(results["bob"], PeerTimeout)
    assert f"whoever answers at {alice.address} is not 'alice'" in str(results["bob"])


def test_another_member_at_the_dealers_address_is_not_taken(tmp_path: Path) -> None:
    place = harness.make_place(tmp_path, 2)
    consortium = place.load()
    door = dataclasses.replace(consortium.parties[1], address=consortium.dealer.address)
    context = tls_contexts(consortium, "bob", place.identity("bob"))[1]

    def answer() -> None:
        with meeting.listen(door) as listener:
            listener.settimeout(2)
            raw, _ = listener.accept()
            context.wrap_socket(raw, server_side=True).close()

    results = harness.together({"alice": lambda: meet(place, "alice", 1), "bob": answer})
    assert f"whoever answers at {door.address} is not 'notary'" in str(results["alice"])


@pytest.mark.parametrize("who", ["alice", "bob", DEALER])
def test_an_expired_certificate_is_refused_by_name_before_anybody_is_dialled(
    place: Place, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    consortium = place.load()
    expired, _ = harness.certificate(who, -10, -1)
    members = [
        dataclasses.replace(m, certificate=expired) if m.name == who else m
        for m in (*consortium.parties, consortium.dealer)
    ]
    Consortium(parties=tuple(members[:-1]), dealer=members[-1]).save(place.consortium)
    with pytest.raises(ConfigError, match=f"the certificate of '{who}' holds from"):
        meet(place, "alice", 5)


def test_tls_itself_refuses_an_expired_certificate(tmp_path: Path) -> None:
    """A member whose clock is wrong dials with what others know to be expired."""
    place = harness.make_place(tmp_path, 2)
    made = identity(tmp_path / "old", *harness.certificate("bob", -10, -1))
    consortium = place.load()
    (alice, bob) = consortium.parties
    old = dataclasses.replace(bob, certificate=(made / "tls.crt").read_text())
    consortium = dataclasses.replace(consortium, parties=(alice, old))
    client = tls_contexts(consortium, "bob", made)[0]
    server = tls_contexts(consortium, "alice", place.identity("alice"))[1]
    refused: list[Any] = []

    def accept(raw: socket.socket) -> None:
        try:
            server.wrap_socket(raw, server_side=True)
        except ssl.SSLCertVerificationError as error:
            refused.append(error.verify_message)

    with socket.create_server(("127.0.0.1", 0)) as door:
        near = socket.create_connection(door.getsockname())
        far, _ = door.accept()
    results = harness.together(
        {"alice": lambda: accept(far), "bob": lambda: client.wrap_socket(near).recv(1)}
    )
    assert refused == ["certificate has expired"]
    assert isinstance(results["bob"], ssl.SSLError)


def test_a_certificate_signed_by_a_member_is_not_a_member(tmp_path: Path) -> None:
    """A pinned certificate is no authority: what bob signs is a stranger."""
    place = harness.make_place(tmp_path, 2)
    folder = place.identity("bob")
    key: Any = load_pem_private_key((folder / "tls.key").read_bytes(), None)
    issuer = x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes())
    made = identity(tmp_path / "signed", *harness.certificate("alice", -1, 1, (issuer, key)))
    server = tls_contexts(place.load(), "alice", place.identity("alice"))[1]
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(made / "tls.crt", made / "tls.key")
    near, far = socket.socketpair()

    def accept() -> str | None:
        return peer_name(place.load(), server.wrap_socket(far, server_side=True))

    results = harness.together({"alice": accept, "x": lambda: client.wrap_socket(near).recv(1)})
    assert isinstance(results["alice"], ssl.SSLError)


def test_an_older_tls_is_refused(place: Place) -> None:
    context = tls_contexts(place.load(), "bob", place.identity("bob"))[0]
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    member = place.load().dealer
    time.sleep(0.3)
    raw = socket.create_connection((member.host, member.port), timeout=5)
    with pytest.raises(ssl.SSLError, match=r"(?i)version"):
        context.wrap_socket(raw)


def test_plain_text_is_refused(place: Place) -> None:
    def stranger() -> Any:
        time.sleep(0.3)
        member = place.load().member("alice")
        with socket.create_connection((member.host, member.port), timeout=5) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return raw.recv(1000)

    results = harness.together(
        {
            "alice": lambda: meet(place, "alice"),
            "bob": lambda: time.sleep(1) or meet(place, "bob"),  # type: ignore[func-returns-value]
            "x": stranger,
        }
    )
    assert results["alice"] == ["bob", DEALER]
    assert isinstance(results["x"], ConnectionError) or b"HTTP" not in results["x"]


def test_strangers_who_connect_and_say_nothing_delay_nobody(place: Place) -> None:
    idle: list[socket.socket] = []

    def strangers() -> None:
        time.sleep(0.2)
        for door in ("alice", DEALER):
            member = place.load().member(door)
            idle.extend(
                socket.create_connection((member.host, member.port), timeout=5) for _ in range(50)
            )

    start = time.monotonic()
    results = harness.together(
        {
            "alice": lambda: meet(place, "alice"),
            "bob": lambda: time.sleep(1) or meet(place, "bob"),  # type: ignore[func-returns-value]
            "x": strangers,
        }
    )
    for one in idle:
        one.close()
    assert results["alice"] == ["bob", DEALER]
    assert time.monotonic() - start < 5


def test_a_handshake_that_hangs_does_not_hold_the_process(place: Place) -> None:
    """A member that stopped between TLS and hello; the deadline of the meeting still holds."""

    def stopped() -> None:
        with dial(place, "alice", place.identity("bob")):
            time.sleep(2)

    start = time.monotonic()
    results = harness.together({"alice": lambda: meet(place, "alice", 1), "bob": stopped})
    assert isinstance(results["alice"], PeerTimeout)
    assert time.monotonic() - start < 5
    left = [t for t in threading.enumerate() if t.name == "tallystick-accept" and not t.daemon]
    assert not left


@pytest.mark.parametrize(
    "content",
    [b"\xff\xff\xff\xff", b"\0\0\0\4nope", b"\0\0\0\2{}", b"\0\0\0\2[]", b"\0\0\0\4null"],
)
def test_the_dealer_lives_through_any_hello(
    place: Place, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    with dial(place, DEALER, place.identity("bob")) as connection:
        connection.sendall(content)
        assert connection.recv(1) == b""
    assert all_meet(place) == everybody_else(place)
    assert "refused a connection: 'bob'" in capsys.readouterr().out


def identity(folder: Path, certificate: str, key: str) -> Path:
    folder.mkdir()
    (folder / "tls.crt").write_text(certificate)
    (folder / "tls.key").write_text(key)
    return folder


def outcome(function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        return error
