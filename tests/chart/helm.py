"""The real Helm engine, without a cluster.

Helm is asked to install. An API server that knows the kinds of a cluster and holds nothing takes
Helm's own record of the release, which has everything that was rendered, and then refuses the rest.
"""

import asyncio
import base64
import gzip
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import helm_sdkpy
import yaml

CHART = Path(__file__).parents[2] / "charts" / "tallystick"
KINDS = {
    "v1": "ConfigMap PersistentVolumeClaim Pod Secret Service ServiceAccount",
    "apps/v1": "Deployment",
    "batch/v1": "Job",
    "monitoring.coreos.com/v1": "ServiceMonitor",
    "networking.k8s.io/v1": "Ingress NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1": "Role RoleBinding",
}
NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound"}
# Helm keeps its record of a release in a Secret: base64 of gzip of JSON.
RECORD = re.compile(rb"H4sI[A-Za-z0-9+/=]+")


@dataclass(frozen=True)
class Release:
    """What a chart came to."""

    name: str
    objects: tuple[dict[str, Any], ...]
    """The release's objects."""
    hooks: tuple[dict[str, Any], ...]
    """Those that are made only around it."""
    notes: str

    @property
    def everything(self) -> tuple[dict[str, Any], ...]:
        return self.objects + self.hooks

    def find(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = (
            o for o in self.everything if (o["kind"], o["metadata"]["name"]) == (kind, name)
        )
        return found

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [o for o in self.everything if o["kind"] == kind]


class Refused(Exception):
    """Helm's message, where it would not render the chart."""


def install(
    values: Mapping[str, Any], name: str = "tallystick", namespace: str = "risk"
) -> Release:
    """Have Helm install the chart.

    Raises:
        Refused: it would not; with what it says.
    """
    with _api_server() as (address, records):
        context = {"cluster": "c", "user": "u", "namespace": namespace}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": context}],
            "current-context": "x",
        }
        configuration = helm_sdkpy.Configuration(namespace, yaml.safe_dump(kubeconfig))
        try:
            asyncio.run(
                helm_sdkpy.Install(configuration).run(name, str(CHART), dict(values), wait=False)
            )
        except helm_sdkpy.HelmError as error:
            if not records:
                raise Refused(str(error)) from None
    record = records[0]
    return Release(
        name=name,
        objects=_objects(record["manifest"]),
        hooks=tuple(o for hook in record.get("hooks", ()) for o in _objects(hook["manifest"])),
        notes=record["info"].get("notes", ""),
    )


def lint(folder: Path, values: Mapping[str, Any]) -> list[str]:
    """Return what Helm's linter warns of; it takes values from the chart alone, so from a copy."""
    chart = shutil.copytree(CHART, folder / CHART.name)
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    (chart / "values.yaml").write_text(yaml.safe_dump({**defaults, **values}))
    found = asyncio.run(helm_sdkpy.Lint(helm_sdkpy.Configuration()).run(str(chart)))
    return [str(message) for message in found["Messages"] or () if message["Severity"] > 1]


def _objects(text: str) -> tuple[dict[str, Any], ...]:
    return tuple(document for document in yaml.safe_load_all(text) if document)


def _resource(kind: str) -> dict[str, Any]:
    plural = kind.lower().removesuffix("y") + "ies" if kind.endswith("y") else kind.lower() + "s"
    plural = {"ingresss": "ingresses"}.get(plural, plural)
    return {
        "name": plural,
        "singularName": kind.lower(),
        "kind": kind,
        "namespaced": True,
        "verbs": ["create", "get", "list"],
    }


def _discovered(path: str) -> Any:
    groups = [version.split("/") for version in KINDS if "/" in version]
    if path == "/version":
        return {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {
                    "name": group,
                    "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                    "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
                }
                for group, version in groups
            ],
        }
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in KINDS:
        resources = [_resource(kind) for kind in KINDS[version].split()]
        return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    if path.endswith("/secrets"):
        return {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []}
    return None


@contextmanager
def _api_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    records: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = _discovered(self.path.partition("?")[0])
            self._answer(200, found) if found else self._answer(404, {**NOT_FOUND, "code": 404})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not records and (record := RECORD.search(body)):
                records.append(json.loads(gzip.decompress(base64.b64decode(record[0]))))
                made = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "record"}}
                self._answer(201, made)
            else:
                self._answer(403, {**NOT_FOUND, "reason": "Forbidden", "code": 403})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(404, {**NOT_FOUND, "code": 404})

        do_PATCH = do_DELETE = do_PUT

        def _answer(self, status: int, content: Any) -> None:
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", records
    finally:
        server.shutdown()
        server.server_close()
