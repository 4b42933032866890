"""A link: one authenticated, encrypted connection to one peer. Its frames are in `frames.py`.

A link never blocks: :meth:`Link.flush` and :meth:`Link.fill` do what is possible now, and
:class:`~tallystick.runtime.mesh.Mesh` waits for all links of a session at once. So a big exchange
in both directions cannot deadlock, and one thread serves all peers.
"""

import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass

from tallystick.runtime.errors import PeerLost, TallystickError
from tallystick.runtime.frames import END, HEADER, RECORD_BYTES, SEQUENCE_MASK, Inbox, Receipt

# A frame up to this size is sent in one piece with its header: one TLS record, one system call.
_JOIN_BYTES = 16_000


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
        self._failure: TallystickError | None = None
        self._hung_up = False
        self._outgoing: deque[memoryview] = deque()
        self._sequence = 0
        self._inbox = Inbox(peer, self._read)

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self.connection.fileno()

    # Sending

    def post(self, kind: int, payload: memoryview | bytes = b"") -> None:
        """Queue a frame. ``payload`` must stay unchanged until :attr:`flushed`."""
        self._inbox.closing = self._inbox.closing or kind == END
        length = len(payload)
        header = HEADER.pack(kind, self._sequence, length)
        self._sequence = (self._sequence + 1) & SEQUENCE_MASK
        if length <= _JOIN_BYTES:
            self._outgoing.append(memoryview(header + payload))
        else:
            self._outgoing.append(memoryview(header))
            self._outgoing.append(memoryview(payload))
        self.counters.sent_frames += 1

    @property
    def finished(self) -> bool:
        """Whether we have posted END: nothing more may be posted, and nothing but END come."""
        return self._inbox.closing

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
            raise self.fail(self._lost(error)) from None

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

    @property
    def ended(self) -> bool:
        """Whether the peer has finished."""
        return self._inbox.ended

    @property
    def aborted(self) -> bool:
        """Whether the peer said that it stops."""
        return self._inbox.aborted

    @property
    def stalled(self) -> bool:
        """Whether reading must wait until somebody asks for what has begun to come."""
        return self._inbox.ended or (self._failure is None and self._inbox.stalled)

    def expect_data(self, buffer: memoryview) -> Receipt:
        """Ask for the next DATA frame, whose payload must fill the buffer exactly."""
        return self._inbox.expect_data(buffer)

    def expect_message(self) -> Receipt:
        """Ask for the next MESSAGE frame."""
        return self._inbox.expect_message()

    def fill(self) -> None:
        """Read what has arrived, as far as somebody asked for it.

        Raises:
            PeerLost: the peer stopped, with its reason where it gave one, or the connection is
                gone.
            ProtocolViolation: a frame that no honest peer would send.
        """
        self._raise_failure()
        try:
            self._inbox.fill()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, ValueError) as error:
            raise self.fail(self._lost(error)) from None
        except TallystickError as error:
            raise self.fail(error) from None

    def _read(self, buffer: memoryview) -> int:
        """Read at least one byte; into a large buffer, record by record, all that has come."""
        count = 0
        try:
            while True:
                read = self.connection.recv_into(buffer[count:])
                if read == 0:
                    raise self._lost()
                count += read
                if len(buffer) - count < RECORD_BYTES:
                    break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not count:
                raise
        self.counters.received_bytes += count
        self.last_heard = time.monotonic()
        return count

    # The end

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

    @property
    def failure(self) -> TallystickError | None:
        """What went wrong first, if anything did."""
        return self._failure

    def fail(self, error: TallystickError) -> TallystickError:
        """Remember the first error: whoever uses the link later, on any thread, meets it again."""
        self._failure = self._failure or error
        return self._failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

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
