"""A member's open port: who may connect is decided by certificate, and nobody holds up another."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable

from tallystick.runtime.consortium import Member
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.hello import HANDSHAKE_S
from tallystick.runtime.links import Link

MAX_HANDSHAKES = 128
"""The most handshakes under way at once; more wait in the operating system's queue."""
_EVERYWHERE = "::"
"""Every interface of both families."""


def listen(member: Member, *, shared: bool = True) -> socket.socket:
    """Open a member's port.

    Args:
        member: whose address gives the port.
        shared: whether several processes of this user may listen at once, as several steps and
            sessions of a party do.

    Raises:
        ConfigError: the port cannot be opened.
    """
    family, host = _interface(member.host)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if host == _EVERYWHERE:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, member.listen_port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{member.name!r} cannot listen on port {member.listen_port}: {error.strerror}; free "
            "the port or change the address in the consortium file"
        ) from None
    return listener


def _interface(host: str) -> tuple[socket.AddressFamily, str]:
    """Return where to listen: a loopback address stays on loopback, all else is every interface.

    Any other address may be that of a Service or a load balancer, and not this machine's. Who may
    speak is decided by certificate, not by interface.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is not None and address.is_loopback:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return family, str(address)
    if socket.has_dualstack_ipv6():
        return socket.AF_INET6, _EVERYWHERE
    return socket.AF_INET, "0.0.0.0"  # noqa: S104


def accept_loop(
    listener: socket.socket, handle: Callable[[socket.socket], None], over: Callable[[], bool]
) -> None:
    """Accept until ``over()``; each handshake has a thread of its own, so none delays another.

    The threads are daemons: a peer that stops in the middle of its handshake delays nobody's end.
    """
    places = threading.BoundedSemaphore(MAX_HANDSHAKES)

    def serve(raw: socket.socket) -> None:
        try:
            handle(raw)
        finally:
            places.release()

    listener.settimeout(0.2)
    while not over():
        if not places.acquire(timeout=0.2):
            continue
        try:
            raw, _ = listener.accept()
        except OSError as error:
            places.release()
            if isinstance(error, TimeoutError):
                continue
            if listener.fileno() < 0:
                return
            threading.Event().wait(0.2)  # out of descriptors, say: it may pass
            continue
        thread = threading.Thread(target=serve, args=(raw,), name="tallystick-accept", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # out of threads: whoever it was may come again
            raw.close()
            places.release()
            threading.Event().wait(0.2)


def accept_tls(raw: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Shake hands with whoever connected.

    Raises:
        ssl.SSLError: it holds no pinned key.
        OSError: it went away, or took too long.
    """
    try:
        raw.settimeout(HANDSHAKE_S)
        return context.wrap_socket(raw, server_side=True)
    except BaseException:
        raw.close()
        raise


def prepared(connection: ssl.SSLSocket, peer: str) -> Link:
    """Turn a connection whose handshake is done into a link."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer that vanished without a word is found by the kernel too, within about 25 s.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # their names are the platform's
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Link(connection, peer)
