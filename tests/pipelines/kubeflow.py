"""A stand-in for Kubeflow Pipelines: the part of its REST API, v2beta1, that submitting uses."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from graphlib import TopologicalSorter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

API = "/apis/v2beta1"


class Kubeflow:
    """What the stand-in was told, and how its runs go."""

    def __init__(self) -> None:
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.wanted_token: str | None = None
        self.failing: Mapping[str, str] = {}
        """The message with which a task fails, by its name."""
        self.host = ""

    def answer(self, method: str, path: str, query: Mapping[str, list[str]], body: Any) -> Any:
        match method, path.removeprefix(API).strip("/").split("/"):
            case "GET", ["healthz"]:
                return {"multi_user": True}
            case "GET", ["experiments"]:
                (predicate,) = json.loads(query["filter"][0])["predicates"]
                wanted = predicate["stringValue"], query.get("namespace", [""])[0]
                found = [
                    e for e in self.experiments if (e["display_name"], e["namespace"]) == wanted
                ]
                return {"experiments": found}
            case "POST", ["experiments"]:
                experiment = {"namespace": "", **body, "experiment_id": "e-1"}
                self.experiments.append(experiment)
                return experiment
            case "POST", ["runs"]:
                return self.start(body)
            case "GET", ["runs", number]:
                return self.look(self.runs[int(number)])
        raise KeyError(path)

    def start(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take a run, as strictly as Kubeflow does."""
        spec = body["pipeline_spec"]
        spec = spec.get("pipeline_spec", spec)
        declared = spec["root"]["inputDefinitions"]["parameters"]
        given = body["runtime_config"]["parameters"]
        if unknown := given.keys() - declared.keys():
            raise ValueError(f"parameters {sorted(unknown)} are not defined in the pipeline")
        optional = {n for n, d in declared.items() if "defaultValue" in d or d.get("isOptional")}
        if missing := declared.keys() - given.keys() - optional:
            raise ValueError(f"parameters {sorted(missing)} are required")
        run = {**body, "run_id": str(len(self.runs)), "spec": spec, "looks": 0}
        self.runs.append(run)
        return run

    def look(self, run: dict[str, Any]) -> dict[str, Any]:
        """Let one more task end each time that somebody looks."""
        run["looks"] += 1
        graph = run["spec"]["root"]["dag"]["tasks"]
        after = {name: sorted(task.get("dependentTasks", ())) for name, task in graph.items()}
        tasks = TopologicalSorter(dict(sorted(after.items()))).static_order()
        details, state = [{"display_name": "root-driver", "state": "SUCCEEDED"}], "SUCCEEDED"
        for number, task in enumerate(tasks):
            done = number < run["looks"] - 1
            fails = done and task in self.failing
            details.append(
                {
                    "display_name": task,
                    "state": "FAILED" if fails else "SUCCEEDED" if done else "RUNNING",
                    **({"error": {"code": 13, "message": self.failing[task]}} if fails else {}),
                }
            )
            if fails or not done:
                state = "FAILED" if fails else "RUNNING"
                break
        return {"run_id": run["run_id"], "state": state, "run_details": {"task_details": details}}


@contextmanager
def serving() -> Iterator[Kubeflow]:
    """Serve a stand-in on loopback."""
    kubeflow = Kubeflow()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", None)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._answer("POST", json.loads(self.rfile.read(length)))

        def _answer(self, method: str, body: Any) -> None:
            token = self.headers.get("Authorization")
            kubeflow.tokens.add(token)
            url = urlsplit(self.path)
            if kubeflow.wanted_token not in (None, token):
                status, content = 401, {"message": "no valid token"}
            else:
                try:
                    status = 200
                    content = kubeflow.answer(method, url.path, parse_qs(url.query), body)
                except ValueError as error:
                    status, content = 400, {"code": 3, "message": str(error)}
                except KeyError:
                    status, content = 404, {"message": "not found"}
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kubeflow.host = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    try:
        yield kubeflow
    finally:
        server.shutdown()
        server.server_close()
