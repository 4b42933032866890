"""Frames: what one side posts the other reads, and nothing else is taken from a peer."""

import json
import random
import ssl
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick.runtime import frames
from tallystick.runtime.errors import PeerLost, ProtocolViolation, TallystickError
from tallystick.runtime.frames import ABORT, DATA, END, HEADER, HEARTBEAT, MESSAGE
from tallystick.runtime.links import Link

LIMITS = {MESSAGE: frames.MAX_MESSAGE_BYTES, ABORT: frames.MAX_ABORT_BYTES, HEARTBEAT: 0, END: 0}


class Wire:
    """A connection without a network: what is sent is kept, and what was put in can be read."""

    def __init__(self, incoming: bytes = b"", *, piece: int = 1 << 20, over: bool = False) -> None:
        self.incoming = memoryview(incoming)
        self.sent = bytearray()
        self.room = 1 << 40
        self.over = over
        self._piece = piece

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def fileno(self) -> int:
        return -1

    def send(self, content: memoryview) -> int:
        count = min(len(content), self.room, self._piece)
        if not count and len(content):
            raise ssl.SSLWantWriteError
        self.room -= count
        self.sent += content[:count]
        return count

    def recv_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self.incoming), self._piece)
        if not count and not self.over:
            raise ssl.SSLWantReadError
        buffer[:count] = self.incoming[:count]
        self.incoming = self.incoming[count:]
        return count

    def close(self) -> None:
        self.over = True


def link(incoming: bytes = b"", **options: Any) -> Link:
    return Link(Wire(incoming, **options), "bob")  # type: ignore[arg-type]


def frame(kind: int, sequence: int, payload: bytes, *, length: int | None = None) -> bytes:
    return HEADER.pack(kind, sequence, len(payload) if length is None else length) + payload


def written(posts: list[tuple[int, bytes]]) -> bytes:
    sender = link()
    for kind, payload in posts:
        sender.post(kind, payload)
    sender.flush()
    assert sender.flushed
    return bytes(sender.connection.sent)  # type: ignore[attr-defined]


@given(
    payloads=st.lists(st.binary(max_size=40_000), max_size=8),
    piece=st.integers(1, 50_000),
)
def test_what_is_posted_arrives_whole_and_in_order(payloads: list[bytes], piece: int) -> None:
    receiver = link(written([(DATA, p) for p in payloads]), piece=piece)
    buffers = [bytearray(len(p)) for p in payloads]
    receipts = [receiver.expect_data(memoryview(b)) for b in buffers]
    receiver.fill()
    assert all(receipt.done for receipt in receipts)
    assert buffers == payloads


@given(st.recursive(st.none() | st.text() | st.integers(-(2**60), 2**60), st.lists))
def test_messages_arrive_as_they_were(value: Any) -> None:
    receiver = link(written([(HEARTBEAT, b""), (MESSAGE, json.dumps(value).encode())]))
    receipt = receiver.expect_message()
    receiver.fill()
    assert receipt.done
    assert receipt.message == value


def test_a_full_socket_takes_the_rest_later() -> None:
    sender = link()
    wire: Any = sender.connection
    wire.room = 10_000
    sender.post(DATA, bytes(range(256)) * 200)
    sender.post(DATA, b"more")
    sender.flush()
    assert not sender.flushed
    assert sender.queued_bytes > 40_000
    wire.room = 1 << 30
    sender.flush()
    assert sender.flushed
    assert bytes(wire.sent) == written([(DATA, bytes(range(256)) * 200), (DATA, b"more")])


def test_a_payload_that_nobody_asked_for_waits_unread_but_for_one_record() -> None:
    receiver = link(written([(DATA, b"x" * 100_000)]))
    receiver.fill()
    receiver.fill()
    assert receiver.stalled
    assert len(receiver.connection.incoming) >= 100_000 - (1 << 14)  # type: ignore[attr-defined]
    buffer = bytearray(100_000)
    receipt = receiver.expect_data(memoryview(buffer))
    receiver.fill()
    assert receipt.done
    assert buffer == b"x" * 100_000


