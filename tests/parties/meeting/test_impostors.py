"""Those who are not who they say are refused by name, and strangers harm nobody."""

import dataclasses
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tallystick.runtime import meeting
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.errors import (
    ConfigError,
    PeerTimeout,
    ProtocolViolation,
)
from tallystick.runtime.hello import receive_hello, send_hello
from tallystick.runtime.identity import keygen, peer_name, tls_contexts
from tallystick.runtime.meeting import Meeting

from tests import harness
from tests.harness import DEALER, Place
from tests.parties.meeting.room import (
    all_meet,
    dial,
    everybody_else,
    identity,
    meet,
    ours,
)


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
