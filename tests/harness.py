"""Real parties for tests: a consortium on loopback, a dealer, one process for each party.

Parties are forked from a server that has imported torch and CrypTen once, so that one starts in
milliseconds; each is a process of its own, with its own engine. What needs no engine runs in
threads, over real TLS on loopback: :func:`connected` and :func:`together`.
"""

import contextlib
import ctypes
import dataclasses
import multiprocessing
import os
import queue
import signal
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tallystick.runtime import meeting, mesh
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.consortium import Consortium, Member
from tallystick.runtime.dealer import server
from tallystick.runtime.dealer.__main__ import serve
from tallystick.runtime.identity import keygen, tls_contexts
from tallystick.runtime.links import Link
from tallystick.runtime.listening import listen, prepared
from tallystick.runtime.session import Session

from tests.slow_net import Host

NAMES = ("alice", "bob", "carol", "dave")
DEALER = "notary"
_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["tests.harness"])


@dataclass(frozen=True)
class Place:
    """A consortium on this machine: its file and the folder of its members' identities."""

    folder: Path
    parties: tuple[str, ...]
    doors: Mapping[str, int] = field(default_factory=dict)
    """Where a member listens that has a proxy at its address."""
    hosts: Mapping[str, Host] = field(default_factory=dict)
    """Where each member is, unless all are on this machine."""

    @property
    def consortium(self) -> Path:
        return self.folder / "consortium.yaml"

    def load(self) -> Consortium:
        return Consortium.load(self.consortium)

    def identity(self, name: str) -> Path:
        return self.folder / "identities" / name

    def enter(self, name: str) -> None:
        """Move this process to where a member is."""
        if self.hosts:
            self.hosts[name].enter()

    def listen(self, member: Member, **options: Any) -> socket.socket:
        """Open a member's port, or its back door if it has one."""
        if self.hosts:
            return listen(member, **options)
        port = self.doors.get(member.name, member.port)
        return listen(dataclasses.replace(member, address=f"127.0.0.1:{port}"), **options)

    def config(self, party: str, **changes: Any) -> StepConfig:
        fields = {
            "party": party,
            "session": "test-1",
            "consortium": self.consortium,
            "identity": self.identity(party),
            "join_timeout_s": 30,
            "reveals": self.folder / party / "reveals.md",
        }
        return StepConfig(**{**fields, **changes})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_place(
    folder: Path,
    parties: int = 2,
    *,
    proxied: Sequence[str] = (),
    hosts: Mapping[str, Host] | None = None,
) -> Place:
    place = Place(folder, NAMES[:parties], {name: free_port() for name in proxied}, hosts or {})
    members = [
        Member(
            name=name,
            address=f"{hosts[name].address if hosts else '127.0.0.1'}:{free_port()}",
            certificate=keygen(name, place.identity(name)).read_text(),
        )
        for name in (*place.parties, DEALER)
    ]
    Consortium(parties=tuple(members[:-1]), dealer=members[-1]).save(place.consortium)
    return place


def certificate(
    name: str,
    begin_days: float,
    end_days: float,
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
) -> tuple[str, str]:
    """Return the PEM of a certificate and of its key; self-signed unless there is a signer."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin_days))
        .not_valid_after(now + timedelta(days=end_days))
        .sign(signer[1] if signer else key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM).decode(), secret.decode()


@contextlib.contextmanager
def dealer(place: Place) -> Iterator["Process"]:
    """Run the place's dealer; its log is ``dealer.log``."""
    process = Process(place, _dealer, place, log=place.folder / "dealer.log")
    try:
        process.await_line('"serving"')
        yield process
    finally:
        process.signal(signal.SIGCONT)
        process.signal(signal.SIGTERM)
        process.wait(10)
        process.end()


def _dealer(place: Place) -> None:
    place.enter(DEALER)
    sys.exit(serve(place.consortium, place.identity(DEALER)))