@pytest.mark.parametrize(
    ("incoming", "what"),
    [
        (frame(DATA, 1, b"12345678"), "out of sequence"),
        (frame(HEARTBEAT, 0, b"") + frame(HEARTBEAT, 0, b""), "out of sequence"),
        (frame(0, 0, b""), "unknown kind"),
        (frame(6, 0, b""), "unknown kind"),
        (frame(HEARTBEAT, 0, b"x"), "over its size limit"),
        (frame(END, 0, b"x"), "over its size limit"),
        (frame(MESSAGE, 0, b"", length=frames.MAX_MESSAGE_BYTES + 1), "over its size limit"),
        (frame(ABORT, 0, b"", length=frames.MAX_ABORT_BYTES + 1), "over its size limit"),
        (frame(MESSAGE, 0, b"", length=2**64 - 1), "over its size limit"),
        (frame(DATA, 0, b"1234567"), "7 bytes where 8 were due"),
        (frame(DATA, 0, b"", length=2**64 - 1), "bytes where 8 were due"),
        (frame(MESSAGE, 0, b"{}"), "something else than was due"),
        (frame(ABORT, 0, b"{"), "not JSON"),
        (frame(ABORT, 0, b"\xff\xfe"), "not JSON"),
        (frame(ABORT, 0, b"[" * 10_000), "not JSON"),
    ],
)
def test_a_frame_that_no_honest_peer_would_send_ends_the_step(incoming: bytes, what: str) -> None:
    receiver = link(incoming)
    receiver.expect_data(memoryview(bytearray(8)))
    with pytest.raises(ProtocolViolation, match=what) as caught:
        receiver.fill()
    assert "'bob'" in str(caught.value)


def test_raw_bytes_where_a_message_is_due_end_the_step() -> None:
    receiver = link(frame(DATA, 0, b"1234"))
    receiver.expect_message()
    with pytest.raises(ProtocolViolation, match="something else than was due"):
        receiver.fill()


def test_a_frame_that_came_early_is_no_better_when_another_is_asked_for() -> None:
    receiver = link(frame(DATA, 0, b"1234"))
    receiver.fill()
    assert receiver.stalled
    receiver.expect_message()
    assert not receiver.stalled
    with pytest.raises(ProtocolViolation, match="something else than was due"):
        receiver.fill()


def test_after_our_end_nothing_but_the_peers_end_is_taken() -> None:
    receiver = link(frame(HEARTBEAT, 0, b"") + frame(DATA, 1, b"1234"))
    receiver.post(END)
    with pytest.raises(ProtocolViolation, match="something else than was due"):
        receiver.fill()


def test_a_flood_of_heartbeats_does_not_hold_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_HEARTBEATS", 100)
    flood = b"".join(frame(HEARTBEAT, n, b"") for n in range(200))
    with pytest.raises(ProtocolViolation, match="flood"):
        link(flood).fill()


def test_the_end_fills_what_was_still_awaited_and_marks_it() -> None:
    receiver = link(frame(END, 0, b""))
    receipt = receiver.expect_message()
    receiver.fill()
    assert receiver.ended
    assert receipt.done
    assert receipt.ended
    assert receiver.expect_data(memoryview(bytearray(1))).ended


def test_sequence_numbers_wrap_around() -> None:
    sender, receiver = link(), link()
    sender._sequence = receiver._inbox._sequence = 0xFFFFFFFF
    for _ in range(2):
        sender.post(DATA, b"abc")
    sender.flush()
    receiver.connection.incoming = memoryview(bytes(sender.connection.sent))  # type: ignore
    receipts = [receiver.expect_data(memoryview(bytearray(3))) for _ in range(2)]
    receiver.fill()
    assert all(receipt.done for receipt in receipts)


@pytest.mark.parametrize(
    ("reason", "said", "at_fault"),
    [
        (
            {"kind": "DataError", "message": "no file", "at_fault": None},
            "DataError: no file",
            "bob",
        ),
        ({"kind": "X", "message": "carol is silent", "at_fault": "carol"}, "carol is", "carol"),
        ({"message": "a\nb\x1b[31m\ud800c"}, "with an error: ab[31mc", "bob"),
        ({"kind": ["x"], "message": {"a": 1}, "at_fault": 7}, "with an error: ", "bob"),
        (["no", "object"], "with an error: ", "bob"),
        (None, "with an error: ", "bob"),
        ({"message": "x" * 9000}, "x" * 1000, "bob"),
    ],
)
def test_a_peers_last_words_are_passed_on_clean_and_short(
    reason: Any, said: str, at_fault: str
) -> None:
    receiver = link(frame(ABORT, 0, json.dumps(reason).encode()))
    with pytest.raises(PeerLost) as caught:
        receiver.fill()
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1200
    assert str(caught.value).isprintable()
    assert caught.value.at_fault == at_fault
    assert receiver.aborted


