"""The first message: what two sides compare, and what is made of any bytes."""

import dataclasses
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick import __version__
from tallystick.runtime import hello
from tallystick.runtime.errors import (
    ConfigError,
    PeerLost,
    PeerMismatch,
    ProtocolViolation,
    TallystickError,
)
from tallystick.runtime.hello import Hello

OURS = Hello(session="s", step="train", member="alice", joint={"epochs": 3, "columns": ["a"]})
THEIRS = dataclasses.replace(OURS, member="bob")


def sent(**changes: Any) -> Any:
    """Return bob's hello as it arrives, with some fields changed."""
    content = {**json.loads(THEIRS.encode()), **changes}
    return {name: value for name, value in content.items() if value is not ...}


def test_a_hello_arrives_as_it_was() -> None:
    stopping = dataclasses.replace(THEIRS, stopped={"kind": "DataError", "message": "no file"})
    for one in (THEIRS, stopping):
        assert Hello.decode(json.loads(one.encode()), "bob") == one
    OURS.check(THEIRS)


def test_another_value_is_named_with_both_values() -> None:
    theirs = dataclasses.replace(THEIRS, joint={"epochs": 4, "columns": ["a"]})
    with pytest.raises(
        PeerMismatch, match=r"'epochs' differs: 'alice' has 3, 'bob' has 4; agree on one value"
    ) as caught:
        OURS.check(theirs)
    assert caught.value.at_fault == "bob"


@pytest.mark.parametrize(
    ("joint", "field"),
    [
        ({"epochs": 3}, "columns"),
        ({"epochs": 3, "columns": ["a"], "rate": 0.1}, "rate"),
        ({}, "columns"),
        ({"epochs": 3, "columns": ["b"]}, "columns"),
        ({"epochs": "3", "columns": ["a"]}, "epochs"),
        ({"epochs": 3, "columns": ["a"], "x" * 5000: 1}, "x" * 100),
    ],
)
def test_a_field_that_only_one_side_has_is_named(joint: dict[str, Any], field: str) -> None:
    with pytest.raises(PeerMismatch, match=rf"^'{field}' differs"):
        OURS.check(dataclasses.replace(THEIRS, joint=joint))


def test_long_values_are_cut() -> None:
    theirs = dataclasses.replace(THEIRS, joint={"epochs": 3, "columns": ["b" * 5000]})
    with pytest.raises(PeerMismatch) as caught:
        OURS.check(theirs)
    assert len(str(caught.value)) < 400


def test_a_configuration_too_long_to_compare_is_refused_by_its_longest_field() -> None:
    OURS.require_room()
    joint = {"epochs": 3, "columns": ["b" * 50] * 20_000}
    with pytest.raises(ConfigError, match="columns is too long: what the parties compare"):
        dataclasses.replace(OURS, joint=joint).require_room()


def test_a_peer_that_stopped_is_named_with_its_reason() -> None:
    reason = {"kind": "DataError", "message": "'data.csv' is missing", "at_fault": None}
    with pytest.raises(PeerLost, match=r"'bob' stopped with DataError: 'data.csv' is miss"):
        OURS.check(dataclasses.replace(THEIRS, stopped=reason))


@pytest.mark.parametrize("what", ["protocol", "package"])
def test_another_version_is_named_with_both_versions(what: str) -> None:
    ours = {"protocol": hello.PROTOCOL, "package": __version__}[what]
    with pytest.raises(PeerMismatch, match="'bob' runs") as caught:
        Hello.decode(sent(**{what: "0.0.9"}), "bob")
    assert f"'bob' runs {what} version '0.0.9', we run {ours!r}" in str(caught.value)
    assert caught.value.at_fault == "bob"


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "hello",
        7,
        {},
        sent(protocol=...),
        sent(package=None),
        sent(package=["0.1"]),
        sent(session=...),
        sent(session=""),
        sent(session="x" * 101),
        sent(session=7),
        sent(step=None),
        sent(step="x" * 10_000),
        sent(member=...),
        sent(joint=...),
        sent(joint=[]),
        sent(joint="{}"),
        sent(stopped="yes"),
        sent(stopped=[1]),
    ],
)
def test_what_is_no_hello_is_refused(content: Any) -> None:
    with pytest.raises(ProtocolViolation, match="'bob' sent no proper hello"):
        Hello.decode(content, "bob")


def test_a_hello_in_another_name_than_the_certificates_is_refused() -> None:
    with pytest.raises(
        ProtocolViolation, match="with the certificate of 'carol' calls itself 'bob'"
    ):
        Hello.decode(sent(), "carol")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*sent(), "else"]), VALUES) | VALUES)
def test_any_json_is_a_hello_or_a_named_error(content: Any) -> None:
    survive(content)
    survive({**sent(), **content} if isinstance(content, dict) else content)


def survive(content: Any) -> None:
    Hello.wanted(content)
    try:
        OURS.check(Hello.decode(content, "bob"))
    except TallystickError as error:
        assert len(str(error)) < 2000  # noqa: PT017


class Connection:
    """Bytes that arrive in pieces, then the end."""

    def __init__(self, content: bytes, rng: random.Random) -> None:
        self.content = content
        self._rng = rng

    def settimeout(self, timeout_s: float) -> None:
        assert 0 < timeout_s <= hello.HANDSHAKE_S

    def recv(self, count: int) -> bytes:
        count = min(count, self._rng.choice((1, 3, 4, 100, 1 << 20)))
        piece, self.content = self.content[:count], self.content[count:]
        return piece


def test_any_bytes_are_a_hello_or_a_named_error(fuzz: int) -> None:
    """20,000 inputs by default: noise, cut and altered hellos, nested and lying ones."""
    rng = random.Random(11 * fuzz)
    whole = json.dumps(sent()).encode()
    kinds: set[str] = set()
    for number in range(20_000 * fuzz):
        content = bytearray(whole)
        for _ in range(rng.randrange(3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if number % 5 == 0:
            depth = rng.randrange(1, 2000)
            content = bytearray(b'{"protocol":' + b"[" * depth + b"]" * depth + b"}")
        if number % 7 == 0:
            content = bytearray(rng.randbytes(rng.randrange(50)))
        length = rng.choice((len(content),) * 6 + (rng.getrandbits(32), rng.randrange(300)))
        raw = length.to_bytes(4, "big") + content
        raw = raw[: rng.choice((len(raw),) * 6 + (rng.randrange(len(raw) + 1),))]
        try:
            received = hello.receive_hello(Connection(raw, rng))  # type: ignore[arg-type]
        except TallystickError as error:
            kinds.add(str(error))
            continue
        if received is not None:
            survive(received)
    assert kinds == {"a peer's hello is not JSON", "a peer's hello is over its size limit"}


def test_a_peer_that_dribbles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(hello.time, "monotonic", lambda: now[0])

    class Dribble(Connection):
        def recv(self, count: int) -> bytes:
            now[0] += 1.0
            return b"\0" if now[0] < 3 else b"\1"

    with pytest.raises(TimeoutError):
        hello.receive_hello(Dribble(b"", random.Random(0)))  # type: ignore[arg-type]
    assert now[0] <= hello.HANDSHAKE_S + 2
