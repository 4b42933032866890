"""A network between the parties that listens, damages, freezes or cuts."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.harness import Place

Change = Callable[[bytes], bytes]


class Proxy:
    """Stands at a member's address and passes on to its back door."""

    def __init__(self, place: Place, name: str) -> None:
        self._target = ("127.0.0.1", place.doors[name])
        self._listener = socket.create_server(("127.0.0.1", place.load().member(name).port))
        self._over = threading.Event()
        self._sockets: list[socket.socket] = []
        self.recorded = bytearray()
        self.to_member: Change | None = None
        """What happens to the next bytes on their way to the member; then it is forgotten."""
        self.from_member: Change | None = None
        self.frozen = False
        """Nothing passes, and nobody is told."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection."""
        for one in self._sockets:
            one.close()

    def close(self) -> None:
        self._over.set()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            self._sockets += [near, far]
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while not self._over.is_set():
                if self.frozen:
                    self._over.wait(0.05)
                    continue
                readable, _, _ = select.select([near, far], [], [], 0.1)
                for source in readable:
                    content = source.recv(1 << 16)
                    if not content:
                        return
                    self.recorded += content
                    (far if source is near else near).sendall(
                        self._changed(content, to_member=source is near)
                    )
        except (OSError, ValueError):
            return
        finally:
            near.close()
            far.close()

    def _changed(self, content: bytes, *, to_member: bool) -> bytes:
        change = self.to_member if to_member else self.from_member
        if change is None:
            return content
        self.to_member = self.from_member = None
        return change(content)


@contextmanager
def proxies(place: Place) -> Iterator[dict[str, Proxy]]:
    """Run a proxy at every address that has a back door."""
    made = {name: Proxy(place, name) for name in place.doors}
    try:
        yield made
    finally:
        for one in made.values():
            one.close()