def test_whoever_uses_a_lost_link_meets_its_first_error_again() -> None:
    words = json.dumps({"kind": "DataError", "message": "no such file"}).encode()
    receiver = link(frame(ABORT, 0, words), over=True)
    for use in (receiver.fill, receiver.flush, receiver.fill):
        with pytest.raises(PeerLost, match="DataError: no such file"):
            use()


def test_a_connection_that_ends_within_a_frame_is_a_lost_peer() -> None:
    for cut in range(20):
        receiver = link(frame(DATA, 0, b"12345678")[:cut], over=True)
        receiver.expect_data(memoryview(bytearray(8)))
        with pytest.raises(PeerLost, match="'bob' closed the connection") as caught:
            receiver.fill()
        assert caught.value.at_fault == "bob"


def test_a_damaged_tls_record_is_called_that() -> None:
    class Damaged(Wire):
        def recv_into(self, buffer: memoryview) -> int:
            raise ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] bad record mac")

    with pytest.raises(PeerLost, match="'bob' was damaged or tampered with"):
        Link(Damaged(), "bob").fill()  # type: ignore[arg-type]


def outcome_of(function: Callable[[], Any]) -> str:
    """Return the kind of error that a function ends with; anything but ours is let through."""
    try:
        function()
    except TallystickError as error:
        return type(error).__name__
    return "well"


def test_the_parser_survives_any_bytes_with_bounded_memory(fuzz: int) -> None:
    """60,000 inputs by default: random bytes, and well-formed frames with one thing changed."""
    rng = random.Random(7 * fuzz)
    kinds = (DATA, MESSAGE, HEARTBEAT, ABORT, END)
    texts = (b"{}", b"[]", b'"x"', b"1e999", b"NaN", b"9" * 5000, b"[" * 3000, b'{"kind":[]}')

    def any_frames() -> bytes:
        frames = bytearray()
        for sequence in range(rng.randrange(1, 4)):
            payload = rng.choice((b"12345678", b"", rng.choice(texts)))
            length = rng.choice((len(payload),) * 4 + (rng.getrandbits(64), rng.getrandbits(16)))
            frames += frame(rng.choice(kinds), sequence, payload, length=length)
        for _ in range(rng.randrange(2)):
            frames[rng.randrange(len(frames))] = rng.randrange(256)
        return bytes(frames)

    outcomes: Counter[str] = Counter()
    for number in range(60_000 * fuzz):
        if number == 60_000 * fuzz - 2_000:
            tracemalloc.start()
        incoming = any_frames() if number % 3 else rng.randbytes(rng.randrange(60))
        receiver = link(incoming, over=bool(number % 2), piece=rng.choice((1, 7, 1000)))
        for _ in range(rng.randrange(3)):
            receiver.expect_data(memoryview(bytearray(8)))
        if rng.random() < 0.5:
            receiver.expect_message()
        outcomes[outcome_of(receiver.fill)] += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(outcomes) == {"well", "PeerLost", "ProtocolViolation"}
    assert min(outcomes.values()) > 1000
    # A message may be 1 MiB long, and is allocated when it is announced.
    assert peak < 8 << 20


def test_the_largest_message_that_json_can_blow_up_stays_bounded() -> None:
    content = b"[" + b"[]," * (frames.MAX_MESSAGE_BYTES // 3 - 2) + b"[]]"
    receiver = link(frame(MESSAGE, 0, content))
    receipt = receiver.expect_message()
    tracemalloc.start()
    try:
        receiver.fill()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert receipt.done
    assert peak < 64 << 20


def test_a_length_says_nothing_about_how_much_is_allocated() -> None:
    receiver = link(frame(DATA, 0, b"", length=1 << 40))
    tracemalloc.start()
    try:
        receiver.fill()  # nobody has asked for it yet
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert receiver.stalled
    assert peak < 100_000
