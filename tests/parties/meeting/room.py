"""Members that meet: threads over real connections; nobody computes anything here."""

import socket
import ssl
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from tallystick.runtime.consortium import Consortium
from tallystick.runtime.dealer.server import DealerServer
from tallystick.runtime.hello import Hello
from tallystick.runtime.identity import tls_contexts
from tallystick.runtime.links import Link
from tallystick.runtime.meeting import Meeting

from tests import harness
from tests.harness import DEALER, Place

met: list[Link] = []
"""Links that stay open until the test ends."""


class served:
    """A place whose dealer is a thread."""

    def __init__(self, folder: Path, parties: int) -> None:
        self.place = harness.make_place(folder, parties)
        self.server = DealerServer(self.place.load(), self.place.identity(DEALER))

    def __enter__(self) -> Place:
        threading.Thread(target=self.server.serve, daemon=True).start()
        return self.place

    def __exit__(self, *_: object) -> None:
        self.server.stop()


def meet(place: Place, name: str, timeout_s: float = 15, **changes: Any) -> list[str]:
    """Return whom the party met; they stay together until the test ends."""
    links = meet_and_stay(place, name, timeout_s, **changes)
    met.extend(links)
    return sorted(link.peer for link in links)


def meet_and_stay(place: Place, name: str, timeout_s: float = 15, **changes: Any) -> list[Link]:
    return Meeting(place.load(), place.identity(name), ours(place, name, **changes)).meet(timeout_s)


def ours(place: Place, name: str, **changes: Any) -> Hello:
    joint = {"epochs": 3, "consortium": place.load().digest(), **changes.pop("joint", {})}
    return Hello(
        **{"session": "credit-1", "step": "train", "member": name, "joint": joint, **changes}
    )


def all_meet(place: Place, **changes: Any) -> dict[str, Any]:
    return harness.together({name: partial(meet, place, name, **changes) for name in place.parties})


def everybody_else(place: Place) -> dict[str, list[str]]:
    members = {*place.parties, DEALER}
    return {name: sorted(members - {name}) for name in place.parties}


def dial(
    place: Place, door: str, identity: Path, consortium: Consortium | None = None
) -> ssl.SSLSocket:
    """Connect to a member as whoever holds an identity."""
    trusted = consortium or place.load()
    member = place.load().member(door)
    holder = identity.name if consortium is None else "mallory"
    context = tls_contexts(trusted, holder, identity)[0]
    deadline = time.monotonic() + 5
    while True:
        try:
            raw = socket.create_connection((member.host, member.port), timeout=5)
            return context.wrap_socket(raw)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def identity(folder: Path, certificate: str, key: str) -> Path:
    folder.mkdir()
    (folder / "tls.crt").write_text(certificate)
    (folder / "tls.key").write_text(key)
    return folder


def outcome(function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        return error
