"""The dealer serves what is on its list to whom it may, isolates sessions, and lives on."""

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tallystick.runtime import mesh as mesh_module
from tallystick.runtime import probe
from tallystick.runtime.dealer import server
from tallystick.runtime.dealer import session as dealer_session
from tallystick.runtime.dealer.__main__ import serve
from tallystick.runtime.dealer.kinds import BitToRing, Product
from tallystick.runtime.dealer.session import DealerSession
from tallystick.runtime.errors import PeerLost, ProtocolViolation
from tallystick.runtime.frames import DATA, HEADER, MESSAGE
from tallystick.runtime.hello import Hello, receive_hello, send_hello
from tallystick.runtime.identity import tls_contexts
from tallystick.runtime.links import Link
from tallystick.runtime.listening import prepared
from tallystick.runtime.mesh import Mesh
from tallystick.runtime.session import Session

from tests import harness
from tests.harness import DEALER, Place
from tests.parties import steps


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Place, harness.Process]]:
    place = harness.make_place(tmp_path, 2)
    with harness.dealer(place) as process:
        yield place, process


def dial(place: Place, name: str, session: str, step: str = "train") -> Link:
    """Join a session at the dealer alone: the parties need not meet to annoy it."""
    consortium = place.load()
    joint = {"consortium": consortium.digest()}
    hello = Hello(session=session, step=step, member=name, joint=joint)
    dealer = consortium.dealer
    raw = socket.create_connection((dealer.host, dealer.port), timeout=10)
    connection = tls_contexts(consortium, name, place.identity(name))[0].wrap_socket(raw)
    send_hello(connection, hello)
    hello.check(Hello.decode(receive_hello(connection), DEALER))
    return prepared(connection, DEALER)


def log(place: Place) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place.folder / "dealer.log").read_text().splitlines()]


