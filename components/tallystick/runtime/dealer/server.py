"""The dealer's service: many sessions at once, each in a thread of its own with keys of its own.

It keeps nothing on disk. What it learns: who takes part in which session and step; whether that
ended well, or by whose fault and in which kind of error; kinds and shapes of the requests; which
rows of a masked table are taken together; and for aided PSI the pseudonyms (keyed hashes under a
key that it never sees), hence how many ids each party has and how many match.
"""

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tallystick.runtime import events, probe
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.dealer.session import DealerSession
from tallystick.runtime.errors import PeerMismatch, ProtocolViolation, TallystickError
from tallystick.runtime.hello import Hello, receive_hello, send_hello
from tallystick.runtime.identity import peer_name, require_valid, tls_contexts
from tallystick.runtime.links import Link
from tallystick.runtime.listening import accept_loop, accept_tls, listen, prepared
from tallystick.runtime.mesh import Mesh

MAX_WAITING = 64
"""The most sessions in which one party may wait for the others."""
MAX_SERVING = 64
"""The most sessions that are served at once."""
MAX_DOCTORS = 4
"""The most doctors of one party that are answered at once."""


class DealerServer:
    """Accepts the parties of one consortium and serves their sessions."""

    def __init__(self, consortium: Consortium, identity: Path) -> None:
        require_valid([consortium.dealer])
        self._consortium = consortium
        _, self._context = tls_contexts(consortium, consortium.dealer.name, identity)
        self._waiting: dict[tuple[str, str], dict[str, Link]] = {}
        self._serving = 0
        self._doctors: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def serve(self) -> None:
        """Serve until :meth:`stop`.

        Raises:
            ConfigError: the port cannot be opened.
        """
        # Not shared: of two dealers on one port each would gather some of a session's parties.
        listener = listen(self._consortium.dealer, shared=False)
        events.emit("serving", port=self._consortium.dealer.listen_port)
        try:
            accept_loop(listener, self._accept, self._over.is_set)
        finally:
            listener.close()

    def stop(self) -> None:
        """End :meth:`serve`; sessions under way end with the process."""
        self._over.set()

    def _accept(self, raw: socket.socket) -> None:
        try:
            connection = accept_tls(raw, self._context)
        except ssl.SSLCertVerificationError as error:
            _refused(f"no pinned certificate: {error.verify_message}")
            return
        except OSError:
            return  # a health check, say
        party = peer_name(self._consortium, connection)
        try:
            if party not in self._consortium.names:
                raise PeerMismatch("its certificate is not that of a party")
            self._welcome(connection, party)
        except (TallystickError, OSError, RuntimeError) as error:  # the last: no thread is left
            connection.close()
            _refused(f"{party!r}: {str(error) or type(error).__name__}")

    def _welcome(self, connection: ssl.SSLSocket, party: str) -> None:
        content = receive_hello(connection)
        wanted = Hello.wanted(content)
        if wanted is None:
            raise ProtocolViolation("it sent no proper hello")
        # The parties compare their configurations with each other. Of the dealer they must know
        # that it means the same parties, in the same order, and it is told no more than that.
        ours = Hello(
            session=wanted[0],
            step=wanted[1],
            member=self._consortium.dealer.name,
            joint={"consortium": self._consortium.digest()},
        )
        send_hello(connection, ours)
        ours.check(Hello.decode(content, party))
        link = prepared(connection, party)
        if ours.step == probe.STEP:  # each party's doctor is served by itself
            self._answer_doctor(link)
        else:
            self._gather(wanted, link)

    def _answer_doctor(self, link: Link) -> None:
        party = link.peer
        with self._lock:
            busy = self._doctors[party] >= MAX_DOCTORS
            self._doctors[party] += not busy
        if busy:
            self._turn_away(link, f"{party!r} runs {MAX_DOCTORS} doctors already; end one of them")
            return

        def release() -> None:
            with self._lock:
                self._doctors[party] -= 1

        self._serve_apart("dealer-doctor", [link], partial(_answer_doctor, link), release)

    def _gather(self, key: tuple[str, str], link: Link) -> None:
        with self._lock:
            self._forget_the_gone()
            gathered = self._waiting.get(key, {})
            reason = self._too_much(key, gathered, link.peer)
            if reason is None:
                self._waiting[key] = gathered
                if link.peer in gathered:  # that party was started again before the others came
                    gathered[link.peer].close()
                gathered[link.peer] = link
                if len(gathered) < len(self._consortium.parties):
                    return
                del self._waiting[key]
                self._serving += 1
        if reason is not None:
            self._turn_away(link, reason)
            return
        links = [gathered[name] for name in self._consortium.names]

        def serve() -> None:
            DealerSession(*key, links=links).run()

        def release() -> None:
            with self._lock:
                self._serving -= 1

        self._serve_apart(f"dealer-{key}", links, serve, release)

    def _too_much(self, key: tuple[str, str], gathered: dict[str, Link], party: str) -> str | None:
        """Say why a party cannot be taken now; None if it can."""
        waiting = sum(party in others for other, others in self._waiting.items() if other != key)
        if waiting >= MAX_WAITING:
            return (
                f"{party!r} waits for other parties in {waiting} sessions already; end some of "
                "them before it joins another"
            )
        complete = len({*gathered, party}) == len(self._consortium.parties)
        if complete and self._serving >= MAX_SERVING:
            return (
                f"the dealer serves {self._serving} sessions already; start the step again on "
                "every side when some have ended"
            )
        return None

    @staticmethod
    def _turn_away(link: Link, reason: str) -> None:
        # Within the handshake's own thread, of which there are only so many.
        _refused(f"{link.peer!r}: {reason}")
        Mesh([link]).abort("Busy", reason, None)

    @staticmethod
    def _serve_apart(
        name: str, links: list[Link], serve: Callable[[], None], release: Callable[[], None]
    ) -> None:
        """Serve in a thread of its own; give the place back when that ends, or cannot begin."""

        def hang_up(error: RuntimeError) -> None:
            for link in links:
                link.close()
            _refused(f"{' and '.join(link.peer for link in links)}: {error}")

        def run() -> None:
            try:
                serve()
            except RuntimeError as error:  # it needs one more thread, for its heart
                hang_up(error)
            finally:
                release()

        try:
            threading.Thread(target=run, name=name, daemon=True).start()
        except RuntimeError as error:
            release()
            hang_up(error)

    def _forget_the_gone(self) -> None:
        """Drop parties that left while they waited for others."""
        for key, gathered in list(self._waiting.items()):
            for party, link in list(gathered.items()):
                try:
                    link.fill()
                except TallystickError:
                    link.close()
                    del gathered[party]
            if not gathered:
                del self._waiting[key]


def _answer_doctor(link: Link) -> None:
    mesh = Mesh([link])
    try:
        probe.answer(mesh, link.peer)
        mesh.end()
    except TallystickError as error:
        mesh.abort(type(error).__name__, str(error), None)


def _refused(why: str) -> None:
    events.emit("warning", message=f"refused a connection: {why}", refused=True)


def limit_threads() -> None:
    """Leave the cores to the parties where they share a machine with the dealer."""
    torch.set_num_threads(1)
