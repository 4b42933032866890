"""The frames on a link, and the parser that takes them from a stream of bytes.

Every frame is a 16-byte header (kind: 1 byte, zeros: 3, sequence: 4, length: 8; big-endian) and a
payload. TLS protects order and content; the sequence number and the length are a second, cheap
check that also catches errors of our own. What the kinds mean:

==========  =======================================================================
DATA        raw little-endian tensor bytes; the receiver knows the length beforehand
MESSAGE     a JSON value, at most 1 MiB
HEARTBEAT   empty: this peer lives, though it may be computing
ABORT       JSON {kind, message, at_fault}: the sender stops, and says why
END         empty: the sender has finished well and will send nothing more
==========  =======================================================================

A payload is read only into a buffer that was asked for, so a peer cannot make this process
allocate memory at will.
"""

import json
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tallystick.runtime.errors import PeerLost, ProtocolViolation

HEADER = struct.Struct("!B3xIQ")
DATA, MESSAGE, HEARTBEAT, ABORT, END = range(1, 6)
MAX_MESSAGE_BYTES = 1 << 20
MAX_ABORT_BYTES = 1 << 14
MAX_HEARTBEATS = 1 << 16
"""The most heartbeats in one reading: two days' worth. More is a flood."""
SEQUENCE_MASK = 0xFFFFFFFF
# One reading is as long as the TLS library's interface allows.
_READ_BYTES = 1 << 30
RECORD_BYTES = 1 << 14
_MAX_BYTES = {
    DATA: None,  # exactly what was asked for
    MESSAGE: MAX_MESSAGE_BYTES,
    HEARTBEAT: 0,
    ABORT: MAX_ABORT_BYTES,
    END: 0,
}


@dataclass(slots=True)
class Receipt:
    """A payload that somebody waits for: its buffer, and whether it is full."""

    buffer: memoryview | None
    done: bool = False
    message: Any = None
    ended: bool = False
    """Whether the peer has finished instead of sending what was awaited."""