def log_of(place: Place, session: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while True:
        found = [e for e in log(place) if e["event"] == "served" and e["session"] == session]
        if found:
            return found[-1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def multiply(session: Any, scale: float) -> float:
    engine = session.engine
    values = torch.full((100,), scale)
    x, y = (engine.share(values if session.rank == o else None, o, (100,)) for o in range(2))
    for _ in range(20):
        z = x * y
    return float(session.ledger.reveal(z, "product", why="a test").mean())


BIT = BitToRing((3,)).encode()
SQUARE = Product(((3,),), (("mul", 0, 0, ()),)).encode()
BAD: list[tuple[str, Any]] = [
    ("alice", []),
    ("alice", None),
    ("alice", "deal"),
    ("alice", {}),
    ("alice", {"open": "the door"}),
    ("alice", {"deal": BIT}),
    ("alice", {"deal": "bit"}),
    ("alice", {"deal": [BIT]}),
    ("alice", {"deal": [[BIT]], "extra": 1}),
    ("alice", {"deal": [[{**BIT, "extra": 1}]]}),
    ("alice", {"deal": [[{**BIT, "kind": "eval"}]]}),
    ("alice", {"deal": [[{**BIT, "kind": ["bit"]}]]}),
    ("alice", {"deal": [[{**BIT, "shape": [1 << 28]}]]}),
    ("alice", {"deal": [[{**BIT, "shape": [-1, -5]}]]}),
    ("alice", {"deal": [[{**BIT, "shape": [[3]]}]]}),
    ("alice", {"deal": [[{**BIT, "shape": None}]]}),
    ("alice", {"deal": [[]]}),
    ("alice", {"deal": [[0]]}),
    ("alice", {"deal": [[-1]]}),
    ("alice", {"deal": [[BIT], [7]]}),
    ("alice", {"deal": [[BIT, 0]]}),
    ("alice", {"deal": [[SQUARE]]}),
    ("alice", {"deal": [[SQUARE, 0, 1]]}),
    ("alice", {"deal": [[SQUARE, -1]]}),
    ("alice", {"deal": [[SQUARE, 1 << 63]]}),
    ("alice", {"deal": [[SQUARE, "0"]]}),
    ("alice", {"deal": [[SQUARE, None]]}),
    ("bob", {"deal": [[BIT]]}),
    ("bob", {"match": None}),
    ("bob", {"match": {"counts": [-1], "minimum": 1, "bits_to": [], "number_to": []}}),
    ("bob", {"match": {"counts": [1 << 40], "minimum": 1, "bits_to": [], "number_to": []}}),
    ("bob", {"match": {"counts": [3], "minimum": 1, "bits_to": ["eve"], "number_to": []}}),
    ("bob", {"match": {"counts": [3], "minimum": 1, "bits_to": [], "number_to": [], "x": 1}}),
]


def test_what_is_not_on_the_list_ends_that_session_alone(
    served: tuple[Place, harness.Process],
) -> None:
    """All at once, in sessions side by side, with a good one in their midst."""
    place, process = served

    def misbehave(name: str, number: int) -> Any:
        mesh = Mesh([dial(place, name, f"bad-{number}")])
        culprit, message = BAD[number]
        try:
            mesh.message(DEALER)  # the key
            if name == culprit:
                mesh.post_message(DEALER, message)
            mesh.message(DEALER)
        finally:
            mesh.close()

    jobs = {
        f"{name} {number}": partial(misbehave, name, number)
        for name in place.parties
        for number in range(len(BAD))
    }
    good: list[Any] = []
    configs = {name: {"session": "good"} for name in place.parties}
    together = threading.Thread(
        target=lambda: good.append(
            harness.run_parties(place, multiply, 3.0, configs=configs, timeout_s=60)
        )
    )
    together.start()
    results = harness.together(jobs)
    together.join()
    for job, error in results.items():
        # What precedes the bad request in its message may have been dealt already.
        assert isinstance(error, (PeerLost, ProtocolViolation)), job
    for number, (_, message) in enumerate(BAD):
        said = [str(results[f"{name} {number}"]) for name in place.parties]
        assert any("'notary' stopped with ProtocolViolation" in text for text in said), message
        assert log_of(place, f"bad-{number}")["outcome"] == "ProtocolViolation"
    assert good == [{"alice": pytest.approx(9.0, abs=1e-3), "bob": pytest.approx(9.0, abs=1e-3)}]
    assert process.wait(0) is None
    assert harness.run_parties(place, multiply, 2.0)["bob"] == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize(
    "frame",
    [
        HEADER.pack(MESSAGE, 0, 1 << 40),
        HEADER.pack(DATA, 0, 8) + bytes(8),
        HEADER.pack(9, 0, 0),
        HEADER.pack(MESSAGE, 0, 3) + b"{{{",
        HEADER.pack(MESSAGE, 7, 2) + b"{}",
        bytes(range(256)),
    ],
    ids=["oversized", "raw bytes", "unknown kind", "no json", "out of sequence", "noise"],
)
def test_a_poisoned_frame_ends_that_session_and_the_dealer_lives_on(
    place: Place, frame: bytes
) -> None:
    name = f"poison-{abs(hash(frame))}"

    def poison(party: str) -> Any:
        link = dial(place, party, name)
        mesh = Mesh([link])
        try:
            mesh.message(DEALER)  # the key: the session has begun
            if party == "alice":
                link.connection.send(frame)
            mesh.message(DEALER)
        finally:
            mesh.close()

    results = harness.together({party: partial(poison, party) for party in place.parties})
    assert all(isinstance(error, PeerLost) for error in results.values())
    assert log_of(place, name)["outcome"] == "ProtocolViolation"
    assert harness.run_parties(place, multiply, 2.0)["bob"] == pytest.approx(4.0, abs=1e-3)


def test_two_sessions_at_once_do_not_mix(place: Place) -> None:
    def run(scale: float) -> Any:
        session = f"beside-{scale}"
        configs = {
            name: {"session": session, "reveals": place.folder / name / session}
            for name in place.parties
        }
        return harness.run_parties(place, multiply, scale, configs=configs)

    scales = (1.5, 2.5, 3.5)
    results = harness.together({str(scale): partial(run, scale) for scale in scales})
    for scale in scales:
        for value in results[str(scale)].values():
            assert value == pytest.approx(scale**2, abs=1e-3)
        served = log_of(place, f"beside-{scale}")
        assert served["outcome"] == "finished"
        assert served["requests"]["product"] >= 20


def test_no_two_sessions_get_the_same_keys(served: tuple[Place, Any]) -> None:
    place, _ = served
    keys = []
    for number in range(3):
        meshes = [Mesh([dial(place, name, f"keys-{number}")]) for name in place.parties]
        keys += [mesh.message(DEALER)["key"] for mesh in meshes]
        for mesh in meshes:
            mesh.close()
    assert len(set(keys)) == 6
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


PLANTED = 731.40625


def _plant(session: Any) -> None:
    multiply(session, PLANTED)
    rows = np.frombuffer(b"patient-4711-abc", dtype=np.uint8).reshape(1, 16)
    everybody = session.parties
    matching = session.dealer.match(
        [1], minimum=1, bits_to=everybody, number_to=everybody, party=session.party
    )
    assert list(matching.run([rows]))


def test_the_log_says_what_was_served_and_holds_no_value(served: tuple[Place, Any]) -> None:
    place, _ = served
    harness.run_parties(place, _plant)
    entry = log_of(place, "test-1")
    assert entry["requests"]["match"] == 1
    assert entry["requests"]["product"] >= 20
    assert entry["step"] == "test"
    text = (place.folder / "dealer.log").read_bytes()
    keys = rb'"[0-9a-f]{32,}"'
    assert not re.search(keys, text)
    planted = (struct.pack("<d", PLANTED), b"731.4", str(round(PLANTED * 2**16)).encode())
    for value in (*planted, b"4711", b"patient"):
        assert value not in text
    assert {path.name for path in place.folder.iterdir()} >= {"dealer.log"}


def test_a_party_that_asks_and_never_reads_does_not_fill_the_dealers_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dealer_session, "MAX_QUEUED_BYTES", 4 << 20)
    place = harness.make_place(tmp_path, 2)
    links = harness.connected(place, [DEALER, "alice", "bob"])
    session = DealerSession("s", "train", links=links[DEALER])
    serving = threading.Thread(target=session.run, daemon=True)
    serving.start()
    (queued,) = (link for link in links[DEALER] if link.peer == "alice")
    (greedy,) = (link for link in links["alice"] if link.peer == DEALER)
    request = json.dumps({"deal": [[BitToRing((1 << 17,)).encode()]] * 20}).encode()
    peak, deadline = 0, time.monotonic() + 3
    while time.monotonic() < deadline:
        if greedy.flushed and greedy.counters.sent_frames < 200:
            greedy.post(MESSAGE, request)
        greedy.flush()
        # A copy, made in one go: the session's thread goes on.
        peak = max(peak, sum(map(len, list(queued._outgoing))))
    for link in (*links["alice"], *links["bob"]):
        link.close()
    serving.join(30)
    assert not serving.is_alive()
    assert 4 << 20 <= peak < 6 << 20


class Visitors:
    """Parties that join one after the other at a dealer that is a thread."""

    def __init__(self, folder: Path) -> None:
        self.place = harness.make_place(folder, 2)
        self.server = server.DealerServer(self.place.load(), self.place.identity(DEALER))
        self.meshes: list[Mesh] = []

    def join(self, name: str, session: str, step: str = "train") -> Mesh:
        deadline = time.monotonic() + 10
        while True:
            try:
                self.meshes.append(Mesh([dial(self.place, name, session, step)]))
            except ConnectionRefusedError:  # the port is not open yet
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return self.meshes[-1]

    def refusal(self, name: str, session: str, step: str = "train") -> str:
        with pytest.raises(PeerLost) as error:
            self.join(name, session, step).message(DEALER)
        return str(error.value)


@pytest.fixture
def visitors(tmp_path: Path) -> Iterator[Visitors]:
    visitors = Visitors(tmp_path)
    thread = threading.Thread(target=visitors.server.serve, daemon=True)
    thread.start()
    try:
        yield visitors
    finally:
        visitors.server.stop()
        for mesh in visitors.meshes:
            mesh.close()
        thread.join(10)


def test_a_dealer_with_too_many_sessions_refuses_another_and_says_why(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_WAITING", 3)
    monkeypatch.setattr(server, "MAX_SERVING", 2)
    join, refusal = visitors.join, visitors.refusal
    first, *_ = (join("alice", f"waiting-{number}") for number in range(3))
    assert "'alice' waits for other parties in 3 sessions already" in refusal("alice", "more")
    for number in range(2):  # bob is not hindered, and what was waiting is served
        assert join("bob", f"waiting-{number}").message(DEALER)["key"]
    said = refusal("bob", "waiting-2")
    assert "'notary' stopped with Busy: the dealer serves 2 sessions already" in said
    first.close()
    steps.wait_until(lambda: visitors.server._serving == 1)
    assert join("bob", "waiting-2").message(DEALER)["key"]


def test_a_party_with_too_many_doctors_is_told_so_and_hinders_nobody(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_DOCTORS", 2)
    first, _ = (visitors.join("alice", "doctor", probe.STEP) for _ in range(2))
    said = visitors.refusal("alice", "doctor", probe.STEP)
    assert "'notary' stopped with Busy: 'alice' runs 2 doctors already" in said
    assert probe.measure(visitors.join("bob", "doctor", probe.STEP), DEALER).bytes_per_s > 0
    assert probe.measure(first, DEALER).bytes_per_s > 0
    first.end()
    steps.wait_until(lambda: visitors.server._doctors["alice"] == 1)
    assert probe.measure(visitors.join("alice", "doctor", probe.STEP), DEALER).bytes_per_s > 0


def test_what_doctors_send_all_goes_to_one_place() -> None:
    class Here:
        places: ClassVar[list[Any]] = []

        def expect(self, peer: str, buffer: memoryview) -> None:
            self.places.append(buffer.obj)

        def wait(self, receipts: Any) -> None: ...

        def post_message(self, peer: str, message: Any) -> None: ...

    here: Any = Here()
    for count in (1 << 20, 8 << 20):
        assert probe.answer_one(here, "alice", {"probe": "swallow", "bytes": count})
    assert here.places[0] is here.places[1]
    with pytest.raises(ProtocolViolation):
        probe.answer_one(here, "alice", {"probe": "swallow", "bytes": (8 << 20) + 1})


@pytest.mark.parametrize("lacking", ["dealer-('s', 'train')", "tallystick-heart"])
def test_a_session_for_which_no_thread_is_left_gives_its_place_back(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == lacking:
            raise RuntimeError("can't start new thread")
        begin(thread)

    visitors.join("alice", "another")  # by now the server listens
    links = [dial(visitors.place, "alice", "s")]
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        links.append(dial(visitors.place, "bob", "s"))
        for link in links:
            with pytest.raises(PeerLost, match="closed the connection"):
                steps.wait_until(lambda link=link: link.fill())
    steps.wait_until(lambda: visitors.server._serving == 0)
    visitors.join("alice", "s")
    assert visitors.join("bob", "s").message(DEALER)["key"]


def overheard(place: harness.Place) -> None:
    """Serve, and write down all that is read: hellos, requests, last words."""
    loads = json.loads

    def written_down(content: bytes) -> Any:
        print("read", content.decode(), flush=True)
        return loads(content)

    json.loads = written_down
    sys.exit(serve(place.consortium, place.identity(DEALER)))


def test_the_dealer_hears_neither_the_configuration_nor_the_reasons_of_failures(
    tmp_path: Path,
) -> None:
    place = harness.make_place(tmp_path, 2)
    process = harness.Process(place, overheard, place, log=tmp_path / "dealer.log")
    runs: dict[str, steps.Run] = {}
    try:
        process.await_line('"serving"')
        runs = steps.run_all(place, lambda name: {"fault": "late data" * (name == "bob")})
        assert {name: run.wait(30) for name, run in runs.items()} == {"alice": 4, "bob": 3}
        assert "the column 'age' holds nothing" in runs["alice"].failed["message"]
        process.await_line('"served"')
    finally:
        steps.end(runs)
        process.end()
    lines = (tmp_path / "dealer.log").read_text().splitlines()
    read = [json.loads(line.removeprefix("read ")) for line in lines if line.startswith("read ")]
    hellos = [message for message in read if "joint" in message]
    assert [hello["joint"] for hello in hellos] == [{"consortium": place.load().digest()}] * 2
    assert {"kind": "DataError", "message": "see its log for the reason", "at_fault": None} in read
    assert not any("age" in json.dumps(message["message"]) for message in read if "kind" in message)


def impatient(place: harness.Place) -> None:
    """Serve with a patience for living peers that ends soon, where anything holds to it."""
    mesh_module.WAIT_S = 1.0
    sys.exit(serve(place.consortium, place.identity(DEALER)))


def idle(session: Session) -> float:
    for _ in range(12):
        time.sleep(0.25)
        session.exchange({})
    return multiply(session, 2.0)


def test_a_session_that_asks_for_nothing_is_served_as_long_as_it_lives(tmp_path: Path) -> None:
    place = harness.make_place(tmp_path, 2)
    process = harness.Process(place, impatient, place, log=tmp_path / "dealer.log")
    try:
        process.await_line('"serving"')
        results = harness.run_parties(place, idle)
    finally:
        process.end()
    assert results["alice"] == pytest.approx(4.0, abs=1e-3)


def test_the_dealer_is_a_command_that_ends_when_it_is_told_to(tmp_path: Path) -> None:
    place = harness.make_place(tmp_path, 2)
    command = [sys.executable, "-m", "tallystick.runtime.dealer"]
    command += ["--consortium", str(place.consortium), "--identity", str(place.identity(DEALER))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            serving = json.loads(process.stdout.readline())
            assert serving["event"] == "serving"
            assert serving["port"] == place.load().dealer.port
            results = harness.run_parties(place, multiply, 2.0)
            assert results["alice"] == pytest.approx(4.0, abs=1e-3)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_dealer_that_cannot_start_says_why(tmp_path: Path) -> None:
    place = harness.make_place(tmp_path, 2)
    command = [sys.executable, "-m", "tallystick.runtime.dealer"]
    command += ["--consortium", str(place.consortium), "--identity", str(place.identity("alice"))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    event = json.loads(ended.stdout)
    assert event["event"] == "failed"
    assert "is not the certificate that the consortium file pins for 'notary'" in event["message"]
    assert not ended.stderr
