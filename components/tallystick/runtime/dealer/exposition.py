"""What an operator sees of the dealer: metrics for Prometheus, and whether it is well.

``/metrics`` counts sessions, requests and refusals by their kind, never by session or party: names
would grow without bound, and say more than an operator of the cluster need know. ``/healthz``
answers 200 while the dealer accepts connections.

The figures come from the dealer's own events, which is what its log holds too.
"""

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector

from tallystick.runtime import events
from tallystick.runtime.errors import ConfigError

_SECONDS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)
_MAX_STEPS = 32


class Exposition:
    """The dealer's metrics, and the port that they are read from."""

    def __init__(self) -> None:
        self._steps: set[str] = set()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._serving = Gauge(
            "tallystick_dealer_up",
            "Whether the dealer accepts connections.",
            registry=self._registry,
        )
        self._active = Gauge(
            "tallystick_dealer_sessions_active",
            "Sessions that are being served.",
            registry=self._registry,
        )
        self._sessions = Counter(
            "tallystick_dealer_sessions",
            "Sessions that have ended.",
            ["step", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tallystick_dealer_session_seconds",
            "How long sessions took.",
            ["step"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._requests = Counter(
            "tallystick_dealer_requests",
            "Requests that were served.",
            ["kind"],
            registry=self._registry,
        )
        self._sent = Counter(
            "tallystick_dealer_sent_bytes",
            "Bytes sent to parties.",
            registry=self._registry,
        )
        self._refused = Counter(
            "tallystick_dealer_refused_connections",
            "Connections that were refused.",
            registry=self._registry,
        )

    def take(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take in one of the dealer's events."""
        match event:
            case "serving":
                self._serving.set(1)
            case "gathered":
                self._active.inc()
            case "served":
                self._active.dec()
                step = self._step(fields["step"])
                self._sessions.labels(step, fields["outcome"]).inc()
                self._seconds.labels(step).observe(fields["seconds"])
                self._sent.inc(fields["sent_bytes"])
                for kind, count in fields["requests"].items():
                    self._requests.labels(kind).inc(count)
            case "warning" if fields.get("refused"):
                self._refused.inc()

    def _step(self, name: str) -> str:
        """Bound the number of names, which are the parties' to choose."""
        if len(self._steps) < _MAX_STEPS:
            self._steps.add(name)
        return name if name in self._steps else "other"

    def serve(self, port: int) -> ThreadingHTTPServer:
        """Answer on a port, from a thread of its own, until the process ends.

        Raises:
            ConfigError: the port is taken.
        """
        page, registry = CONTENT_TYPE_LATEST, self._registry

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # a client that says nothing holds no thread up

            def do_GET(self) -> None:
                """Answer a scrape or a probe."""
                match self.path.partition("?")[0]:
                    case "/metrics":
                        self._answer(200, page, generate_latest(registry))
                    case "/healthz":
                        up = registry.get_sample_value("tallystick_dealer_up")
                        self._answer(200 if up else 503, "text/plain", b"ok\n" if up else b"no\n")
                    case _:
                        self._answer(404, "text/plain", b"")

            def _answer(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing: standard output carries events, and probes come often."""

        try:
            server = ThreadingHTTPServer(
                ("", port), Handler
            )  # every interface: a probe's is not ours
        except OSError as error:
            raise ConfigError(
                f"the dealer's metrics cannot be served on port {port}: {error.strerror}"
            ) from None
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        return server


def expose(port: int) -> None:
    """Serve the metrics of this process's dealer.

    Raises:
        ConfigError: the port is taken.
    """
    exposition = Exposition()
    events.observe(exposition.take)
    exposition.serve(port)