def run_parties(
    place: Place,
    function: Callable[..., Any],
    *arguments: Any,
    timeout_s: float = 60,
    configs: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Run ``function(session, *arguments)`` everywhere; return results or errors by party."""
    results: Any = _forked.Queue()
    changes = configs or {}
    processes = {
        name: _forked.Process(
            target=_one_party,
            args=(place, place.config(name, **changes.get(name, {})), function, arguments, results),
            daemon=True,
        )
        for name in place.parties
    }
    for process in processes.values():
        process.start()
    try:
        collected = dict(results.get(timeout=timeout_s) for _ in processes)
    finally:
        for process in processes.values():
            process.join(10)
            process.kill()
    return collected


def _one_party(
    place: Place, config: StepConfig, function: Any, arguments: Any, results: Any
) -> None:
    _begin(place)
    try:
        place.enter(config.party)
        with Session.join(config, "test") as session:
            result = function(session, *arguments)
    except BaseException as error:
        traceback.print_exc()
        result = error
    results.put((config.party, result))


class Process:
    """A process of a place that runs a function, and what it said: for tests of life and death."""

    def __init__(
        self, place: Place, function: Callable[..., Any], *arguments: Any, log: Path
    ) -> None:
        self.log = log
        self._process = _forked.Process(
            target=_logged, args=(place, log, function, arguments), daemon=True
        )
        self._process.start()

    def signal(self, number: int) -> None:
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code, or None when it still runs."""
        self._process.join(timeout_s)
        return self._process.exitcode

    def end(self) -> None:
        self._process.kill()
        self._process.join(10)

    def await_line(self, text: str, timeout_s: float = 30) -> None:
        """Wait until its log holds a text."""
        deadline = time.monotonic() + timeout_s
        while text not in (self.log.read_text() if self.log.exists() else ""):
            assert time.monotonic() < deadline, f"no {text!r} in {self.log}"
            assert self._process.exitcode is None, self.log.read_text()
            time.sleep(0.02)


def _logged(place: Place, log: Path, function: Callable[..., Any], arguments: Any) -> None:
    _begin(place)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    function(*arguments)


def _begin(place: Place) -> None:
    """Make a forked process ready."""
    # The server ends when nobody holds its pipe: the tests do, however they end, and we must not.
    # When it ends, we are killed, though we be stopped.
    server_of_forks: Any = forkserver._forkserver  # type: ignore[attr-defined]
    os.close(server_of_forks._forkserver_alive_fd)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    torch.set_num_threads(1)
    mesh.HEARTBEAT_S = 0.5  # so that a test of silence is short
    meeting.listen = server.listen = place.listen


def connected(place: Place, names: Sequence[str]) -> dict[str, list[Link]]:
    """Return the links of each member to every other, over TLS on loopback."""
    consortium = place.load()
    contexts = {name: tls_contexts(consortium, name, place.identity(name)) for name in names}
    links: dict[str, list[Link]] = {name: [] for name in names}
    for i, listener in enumerate(names):
        for dialler in names[i + 1 :]:
            near, far = tls_pair(contexts[dialler][0], contexts[listener][1])
            links[dialler].append(prepared(near, listener))
            links[listener].append(prepared(far, dialler))
    return links


def tls_pair(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Return both ends of a TLS connection."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        near = socket.create_connection(door.getsockname())
        far, _ = door.accept()
    accepted: list[ssl.SSLSocket] = []
    thread = threading.Thread(
        target=lambda: accepted.append(server.wrap_socket(far, server_side=True))
    )
    thread.start()
    connection = client.wrap_socket(near)
    thread.join(10)
    return connection, accepted[0]


def together(
    functions: Mapping[str, Callable[[], Any]], *, timeout_s: float = 60
) -> dict[str, Any]:
    """Run each function in a thread of its own; return results or errors by name."""
    results: queue.Queue[tuple[str, Any]] = queue.Queue()

    def run(name: str, function: Callable[[], Any]) -> None:
        try:
            results.put((name, function()))
        except BaseException as error:
            results.put((name, error))

    for name, function in functions.items():
        threading.Thread(target=run, args=(name, function), daemon=True).start()
    deadline = time.monotonic() + timeout_s
    return dict(results.get(timeout=max(0.01, deadline - time.monotonic())) for _ in functions)
