"""``hello``: the first message on each connection, in both directions, and how it is compared.

On the wire: its length (4 bytes, big-endian) and JSON, at most 1 MiB, within ten seconds. It is
sent inside TLS, so only a holder of a pinned key is heard at all.
"""

import json
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, Self

from tallystick import __version__
from tallystick.runtime import frames
from tallystick.runtime.errors import ConfigError, PeerMismatch, ProtocolViolation

PROTOCOL = 1
HANDSHAKE_S = 10.0
MAX_NAME = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """Who speaks, for which session and step, and what must be the same on every side."""

    session: str
    step: str
    member: str
    joint: dict[str, Any] = field(default_factory=dict)
    """What both sides must agree on, by name: between parties all that is public of the step."""
    stopped: dict[str, Any] | None = None
    """Why this member cannot run the step, if so: kind, message, at_fault."""

    def require_room(self) -> None:
        """Refuse a message that no peer would read.

        Raises:
            ConfigError: naming the longest field.
        """
        if len(self.encode()) > frames.MAX_MESSAGE_BYTES:
            longest = max(self.joint, key=lambda name: len(json.dumps(self.joint[name])))
            raise ConfigError(
                f"{longest} is too long: what the parties compare of their configurations may take "
                f"{frames.MAX_MESSAGE_BYTES} bytes; say it in fewer or shorter entries"
            )

    def encode(self) -> bytes:
        """Return the message as JSON bytes."""
        content = {"protocol": PROTOCOL, "package": __version__, "session": self.session}
        content.update(step=self.step, member=self.member, joint=self.joint, stopped=self.stopped)
        return json.dumps(content).encode()

    @classmethod
    def decode(cls, content: Any, peer: str) -> Self:
        """Check a peer's hello.

        Raises:
            PeerMismatch: another protocol or package version.
            ProtocolViolation: not a hello, or one in somebody else's name.
        """
        improper = ProtocolViolation(f"{peer!r} sent no proper hello")
        if not isinstance(content, dict):
            raise improper
        for what, ours in (("protocol", PROTOCOL), ("package", __version__)):
            theirs = content.get(what)
            if not isinstance(theirs, int | str):
                raise improper
            if theirs != ours:
                raise PeerMismatch(
                    f"{peer!r} runs {what} version {str(theirs)[:40]!r}, we run {ours!r}; every "
                    "member must run the same version of tallystick",
                    at_fault=peer,
                )
        names = [content.get(key) for key in ("session", "step", "member")]
        if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME for name in names):
            raise improper
        session, step, member = map(str, names)
        joint, stopped = content.get("joint"), content.get("stopped")
        if not isinstance(joint, dict) or not isinstance(stopped, dict | None):
            raise improper
        if member != peer:
            raise ProtocolViolation(
                f"a peer with the certificate of {peer!r} calls itself {member!r}"
            )
        return cls(session=session, step=step, member=member, joint=joint, stopped=stopped)

    @staticmethod
    def wanted(content: Any) -> tuple[str, str] | None:
        """Return session and step of a hello that is not checked yet, if it names any."""
        if not isinstance(content, dict):
            return None
        session, step = content.get("session"), content.get("step")
        if not isinstance(session, str) or not isinstance(step, str):
            return None
        return session[:MAX_NAME], step[:MAX_NAME]

    def check(self, theirs: "Hello") -> None:
        """Compare the joint configuration.

        Raises:
            PeerMismatch: naming the first field that differs and both values.
            PeerLost: the peer says that it stopped.
        """
        if self.stopped is not None:
            return  # we have said what there was to say
        if theirs.stopped is not None:
            raise frames.stopped(theirs.member, theirs.stopped)
        for name in sorted(self.joint.keys() | theirs.joint.keys()):
            ours, other = self.joint.get(name), theirs.joint.get(name)
            if ours != other:
                raise PeerMismatch(
                    f"{name[:MAX_NAME]!r} differs: {self.member!r} has {_short(ours)}, "
                    f"{theirs.member!r} has {_short(other)}; agree on one value and start again",
                    at_fault=theirs.member,
                )


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        return "a nested value"
    return text if len(text) <= 80 else text[:77] + "..."


def send_hello(connection: ssl.SSLSocket, hello: Hello) -> None:
    """Send a length and a hello."""
    content = hello.encode()
    connection.settimeout(HANDSHAKE_S)
    connection.sendall(len(content).to_bytes(4, "big") + content)


def receive_hello(connection: ssl.SSLSocket) -> Any:
    """Return the peer's hello as it came, not checked, or None when it closed instead.

    Raises:
        ProtocolViolation: too large, or not JSON.
        OSError: the peer refused our certificate, or said nothing in time.
    """
    deadline = time.monotonic() + HANDSHAKE_S
    size = _exactly(connection, 4, deadline)
    if size is None:
        return None
    length = int.from_bytes(size, "big")
    if length > frames.MAX_MESSAGE_BYTES:
        raise ProtocolViolation("a peer's hello is over its size limit")
    content = _exactly(connection, length, deadline)
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        raise ProtocolViolation("a peer's hello is not JSON") from None


def _exactly(connection: ssl.SSLSocket, count: int, deadline: float) -> bytes | None:
    content = bytearray()
    while len(content) < count:
        # The deadline is for the whole: one byte now and then does not hold a place for ever.
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            chunk = connection.recv(count - len(content))
        except (ConnectionError, ssl.SSLEOFError):
            return None
        if not chunk:
            return None
        content += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)
