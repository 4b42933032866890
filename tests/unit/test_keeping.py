"""A key made in the cluster: kept as a Secret, once, and shown to nobody."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from kubernetes import client, config
from tallystick import keeping
from tallystick.cli import app
from typer.testing import CliRunner

runner = CliRunner()


class Secrets:
    """A stand-in for the API server's Secrets of one namespace."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.refusal: int | None = None

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        assert path.startswith("/api/v1/namespaces/risk/secrets")
        if self.refusal:
            return self.refusal, {}
        if method == "GET":
            name = path.rpartition("/")[2]
            return (200, self.kept[name]) if name in self.kept else (404, {})
        self.kept[body["metadata"]["name"]] = body
        return 201, body


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secrets]:
    secrets = Secrets()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", None)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._answer("POST", json.loads(self.rfile.read(length)))

        def _answer(self, method: str, body: Any) -> None:
            status, content = secrets.answer(method, self.path, body)
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    address = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        config, "load_incluster_config", lambda: client.Configuration.set_default(address)
    )
    (tmp_path / "namespace").write_text("risk")
    monkeypatch.setattr(keeping, "NAMESPACE", tmp_path / "namespace")
    yield secrets
    client.Configuration.set_default(None)
    server.shutdown()
    server.server_close()


def test_the_secret_holds_a_key_and_its_certificate_and_the_log_the_certificate_alone(
    cluster: Secrets,
) -> None:
    result = runner.invoke(app, ["keygen", "alice", "--secret", "alice-identity"])
    assert result.exit_code == 0, result.output
    kept = cluster.kept["alice-identity"]
    assert kept["type"] == "kubernetes.io/tls"
    key = load_pem_private_key(base64.b64decode(kept["data"]["tls.key"]), None)
    certificate = x509.load_pem_x509_certificate(result.stdout.encode())
    assert base64.b64decode(kept["data"]["tls.crt"]).decode() == result.stdout
    assert certificate.public_key() == key.public_key()
    assert "PRIVATE" not in result.output


def test_a_key_is_never_replaced(cluster: Secrets) -> None:
    first = runner.invoke(app, ["keygen", "alice", "--secret", "s"]).stdout
    assert runner.invoke(app, ["keygen", "alice", "--secret", "s"]).stdout == first
    cluster.kept["other"] = {"metadata": {"name": "other"}, "data": {"password": "eA=="}}
    refused = runner.invoke(app, ["keygen", "alice", "--secret", "other"])
    assert refused.exit_code == 2
    assert "never overwritten" in refused.stderr


def test_missing_rights_are_named(cluster: Secrets) -> None:
    cluster.refusal = 403
    refused = runner.invoke(app, ["keygen", "alice", "--secret", "s"])
    assert refused.exit_code == 2
    assert "needs get and create on Secrets" in refused.stderr


def test_outside_of_a_cluster_it_says_what_to_do_instead() -> None:
    refused = runner.invoke(app, ["keygen", "alice", "--secret", "s"])
    assert refused.exit_code == 2
    assert "--out" in refused.stderr
