"""All links of one session at one member: waiting, deadlines and heartbeats.

One thread at a time drives the links (a TLS object must not be used by two at once). While the
main thread computes, a small heart thread sends heartbeats and whatever is still queued, so that a
peer can tell a long computation from a process that was stopped or cut off.
"""

import contextlib
import json
import select
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from tallystick.runtime.errors import PeerError, PeerTimeout, ProtocolViolation, TallystickError
from tallystick.runtime.frames import (
    ABORT,
    DATA,
    END,
    HEARTBEAT,
    MAX_MESSAGE_BYTES,
    MESSAGE,
    Receipt,
)
from tallystick.runtime.links import Link

HEARTBEAT_S = 2.0
SILENCE_S = 20.0
"""A peer from which nothing came for so long, not even a heartbeat, is lost."""
WAIT_S = 3600.0
"""The longest wait for a living peer, unless the mesh is patient."""
LINGER_S = 1.0
"""How long a member that stops makes sure that its peers learn why, and how long they listen."""
_NOT_TOLD = "see its log for the reason"


class Mesh:
    """The links of one session, by the peer's name.

    Args:
        links: connected, handshake done.
        dealer: the name of a peer that is told that this member stops, but not why: the reason may
            name files and columns, which are the parties' affair.
        patient: whether a wait for living peers has no end.
    """

    def __init__(
        self, links: Iterable[Link], *, dealer: str | None = None, patient: bool = False
    ) -> None:
        self.links = {link.peer: link for link in links}
        self._dealer = dealer
        self._patient = patient
        self.rounds = 0
        self.waiting_s = 0.0
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._last_beat = time.monotonic()
        self._heart = threading.Thread(target=self._beat, name="tallystick-heart", daemon=True)
        self._heart.start()

    def post(self, peer: str, payload: memoryview) -> None:
        """Send raw bytes, as far as the socket takes them now; the rest goes while waiting."""
        with self._lock:
            link = self.links[peer]
            link.post(DATA, payload)
            link.flush()

    def post_message(self, peer: str, message: Any) -> None:
        """Send a JSON value, as :meth:`post` does.

        Raises:
            ValueError: it is larger than a message may be.
        """
        content = json.dumps(message).encode()
        if len(content) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
        with self._lock:
            link = self.links[peer]
            link.post(MESSAGE, content)
            link.flush()

    @property
    def queued_bytes(self) -> int:
        """What was posted and is not yet with the operating system."""
        with self._lock:
            return sum(link.queued_bytes for link in self.links.values())

    def traffic(self) -> dict[str, float]:
        """Return what went over the links so far, and how long this member waited for it."""
        counters = [link.counters for link in self.links.values()]
        return {
            "sent_bytes": sum(counter.sent_bytes for counter in counters),
            "received_bytes": sum(counter.received_bytes for counter in counters),
            "sent_frames": sum(counter.sent_frames for counter in counters),
            "rounds": self.rounds,
            "waiting_s": round(self.waiting_s, 3),
        }

    def expect(self, peer: str, buffer: memoryview) -> Receipt:
        """Ask for the peer's next raw bytes; :meth:`wait` for the receipt."""
        with self._lock:
            return self.links[peer].expect_data(buffer)

    def message(self, peer: str) -> Any:
        """Wait for the peer's next JSON value and return it."""
        receipt = self.messages([peer])[peer]
        self.wait([receipt])
        return receipt.message

    def wait(
        self, receipts: Iterable[Receipt] = (), *, sent: bool = True, counted: bool = True
    ) -> None:
        """Wait until the receipts are filled, and by default until everything posted is sent.

        Args:
            receipts: what is awaited.
            sent: whether to wait for what was posted as well.
            counted: whether this is a round between the parties; taking what the dealer sent ahead
                is none.

        Raises:
            PeerTimeout: a peer fell silent, or took longer than :data:`WAIT_S`.
            PeerLost: a peer went away.
            ProtocolViolation: a peer sent what it must not.
        """
        pending = list(receipts)
        self.rounds += counted
        self.drive(
            lambda: (
                all(receipt.done for receipt in pending)
                and (not sent or all(link.flushed for link in self.links.values()))
            )
        )
        if any(receipt.ended for receipt in pending):
            raise ProtocolViolation("a peer finished the step while others still needed it")

    def messages(self, peers: Iterable[str]) -> dict[str, Receipt]:
        """Ask for each peer's next JSON value; :meth:`drive` or :meth:`wait` fills the receipts."""
        with self._lock:
            return {peer: self.links[peer].expect_message() for peer in peers}

    def drive(self, done: Callable[[], bool], links: Collection[Link] | None = None) -> None:
        """Move bytes until ``done()``, on some of the links; errors as in :meth:`wait`."""
        start = time.monotonic()
        links = list(self.links.values()) if links is None else links
        with self._lock:
            while True:
                failure = self._move(links)
                # Whoever has all it needs does not care that a peer has stopped since.
                if done():
                    break
                if failure is not None:
                    raise self._at_first_hand(failure)
                self._check_deadlines(links, start)
                poll = select.poll()
                for link in links:
                    events = (0 if link.stalled else select.POLLIN) | (
                        0 if link.flushed else select.POLLOUT
                    )
                    if events:
                        poll.register(link, events)
                poll.poll(HEARTBEAT_S * 1000)
                self._heartbeats()
        self.waiting_s += time.monotonic() - start

    @staticmethod
    def _move(links: Iterable[Link]) -> TallystickError | None:
        """Send and read what is possible now; return the first error."""
        failure = None
        for link in links:
            try:
                if not link.flushed:
                    link.flush()
                if not link.stalled:
                    link.fill()
            except TallystickError as error:
                failure = failure or error
        return failure

    def _at_first_hand(self, failure: TallystickError) -> TallystickError:
        """Where one peer tells that another has stopped, give the other's own words a moment.

        They may be on a longer way, and they say more: the dealer, for one, is not told the reason.
        """
        link = self.links.get((isinstance(failure, PeerError) and failure.at_fault) or "")
        deadline = time.monotonic() + LINGER_S
        while link is not None and not link.stalled and time.monotonic() < deadline:
            try:
                link.fill()
            except TallystickError as error:
                return error
            time.sleep(0.01)
        return failure

    def _check_deadlines(self, links: Iterable[Link], start: float) -> None:
        now = time.monotonic()
        for link in links:
            if link.ended or link.stalled:
                continue
            if now - max(link.last_heard, start) > SILENCE_S:
                raise link.fail(
                    PeerTimeout(
                        f"{link.peer!r} has been silent for {SILENCE_S:.0f} s; check that its "
                        "process runs and that the network between you is up",
                        at_fault=link.peer,
                    )
                )
        if now - start > WAIT_S and not self._patient:
            raise PeerTimeout(
                f"the peers live, but sent nothing of use for {WAIT_S:.0f} s; see in their logs "
                "what they do, then start the step again on every side"
            )

    def _heartbeats(self) -> None:
        now = time.monotonic()
        if now - self._last_beat < HEARTBEAT_S:
            return
        self._last_beat = now
        for link in self.links.values():
            if link.flushed and not link.ended and not link.finished:
                link.post(HEARTBEAT)
            # The link keeps what went wrong for whoever waits next; the others still hear us.
            with contextlib.suppress(TallystickError):
                link.flush()

    def _beat(self) -> None:
        while not self._closed.wait(HEARTBEAT_S):
            # A lock that is taken means that the main thread drives, and beats, itself.
            if self._lock.acquire(blocking=False):
                try:
                    self._heartbeats()
                finally:
                    self._lock.release()

    def end(self) -> None:
        """Say that all went well, wait until every peer has said so too, and close.

        Raises:
            TallystickError: a peer went without saying so; all others were heard to their end.
        """
        for failure in self.conclude().values():
            raise failure
        self.close()

    def conclude(self) -> dict[str, TallystickError]:
        """Say that all went well, and wait until every peer has said so too, or has gone.

        Returns:
            How it went, by name, of each peer that did not say so.
        """
        with self._lock:
            for link in self.links.values():
                link.post(END)
        failures: dict[str, TallystickError] = {}
        while True:
            left = [link for link in self.links.values() if link.peer not in failures]
            try:
                self._drive_to_the_end(left)
            except TallystickError as error:
                gone = [link for link in left if link.failure is not None]
                failures |= {link.peer: link.failure or error for link in gone or left}
            else:
                return failures

    def _drive_to_the_end(self, links: Collection[Link]) -> None:
        self.drive(lambda: all(link.flushed and link.ended for link in links), links)

    def abort(self, kind: str, message: str, at_fault: str | None) -> None:
        """Tell every peer that this member stops and why, as far as that is possible, and close."""
        with self._lock:
            links = [link for link in self.links.values() if not link.finished]
            for link in links:
                told = _NOT_TOLD if link.peer == self._dealer else message
                # At most twelve bytes a character in JSON: below the frame's limit.
                reason = {"kind": kind, "message": told[:1000], "at_fault": at_fault}
                link.post(ABORT, json.dumps(reason).encode())
            deadline = time.monotonic() + LINGER_S
            while time.monotonic() < deadline:
                links = [link for link in links if not link.hang_up()]
                if not links:
                    break
                time.sleep(0.01)
        self.close()

    def close(self) -> None:
        """Drop all links."""
        self._closed.set()
        with self._lock:
            for link in self.links.values():
                link.close()
