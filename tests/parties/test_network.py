"""What the network between the parties can learn, and what it can do: nothing that goes unseen."""

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import harness
from tests.harness import DEALER, Place
from tests.parties import steps
from tests.parties.proxy import Proxy, proxies

PLANTED = (731.40625, 2903.765625, -415.15625)
PSEUDONYM = b"patient-4711-abc"


@pytest.fixture
def tapped(tmp_path: Path) -> Iterator[tuple[Place, dict[str, Proxy]]]:
    """Two parties and a dealer; whatever goes between any two of them goes through a proxy."""
    place = harness.make_place(tmp_path, 2, proxied=("alice", DEALER))
    with harness.dealer(place), proxies(place) as made:
        yield place, made


def _handle_planted_values(session: Any) -> Any:
    engine = session.engine
    values = torch.tensor(PLANTED).repeat(50)
    mine, theirs = (
        engine.share(values if session.rank == owner else None, owner, values.shape)
        for owner in range(2)
    )
    engine.negative(mine * theirs)
    rows = np.frombuffer(b"another-person-0" + PSEUDONYM, dtype=np.uint8).reshape(2, 16)
    everybody = session.parties
    matching = session.dealer.match(
        [len(rows)], minimum=1, bits_to=everybody, number_to=everybody, party=session.party
    )
    (found,) = matching.run([rows])
    opened = session.ledger.reveal(mine * 2, "twice", why="a test")
    replies = session.exchange({"secret word": "abracadabra"})
    return found.tolist(), opened[:3].tolist(), [r["secret word"] for r in replies]


def traces() -> dict[str, bytes]:
    """Every form in which a planted value could go over the wire."""
    found = {"pseudonym": PSEUDONYM, "message": b"abracadabra", "session": b"test-1"}
    found["key"] = b'"key"'
    for value in (*PLANTED, *(2 * v for v in PLANTED)):
        found[f"{value} as float32"] = struct.pack("<f", value)
        found[f"{value} as float64"] = struct.pack("<d", value)
        found[f"{value} in fixed point"] = struct.pack("<q", round(value * 2**16))
        found[f"{value} as text"] = str(value).encode()
    return found


def test_a_recording_of_the_whole_network_holds_none_of_the_values(
    tapped: tuple[Place, dict[str, Proxy]],
) -> None:
    place, proxies = tapped
    results = harness.run_parties(place, _handle_planted_values)
    expected = ([True, True], [2 * v for v in PLANTED], ["abracadabra"] * 2)
    assert results == dict.fromkeys(place.parties, expected)
    for name, proxy in proxies.items():
        assert len(proxy.recorded) > 5000, f"nothing went through the proxy of {name}"
        for what, content in traces().items():
            assert content not in proxy.recorded, f"{what} is in what {name} received or sent"


def flip(content: bytes) -> bytes:
    """Change one bit of the last byte of a TLS record, which is in its authentication tag."""
    return content[:-1] + bytes([content[-1] ^ 1])


def flip_somewhere(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def double(content: bytes) -> bytes:
    return content + content


def drop(content: bytes) -> bytes:
    return b""


def turn_around(content: bytes) -> bytes:
    """Swap the first two TLS records; one alone is dropped, and so comes too late."""
    length = 5 + int.from_bytes(content[3:5], "big")
    return content[length:] + content[:length] if len(content) > length else b""


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


CHANGES = {
    "to alice": [flip, double, turn_around],
    "from alice": [flip_somewhere, drop, truncate],
    "to notary": [flip, drop],
    "from notary": [flip_somewhere, turn_around],
}


@pytest.mark.parametrize(
    ("where", "change"),
    [
        pytest.param(where, change, id=f"{change.__name__} {where}")
        for where, changes in CHANGES.items()
        for change in changes
    ],
)
def test_whoever_changes_what_is_sent_ends_the_step_by_name_and_nothing_is_published(
    tapped: tuple[Place, dict[str, Proxy]], where: str, change: Any
) -> None:
    place, proxies = tapped
    direction, name = where.split()
    runs = steps.run_all(place, lambda _: {"rounds": 10**6, "size": 5000})
    try:
        for run in runs.values():
            run.await_progress()
        setattr(proxies[name], f"{direction}_member", change)
        codes = {name: run.wait(steps.SILENCE_S + 10) for name, run in runs.items()}
        assert set(codes.values()) <= {4, 5}, codes
        for run in runs.values():
            assert run.failed["kind"] in ("PeerLost", "PeerTimeout", "ProtocolViolation")
            assert run.failed["message"]
        steps.clear(runs)
    finally:
        steps.end(runs)


def test_a_flipped_bit_is_called_tampering(tapped: tuple[Place, dict[str, Proxy]]) -> None:
    place, proxies = tapped
    runs = steps.run_all(place, lambda _: {"rounds": 10**6})
    try:
        for run in runs.values():
            run.await_progress()
        proxies["alice"].from_member = flip
        assert [run.wait() for run in runs.values()] == [4, 4]
        messages = [run.failed["message"] for run in runs.values()]
        assert any("damaged or tampered with on its way (TLS:" in text for text in messages)
        steps.clear(runs)
    finally:
        steps.end(runs)


@pytest.mark.parametrize("name", ["alice", DEALER])
@pytest.mark.parametrize("how", ["cut", "frozen"])
def test_a_connection_that_is_cut_or_frozen_ends_the_step_by_name(
    tapped: tuple[Place, dict[str, Proxy]], name: str, how: str
) -> None:
    place, proxies = tapped
    runs = steps.run_all(place, lambda _: {"rounds": 10**6})
    try:
        for run in runs.values():
            run.await_progress()
        if how == "cut":
            proxies[name].cut()
        else:
            proxies[name].frozen = True
        for run in runs.values():
            assert run.wait(steps.SILENCE_S + 5) == 4
            assert run.failed["kind"] in ("PeerLost", "PeerTimeout")
        if how == "frozen":
            assert any(run.failed["kind"] == "PeerTimeout" for run in runs.values())
        steps.clear(runs)
    finally:
        steps.end(runs)
