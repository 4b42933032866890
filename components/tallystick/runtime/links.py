"""A link: one authenticated, encrypted connection to one peer, and the frames on it.

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

A link never blocks: :meth:`Link.flush` and :meth:`Link.fill` do what is possible now, and
:class:`~tallystick.runtime.mesh.Mesh` waits for all links of a session at once. So a big exchange
in both directions cannot deadlock, and one thread serves all peers. A payload is read only into a
buffer that was asked for, so a peer cannot make this process allocate memory at will.
"""

import json
import socket
import ssl
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from tallystick.runtime.errors import PeerLost, ProtocolViolation, TallystickError

HEADER = struct.Struct("!B3xIQ")
DATA, MESSAGE, HEARTBEAT, ABORT, END = range(1, 6)
MAX_MESSAGE_BYTES = 1 << 20
MAX_ABORT_BYTES = 1 << 14
MAX_HEARTBEATS = 1 << 16
"""The most heartbeats in one reading: two days' worth. More is a flood."""
# One reading is as long as the TLS library's interface allows.
_READ_BYTES = 1 << 30
# A frame up to this size is sent in one piece with its header: one TLS record, one system call.
_JOIN_BYTES = 16_000
_RECORD_BYTES = 1 << 14
_MAX_BYTES = {
    DATA: None,  # exactly what was asked for
    MESSAGE: MAX_MESSAGE_BYTES,
    HEARTBEAT: 0,
    ABORT: MAX_ABORT_BYTES,
    END: 0,
}
_SEQUENCE_MASK = 0xFFFFFFFF


@dataclass(slots=True)
class Receipt:
    """A payload that somebody waits for: its buffer, and whether it is full."""

    buffer: memoryview | None
    done: bool = False
    message: Any = None
    ended: bool = False
    """Whether the peer has finished instead of sending what was awaited."""