class Inbox:
    """What a peer sends, and who waits for it.

    Args:
        peer: its name.
        read: reads some bytes into a buffer, at least one, and returns how many; whatever it
            raises passes through :meth:`fill`.
    """

    def __init__(self, peer: str, read: Callable[[memoryview], int]) -> None:
        self.ended = False
        """Whether the peer has finished."""
        self.aborted = False
        """Whether the peer said that it stops."""
        self.closing = False
        """Whether we have finished, so that nothing but the peer's end is due."""
        self._peer = peer
        self._read = read
        self._heartbeats = 0
        self._sequence = 0
        self._header = memoryview(bytearray(HEADER.size))
        self._header_filled = 0
        self._record = memoryview(bytearray(RECORD_BYTES))
        self._begin = self._end = 0
        self._kind = 0
        self._length = 0
        self._payload: memoryview | None = None
        self._payload_filled = 0
        self._data: deque[Receipt] = deque()
        self._messages: deque[Receipt] = deque()

    def expect_data(self, buffer: memoryview) -> Receipt:
        """Ask for the next DATA frame, whose payload must fill the buffer exactly."""
        return self._expect(self._data, Receipt(buffer))

    def expect_message(self) -> Receipt:
        """Ask for the next MESSAGE frame."""
        return self._expect(self._messages, Receipt(None))

    def _expect(self, queue: deque[Receipt], receipt: Receipt) -> Receipt:
        receipt.done = receipt.ended = self.ended
        queue.append(receipt)
        return receipt

    @property
    def stalled(self) -> bool:
        """Whether a frame has begun for which nobody has asked yet, so that reading must wait."""
        if self.ended:
            return True
        if self._header_filled < HEADER.size or self._payload is not None:
            return False
        asked, other = self._asked()
        return not (asked or other or self.closing)

    def fill(self) -> None:
        """Read until nothing more is asked for, or ``read`` raises.

        Raises:
            PeerLost: the peer stopped, with its reason.
            ProtocolViolation: a frame that no honest peer would send.
        """
        self._heartbeats = 0
        while not self.ended:
            if self._header_filled < HEADER.size:
                self._read_header()
            if self._payload is None and not self._open_payload():
                return
            self._read_payload()
            if self._kind in (DATA, MESSAGE) and not (self._data or self._messages):
                return  # whatever else has come can wait until somebody asks

    def _read_header(self) -> None:
        while self._header_filled < HEADER.size:
            self._header_filled += self._receive(self._header[self._header_filled :])
        self._kind, sequence, self._length = HEADER.unpack(self._header)
        if sequence != self._sequence:
            raise self._violation("a frame out of sequence")
        if self._kind not in _MAX_BYTES:
            raise self._violation("a frame of unknown kind")
        limit = _MAX_BYTES[self._kind]
        if limit is not None and self._length > limit:
            raise self._violation("a frame over its size limit")
        self._heartbeats += self._kind == HEARTBEAT
        if self._heartbeats > MAX_HEARTBEATS:
            raise self._violation("a flood of heartbeats")
        self._sequence = (self._sequence + 1) & SEQUENCE_MASK

    def _asked(self) -> tuple[deque[Receipt], deque[Receipt]]:
        """Return who waits for the frame that has begun, and who for the other kind."""
        queues = self._data, self._messages
        return queues if self._kind == DATA else queues[::-1]

    def _open_payload(self) -> bool:
        """Find the place for the payload; say whether there is one yet."""
        if self._kind in (DATA, MESSAGE):
            asked, other = self._asked()
            if not asked and (other or self.closing):
                # Both sides run the same program, so a frame that is early may wait. This one
                # stands in the place of another, and waiting would have no end.
                raise self._violation("something else than was due, so the steps have parted")
            if not asked:
                return False
        if self._kind == DATA:
            buffer = self._data[0].buffer
            assert buffer is not None
            if len(buffer) != self._length:
                raise self._violation(f"{self._length} bytes where {len(buffer)} were due")
            self._payload = buffer
        else:
            self._payload = memoryview(bytearray(self._length))
        self._payload_filled = 0
        return True

    def _read_payload(self) -> None:
        payload = self._payload
        assert payload is not None
        while self._payload_filled < self._length:
            self._payload_filled += self._receive(payload[self._payload_filled :])
        self._payload, self._header_filled = None, 0
        if self._kind == DATA:
            self._data.popleft().done = True
        elif self._kind == MESSAGE:
            receipt = self._messages.popleft()
            receipt.message, receipt.done = self._parse(payload), True
        elif self._kind == ABORT:
            self.aborted = True
            raise stopped(self._peer, self._parse(payload))
        elif self._kind == END:
            self.ended = True
            for receipt in (*self._data, *self._messages):
                receipt.done = receipt.ended = True

    def _receive(self, target: memoryview) -> int:
        """Move some bytes to where they belong: small ones by way of a buffer of one TLS record."""
        if self._begin == self._end:
            if len(target) >= RECORD_BYTES:
                return self._read(target[:_READ_BYTES])
            self._begin, self._end = 0, self._read(self._record)
        count = min(len(target), self._end - self._begin)
        target[:count] = self._record[self._begin : self._begin + count]
        self._begin += count
        return count

    def _parse(self, payload: memoryview) -> Any:
        try:
            return json.loads(bytes(payload))
        except (ValueError, RecursionError):
            raise self._violation("a message that is not JSON") from None

    def _violation(self, what: str) -> ProtocolViolation:
        return ProtocolViolation(
            f"{self._peer!r} sent {what}; nothing of this session was kept. Check that every "
            "member runs the same version of tallystick"
        )


def stopped(peer: str, reason: Any) -> PeerLost:
    """Return the error for a peer that said why it stopped; its words are cut and cleaned first."""
    reason = reason if isinstance(reason, dict) else {}
    kind, message, at_fault = (
        "".join(c for c in said[:1000] if c.isprintable()) if isinstance(said, str) else ""
        for said in (reason.get(key) for key in ("kind", "message", "at_fault"))
    )
    if at_fault and at_fault != peer:
        return PeerLost(f"{peer!r} stopped: {message}", at_fault=at_fault)
    return PeerLost(f"{peer!r} stopped with {kind or 'an error'}: {message}", at_fault=peer)
