"""How the members of one session find each other: listen, dial, shake hands.

Of two parties the one of higher rank dials; every party dials the dealer. A dialler tries every
address behind the peer's name, again and again until the deadline. On each connection both sides
prove with TLS that they hold a pinned key, then send ``hello``: protocol version, package version,
session, step, party, and the joint configuration, of which the dealer is told the consortium's
digest and nothing else. What follows from it:

- another session or step: not ours. The listener hangs up and the dialler tries on, since several
  steps may listen behind one name;
- the same session and step but another configuration: both stop, and the error names the field;
- a hello that carries ``stopped``: that party cannot run the step, and the others learn why at
  once.

Until everybody has come, a peer that went away without a word is awaited again: it may be started
anew. One that says why it stops ends the meeting for all.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tallystick.runtime.consortium import Consortium, Member
from tallystick.runtime.errors import PeerError, PeerTimeout, TallystickError
from tallystick.runtime.hello import HANDSHAKE_S, Hello, receive_hello, send_hello
from tallystick.runtime.identity import peer_name, require_valid, tls_contexts
from tallystick.runtime.links import Link
from tallystick.runtime.listening import accept_loop, accept_tls, listen, prepared
from tallystick.runtime.mesh import Mesh

__all__ = ["Hello", "Meeting"]

_RETRY_S = 0.05
_MAX_RETRY_S = 1.0
_BESIDE_S = 0.2
_WATCH_S = 0.25


class Meeting:
    """One member's side of the meeting; :meth:`meet` gives the links to everybody it waits for.

    Raises:
        ConfigError: a certificate is not valid now, or the configuration too long to compare.
    """

    def __init__(self, consortium: Consortium, identity: Path, hello: Hello) -> None:
        require_valid((*consortium.parties, consortium.dealer))
        hello.require_room()
        self._consortium = consortium
        self._hello = hello
        # The dealer is to serve the same parties in the same order; what they compute, and on which
        # columns, is between them.
        self._hello_to_dealer = replace(hello, joint={"consortium": consortium.digest()})
        self._dial_context, self._accept_context = tls_contexts(consortium, hello.member, identity)
        self._links: dict[str, Link] = {}
        self._error: TallystickError | None = None
        self._refusals: dict[str | None, str] = {}
        """Why somebody was turned away, by name where it is known."""
        self._troubles: dict[str, str] = {}
        """What the network said at the last attempt to reach a member."""
        self._patience: dict[str, float] = {}
        """The longest pause before a member is dialled again, where it is a special one."""
        self._over = False
        self._changed = threading.Condition()

    def meet(self, timeout_s: float) -> list[Link]:
        """Connect with every other party and the dealer.

        Raises:
            PeerTimeout: naming who did not come within ``timeout_s``.
            PeerMismatch: naming the field in which a peer's configuration differs.
            PeerLost: a peer that stopped, with its reason.
            ConfigError: this party's port is taken or its address is not this machine's.
        """
        return self._meet(timeout_s, all_of_them=True)

    def meet_some(self, timeout_s: float) -> tuple[list[Link], dict[str, str]]:
        """Connect with whoever comes; also return why the others could not be reached, by name.

        Raises:
            TallystickError: as for :meth:`meet`, but nobody's absence is an error.
        """
        links = self._meet(timeout_s, all_of_them=False)
        here = {link.peer for link in links}
        members = (*self._consortium.parties, self._consortium.dealer)
        absent = [m.name for m in members if m.name not in {*here, self._hello.member}]
        found = {name: self._refusals.get(name) or self._troubles.get(name) for name in absent}
        return links, {name: reason or "it did not come" for name, reason in found.items()}

    def _meet(self, timeout_s: float, *, all_of_them: bool) -> list[Link]:
        deadline = time.monotonic() + timeout_s
        me = self._hello.member
        rank = self._consortium.rank(me)
        to_dial = list(self._consortium.parties[:rank])
        if self._hello.stopped is None:
            to_dial.append(self._consortium.dealer)
        later = {member.name for member in self._consortium.parties[rank + 1 :]}
        awaited = {member.name for member in to_dial} | later
        tasks: list[tuple[Callable[..., None], Any, Any]] = [
            (self._dial, member, deadline) for member in to_dial
        ]
        listener = listen(self._consortium.member(me)) if later else None
        if listener is not None:
            tasks.append((self._accept, listener, later))
        for target, *arguments in tasks:
            threading.Thread(target=target, args=arguments, daemon=True).start()
        try:
            missing = self._gather(awaited, deadline)
            if missing and all_of_them:
                raise self._timeout(missing, timeout_s, unknown_too=not later.isdisjoint(missing))
            return list(self._links.values())
        except BaseException as error:
            self._leave(error)
            raise
        finally:
            self._over = True
            if listener is not None:
                listener.close()

    def _gather(self, awaited: set[str], deadline: float) -> list[str]:
        """Wait until everybody is here at one time, or time is up; return who is missing."""
        with self._changed:
            while True:
                self._drop_the_gone()
                if self._error is not None:
                    raise self._error
                missing = sorted(awaited - self._links.keys())
                if not missing or time.monotonic() >= deadline:
                    self._over = True
                    return missing
                self._changed.wait(min(_WATCH_S, max(0.0, deadline - time.monotonic())))

    def _drop_the_gone(self) -> None:
        if self._hello.stopped is not None:
            return  # whoever heard that we stop may go
        for name, link in list(self._links.items()):
            try:
                link.fill()
            except PeerError:
                link.close()
                del self._links[name]
                if link.aborted:
                    raise

    def _leave(self, error: BaseException) -> None:
        """Tell whoever came already why this member goes."""
        with self._changed:
            self._over = True
        fault = error.at_fault if isinstance(error, PeerError) else None
        text = str(error) if isinstance(error, TallystickError) else "it was interrupted"
        mesh = Mesh(self._links.values(), dealer=self._consortium.dealer.name)
        mesh.abort(type(error).__name__, text, fault)

    def _timeout(self, missing: list[str], timeout_s: float, *, unknown_too: bool) -> PeerTimeout:
        who = " and ".join(
            f"the dealer {name!r}"
            if name == self._consortium.dealer.name
            else f"party {name!r} (rank {self._consortium.rank(name)})"
            for name in missing
        )
        found = [self._refusals.get(name) or self._troubles.get(name) for name in missing]
        if unknown_too:
            found.append(self._refusals.get(None))
        reasons = "; ".join(reason for reason in found if reason)
        ports = ", ".join(str(self._consortium.member(name).port) for name in missing)
        return PeerTimeout(
            f"{who} did not join session {self._hello.session!r}, step {self._hello.step!r}, "
            f"within {timeout_s:.0f} s{f' ({reasons})' if reasons else ''}; check that its pod "
            f"runs and that port {ports} is reachable",
            at_fault=missing[0],
        )

    def _dial(self, member: Member, deadline: float) -> None:
        pause = _RETRY_S
        while not self._over and time.monotonic() < deadline:
            if member.name in self._links:  # it may go again before everybody has come
                time.sleep(_WATCH_S)
                continue
            for address in self._addresses(member):
                if self._over or self._try(partial(self._dial_once, member, address)):
                    break
            else:
                time.sleep(pause)
                pause = min(pause * 1.5, self._patience.get(member.name, _MAX_RETRY_S))

    def _dial_once(self, member: Member, address: tuple[Any, ...]) -> Link | None:
        family, where = address
        with socket.socket(family, socket.SOCK_STREAM) as raw:
            try:
                raw.settimeout(HANDSHAKE_S)
                raw.connect(where)
            except OSError as error:
                self._troubles[member.name] = f"{member.address}: {error.strerror or 'no answer'}"
                raise
            try:
                connection = self._dial_context.wrap_socket(
                    raw,
                    # Whom the pin names. A gateway that passes TLS through routes by it.
                    server_hostname=member.host,
                )
            except ssl.SSLError as error:
                self._refusals[member.name] = (
                    f"a TLS handshake with {member.name!r} failed: {error.reason}"
                )
                raise
        if peer_name(self._consortium, connection) != member.name:
            connection.close()
            self._refusals[member.name] = (
                f"whoever answers at {member.address} is not {member.name!r}"
            )
            return None
        hello = self._hello_to_dealer if member == self._consortium.dealer else self._hello
        try:
            send_hello(connection, hello)
            content = receive_hello(connection)
            if content is None:  # another session or step listens there, and ours may beside it
                connection.close()
                self._patience[member.name] = _BESIDE_S
                return None
            hello.check(Hello.decode(content, member.name))
            return prepared(connection, member.name)
        except (OSError, TallystickError) as error:
            connection.close()
            if isinstance(error, ssl.SSLError):
                self._refusals[member.name] = (
                    f"{member.name!r} refused our certificate: {error.reason}"
                )
            raise

    def _accept(self, listener: socket.socket, expected: set[str]) -> None:
        def shake_hands(raw: socket.socket) -> None:
            self._try(partial(self._accept_once, raw, expected))

        accept_loop(listener, shake_hands, lambda: self._over)

    def _accept_once(self, raw: socket.socket, expected: set[str]) -> Link | None:
        try:
            connection = accept_tls(raw, self._accept_context)
        except ssl.SSLCertVerificationError as error:
            self._refusals[None] = (
                f"somebody was refused who has no pinned certificate: {error.verify_message}"
            )
            raise
        peer = peer_name(self._consortium, connection)
        try:
            content = receive_hello(connection)
            wanted = Hello.wanted(content)
            ours = (self._hello.session, self._hello.step)
            if peer is not None and peer in expected and wanted == ours:
                send_hello(connection, self._hello)
                self._hello.check(Hello.decode(content, peer))
                return prepared(connection, peer)
            connection.close()
        except (OSError, TallystickError):
            connection.close()
            raise
        if wanted is not None:
            session, step = wanted
            self._refusals[peer] = f"{peer!r} asked for session {session!r}, step {step!r}"
        return None

    def _try(self, connect: Callable[[], Link | None]) -> bool:
        """Run one attempt; say whether dialling this peer is over."""
        try:
            link = connect()
        except TallystickError as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
            return True
        except OSError:
            return False
        if link is None:
            return False
        with self._changed:
            if self._over:
                link.close()
            else:
                if link.peer in self._links:  # it was started again before the others came
                    self._links[link.peer].close()
                self._links[link.peer] = link
                self._changed.notify_all()
        return True

    def _addresses(self, member: Member) -> Sequence[tuple[Any, ...]]:
        try:
            found = socket.getaddrinfo(member.host, member.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            # The name may come up later: pods start in any order.
            self._troubles[member.name] = f"the name {member.host!r} is unknown"
            return []
        return [(family, where) for family, _, _, _, where in found]
