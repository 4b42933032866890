"""What crosses every link, the dealer's included, before TLS hides it: no id, no unkeyed hash."""

import base64
import hashlib
import os
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pysodium
import pytest
from tallystick.psi import keys, pseudonyms, step
from tallystick.runtime.dealer.__main__ import serve
from tallystick.tables import ids

from tests import harness
from tests.psi.room import Steps

NAMES = ("alice", "bob", "carol")
NEEDLE = 8
HASHES = (
    hashlib.md5,
    hashlib.sha1,
    hashlib.sha224,
    hashlib.sha256,
    hashlib.sha384,
    hashlib.sha512,
    hashlib.sha3_256,
    hashlib.blake2s,
    hashlib.blake2b,
    lambda content: hashlib.blake2b(content, digest_size=16),
    lambda content: hashlib.blake2b(content, digest_size=32),
)


def record(folder: str) -> None:
    """From now on, write all that this process gives to TLS into a file for each connection."""
    send, sendall = ssl.SSLSocket.send, ssl.SSLSocket.sendall

    def keep(connection: ssl.SSLSocket, content: bytes) -> None:
        certificate = connection.getpeercert(binary_form=True) or b""
        peer = hashlib.sha256(certificate).hexdigest()[:16]
        with open(f"{folder}/{os.getpid()}-{peer}", "ab") as file:
            file.write(content)

    def recording_send(connection: ssl.SSLSocket, data: Any, flags: int = 0) -> int:
        sent = send(connection, data, flags)
        keep(connection, bytes(data)[:sent])
        return sent

    def recording_sendall(connection: ssl.SSLSocket, data: Any, flags: int = 0) -> None:
        # It calls send(), which would keep the content again.
        ssl.SSLSocket.send = send
        try:
            sendall(connection, data, flags)
        finally:
            ssl.SSLSocket.send = recording_send
        keep(connection, bytes(data))

    ssl.SSLSocket.send, ssl.SSLSocket.sendall = recording_send, recording_sendall


def recorded_dealer(place: harness.Place, folder: str) -> None:
    record(folder)
    sys.exit(serve(place.consortium, place.identity(harness.DEALER)))


def recorded_side(arguments: dict[str, Any]) -> None:
    record(arguments.pop("recordings"))
    step.run(arguments)


def needles(values: list[str]) -> Iterator[bytes]:
    """The first bytes of everything that tells an id to whoever guesses it."""
    for value in values:
        for form in (value.encode(), ids.encode([value]), value.strip().lower().encode()):
            yield form[-NEEDLE:]
            for function in HASHES:
                digest = function(form).digest()
                yield digest[:NEEDLE]
                yield digest.hex().encode()[:NEEDLE]
                yield base64.b64encode(digest)[:NEEDLE]
    for digest in ids.digests(ids.encoded([pa.array(values)])):
        yield digest.tobytes()[:NEEDLE]
        yield digest.tobytes()[16 : 16 + NEEDLE]
        wide = hashlib.blake2b(digest.tobytes(), person=b"tallystick point").digest()
        yield wide[:NEEDLE]
        point = pysodium.crypto_core_ristretto255_from_hash(wide)
        yield point[:NEEDLE]
        yield point[1 : 1 + NEEDLE]


def windows(content: bytes) -> set[bytes]:
    return {content[i : i + NEEDLE] for i in range(len(content) - NEEDLE + 1)}


@pytest.mark.parametrize("result", ["all", "receiver"])
@pytest.mark.parametrize("protocol", ["aided", "ecdh"])
def test_no_id_and_no_unkeyed_hash_of_one_crosses_a_link(
    tmp_path: Path, protocol: str, result: str
) -> None:
    place = harness.make_place(tmp_path / "place", 3)
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    values = [f"planted-{number:06}" for number in range(300)]
    parties = Steps(place, tmp_path)
    for name, first in zip(NAMES, (0, 50, 100), strict=True):
        own = np.random.default_rng(first).permutation(values[first : first + 200])
        parties.write(**{name: "id\n" + "\n".join(own) + "\n"})
    dealer = harness.Process(
        place, recorded_dealer, place, str(recordings), log=tmp_path / "dealer.log"
    )
    dealer.await_line('"serving"')
    try:
        for name in NAMES:
            parties.start(
                name,
                recorded_side,
                recordings=str(recordings),
                protocol=protocol,
                result=result,
                receiver="bob" if result == "receiver" else "",
            )
        ended = {name: parties.wait(name) for name in NAMES}
    finally:
        dealer.signal(signal.SIGTERM)
        dealer.wait(10)
        dealer.end()
    for side in ended.values():
        assert side.exit_code == 0, side.log

    sent = {path.name: path.read_bytes() for path in recordings.iterdir()}
    wanted = set(needles(values))
    for name, content in sent.items():
        assert not windows(content) & wanted, name
    assert len(sent) == 4 * 3  # each member to each other one
    # The search finds what is there: contributions to keys cross the parties' links alone.
    dealers = hashlib.sha256(_certificate(place, harness.DEALER)).hexdigest()[:16]
    contributions = {name for name, content in sent.items() if b'"contribution"' in content}
    assert len(contributions) == 6
    assert not any(name.endswith(dealers) for name in contributions)
    to_dealer = [content for name, content in sent.items() if name.endswith(dealers)]
    from_dealer = [sent[name] for name in sent if name.split("-")[0] == _dealer(sent, dealers)]
    if protocol == "aided":
        assert all(len(content) > 200 * 16 for content in to_dealer)
        # One bit for each pseudonym, and the rest is the handshake.
        assert all(len(content) < 3000 for content in from_dealer)
    else:
        # The dealer of a session without dealing hears of it, and nothing more.
        assert all(b'"match"' not in content for content in to_dealer)
        assert all(len(content) < 3000 for content in to_dealer + from_dealer)


def _certificate(place: harness.Place, name: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert((place.identity(name) / "tls.crt").read_text())


def _dealer(sent: dict[str, bytes], dealers: str) -> str:
    """The process that sends to nobody with the dealer's certificate."""
    others = {name.split("-")[0] for name in sent if name.endswith(dealers)}
    (found,) = {name.split("-")[0] for name in sent} - others
    return found


def test_two_sessions_show_the_dealer_nothing_in_common(tmp_path: Path) -> None:
    encoded = ids.encoded([pa.array(["a", "b"])])
    joint = [keys.JointKeys("s", os.urandom(64)).key("pseudonyms") for _ in range(2)]
    rows = [pseudonyms.pseudonyms(key, encoded).tobytes() for key in joint]
    assert not windows(rows[0]) & windows(rows[1])


def test_a_search_that_finds_nothing_would_find_something() -> None:
    wanted = set(needles(["planted-000001"]))
    for content in (
        b"..planted-000001..",
        hashlib.sha256(b"planted-000001").hexdigest().encode(),
        base64.b64encode(hashlib.sha512(b"planted-000001").digest()),
    ):
        assert windows(content) & wanted
