"""A service on this machine: each party's side a process of its own, and one that asks by HTTP."""

import contextlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from tallystick.cli import app
from tallystick.runtime import mesh

from tests import harness
from tests.e2e import running, steps

TOKEN = "0123456789abcdef" * 4
WAIT_S = 3.0
"""Instead of an hour: the longest that anybody waits for a living peer."""


def side_of_a_service(folder: str, store: str) -> None:
    """One party's process: what ``tallystick serve serve.yaml`` is, with a shorter patience."""
    steps.settle("serve", folder, store)
    mesh.WAIT_S = WAIT_S
    app(["serve", "serve.yaml"])


class Running:
    """A service whose receiver is bob."""

    def __init__(self, session: steps.Session, own: Mapping[str, Mapping[str, Any]]) -> None:
        self.session = session
        self.port = harness.free_port()
        self.processes = {}
        token = session.of("bob") / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        for party in session.parties:
            place = session.site.place
            content = {
                "party": party,
                "session": session.name,
                "consortium": str(place.consortium),
                "identity": str(place.identity(party)),
                "receiver": "bob",
                **own.get("all", {}),
                **(
                    {"listen": f"127.0.0.1:{self.port}", "token": "token"} if party == "bob" else {}
                ),
                **own.get(party, {}),
            }
            (session.of(party) / "serve.yaml").write_text(json.dumps(content))
            self.processes[party] = steps.processes.Process(
                target=side_of_a_service,
                args=(str(session.of(party)), str(session.site.empty_store)),
            )
            self.processes[party].start()

    def get(self, path: str, token: str = TOKEN, content: Any = None) -> tuple[int, Any]:
        """Return an answer's status and JSON."""
        body = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def predict(self, **content: Any) -> list[dict[str, Any]]:
        status, answer = self.get("/v1/predict", content=content)
        assert status == 200, answer
        return list(answer["predictions"])

    def await_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if self.get("/readyz")[0] == 200:
                    return
            for party, process in self.processes.items():
                assert process.exitcode is None, self.log(party)
            assert time.monotonic() < deadline, self.log("bob")
            time.sleep(0.05)

    def signal(self, party: str, number: int) -> None:
        os.kill(self.processes[party].pid or 0, number)

    def codes(self) -> list[int | None]:
        for process in self.processes.values():
            process.join(20)
        return [process.exitcode for process in self.processes.values()]

    def log(self, party: str) -> str:
        return (self.session.of(party) / "serve.log").read_text()

    def events(self, party: str, kind: str) -> list[dict[str, Any]]:
        return [event for event in running.events(self.log(party)) if event["event"] == kind]


@contextlib.contextmanager
def serving(session: steps.Session, **own: Mapping[str, Any]) -> Iterator[Running]:
    service = Running(session, own)
    try:
        service.await_ready()
        yield service
    finally:
        for process in service.processes.values():
            process.kill()
            process.join()