@dataclass(slots=True)
class Counters:
    """What went over a link."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_frames: int = 0


class Link:
    """One side of a connection. After construction only the mesh that owns the link calls it."""

    def __init__(self, connection: ssl.SSLSocket, peer: str) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.peer = peer
        self.counters = Counters()
        self.last_heard = time.monotonic()
        self.ended = False
        self.finished = False
        """Whether we have posted END: nothing more may be posted, and nothing more but END come."""
        self.aborted = False
        """Whether the peer said that it stops."""
        self._failure: TallystickError | None = None
        self._hung_up = False
        self._heartbeats = 0
        self._outgoing: deque[memoryview] = deque()
        self._send_sequence = 0
        self._receive_sequence = 0
        self._header = memoryview(bytearray(HEADER.size))
        self._header_filled = 0
        self._record = memoryview(bytearray(_RECORD_BYTES))
        self._begin = self._end = 0
        self._kind = 0
        self._length = 0
        self._payload: memoryview | None = None
        self._payload_filled = 0
        self._data: deque[Receipt] = deque()
        self._messages: deque[Receipt] = deque()

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self.connection.fileno()

    # Sending

    def post(self, kind: int, payload: memoryview | bytes = b"") -> None:
        """Queue a frame. ``payload`` must stay unchanged until :attr:`flushed`."""
        self.finished = self.finished or kind == END
        length = len(payload)
        header = HEADER.pack(kind, self._send_sequence, length)
        self._send_sequence = (self._send_sequence + 1) & _SEQUENCE_MASK
        if length <= _JOIN_BYTES:
            self._outgoing.append(memoryview(header + payload))
        else:
            self._outgoing.append(memoryview(header))
            self._outgoing.append(memoryview(payload))
        self.counters.sent_frames += 1

    @property
    def flushed(self) -> bool:
        """Whether everything that was posted is with the operating system."""
        return not self._outgoing

    @property
    def queued_bytes(self) -> int:
        """What was posted and is not yet with the operating system."""
        return sum(len(piece) for piece in self._outgoing)

    def flush(self) -> None:
        """Send what the socket takes now.

        Raises:
            PeerLost: the connection is gone.
        """
        self._raise_failure()
        try:
            self._send()
        except (OSError, ValueError) as error:
            # The peer's last words may still lie in our receive buffer; they say why it went.
            self._outgoing.clear()
            self.fill()
            raise self._keep(self._lost(error)) from None

    def _send(self) -> None:
        outgoing = self._outgoing
        while outgoing:
            head = outgoing[0]
            try:
                sent = self.connection.send(head)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            self.counters.sent_bytes += sent
            if sent == len(head):
                outgoing.popleft()
            else:
                outgoing[0] = head[sent:]

    # Receiving

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
        if self._failure is not None:
            return False
        if self._header_filled < HEADER.size or self._payload is not None:
            return False
        asked, other = self._asked()
        return not (asked or other or self.finished)

    def fill(self) -> None:
        """Read what has arrived, as far as somebody asked for it.

        Raises:
            PeerLost: the peer stopped, with its reason where it gave one, or the connection is
                gone.
            ProtocolViolation: a frame that no honest peer would send.
        """
        self._raise_failure()
        self._heartbeats = 0
        try:
            while not self.ended:
                if self._header_filled < HEADER.size:
                    self._read_header()
                if self._payload is None and not self._open_payload():
                    return
                self._read_payload()
                if self._kind in (DATA, MESSAGE) and not (self._data or self._messages):
                    return  # whatever else has come can wait until somebody asks
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, ValueError) as error:
            raise self._keep(self._lost(error)) from None
        except TallystickError as error:
            raise self._keep(error) from None

    def _read_header(self) -> None:
        while self._header_filled < HEADER.size:
            self._header_filled += self._receive(self._header[self._header_filled :])
        self._kind, sequence, self._length = HEADER.unpack(self._header)
        if sequence != self._receive_sequence:
            raise self._violation("a frame out of sequence")
        if self._kind not in _MAX_BYTES:
            raise self._violation("a frame of unknown kind")
        limit = _MAX_BYTES[self._kind]
        if limit is not None and self._length > limit:
            raise self._violation("a frame over its size limit")
        self._heartbeats += self._kind == HEARTBEAT
        if self._heartbeats > MAX_HEARTBEATS:
            raise self._violation("a flood of heartbeats")
        self._receive_sequence = (self._receive_sequence + 1) & _SEQUENCE_MASK

    def _asked(self) -> tuple[deque[Receipt], deque[Receipt]]:
        """Return who waits for the frame that has begun, and who for the other kind."""
        queues = self._data, self._messages
        return queues if self._kind == DATA else queues[::-1]

    def _open_payload(self) -> bool:
        """Find the place for the payload; say whether there is one yet."""
        if self._kind in (DATA, MESSAGE):
            asked, other = self._asked()
            if not asked and (other or self.finished):
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
            raise stopped(self.peer, self._parse(payload))
        elif self._kind == END:
            self.ended = True
            for receipt in (*self._data, *self._messages):
                receipt.done = receipt.ended = True

    def _receive(self, target: memoryview) -> int:
        """Move some bytes to where they belong: small ones by way of a buffer of one TLS record."""
        if self._begin == self._end:
            if len(target) >= _RECORD_BYTES:
                return self._read(target[:_READ_BYTES])
            self._begin, self._end = 0, self._read(self._record)
        count = min(len(target), self._end - self._begin)
        target[:count] = self._record[self._begin : self._begin + count]
        self._begin += count
        return count

    def _read(self, buffer: memoryview) -> int:
        count = self.connection.recv_into(buffer)
        if count == 0:
            raise self._lost()
        self.counters.received_bytes += count
        self.last_heard = time.monotonic()
        return count

    def _parse(self, payload: memoryview) -> Any:
        try:
            return json.loads(bytes(payload))
        except (ValueError, RecursionError):
            raise self._violation("a message that is not JSON") from None

    def hang_up(self) -> bool:
        """Send what is posted, end the stream, and throw away what arrives, without waiting.

        A socket that is closed over unread bytes resets the connection, and the peer may lose
        our last words with it.

        Returns:
            Whether the peer is gone, so that the connection can be closed.
        """
        try:
            if not self._hung_up:
                self._send()
                if self._outgoing:
                    return False
                self.connection.shutdown(socket.SHUT_WR)
                self._hung_up = True
            for _ in range(256):
                if not self.connection.recv(1 << 16):
                    return True
        except (OSError, ValueError) as error:
            return not isinstance(error, BlockingIOError)
        return False

    def close(self) -> None:
        """Drop the connection."""
        self.connection.close()

    # Errors

    def _keep(self, error: TallystickError) -> TallystickError:
        """Remember the first error: whoever uses the link later, on any thread, meets it again."""
        self._failure = self._failure or error
        return self._failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _violation(self, what: str) -> ProtocolViolation:
        return ProtocolViolation(
            f"{self.peer!r} sent {what}; nothing of this session was kept. Check that every "
            "member runs the same version of tallystick"
        )

    def _lost(self, cause: Exception | None = None) -> PeerLost:
        closed = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, closed):
            return PeerLost(
                f"the connection with {self.peer!r} was damaged or tampered with on its way "
                f"(TLS: {cause}); nothing of this session was kept. Start the step again "
                "on every side, and if it happens again, have the network looked at",
                at_fault=self.peer,
            )
        return PeerLost(
            f"{self.peer!r} closed the connection in the middle of the step; see its log for the "
            "reason, then start the step again on every side",
            at_fault=self.peer,
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
