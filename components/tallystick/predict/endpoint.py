"""The HTTP endpoint of a service, at the party that asks, in a thread of its own.

==================  ==================================================================
GET /healthz        200 while the process lives; needs no token
GET /readyz         200 while requests are taken, 503 before and after; needs no token
GET /v1/model       what a request must hold, and what the answer will
POST /v1/predict    a request as ``forms`` has it; ``{"predictions": [...]}``
==================  ==================================================================

==========  ========================================================================
400, 422    no request of the form; values that cannot be prepared
401         no token, or another
403         the rows that the parties allow are used up
413, 415    larger than a request may be; not JSON
429, 503    too many rows wait: try again; the service begins or ends
==========  ========================================================================

uvicorn speaks HTTP and TLS. A request that says nothing for ten seconds is dropped, and so is a
connection beyond the most that are held.
"""

import asyncio
import hmac
import os
import socket
import stat
import threading
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as Http
from starlette.responses import JSONResponse
from starlette.routing import Route

from tallystick.predict import forms
from tallystick.predict.desk import Closed, Desk, Full, Spent
from tallystick.predict.forms import Form, Malformed
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.identity import CERTIFICATE_FILE, KEY_FILE

MIN_TOKEN = 32
READ_S = 10.0
MAX_CONNECTIONS = 256
GRACE_S = 5

_Handler = Callable[[Http], Awaitable[JSONResponse]]


class Endpoint:
    """An open port; answers once it is started.

    Args:
        address: host:port.
        tls: the folder with the endpoint's own tls.key and tls.crt; empty on loopback alone.
        token: the file with the bearer token.
        form: what a request must hold.
        about: what ``/v1/model`` says beside it.
        desk: where requests go.
        max_bytes: of a request's body.

    Raises:
        ConfigError: the address cannot be opened, would be served without TLS, or the token or
            certificate cannot be used.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: str,
        token: str,
        form: Form,
        about: dict[str, Any],
        desk: Desk,
        max_bytes: int,
    ) -> None:
        self._token, self._form, self._about = read_token(token), form, about
        self._desk, self._max_bytes = desk, max_bytes
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        if not tls and not _is_loopback(host):
            raise ConfigError(
                f"listen: {address} can be reached from elsewhere, so tls must name the folder "
                "with a tls.key and tls.crt for it; or listen at 127.0.0.1"
            )
        routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/v1/model", self._guarded(self._model)),
            Route("/v1/predict", self._guarded(self._predict), methods=["POST"]),
        ]
        files = {"ssl_keyfile": Path(tls, KEY_FILE), "ssl_certfile": Path(tls, CERTIFICATE_FILE)}
        settings = uvicorn.Config(
            Starlette(routes=routes),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # standard output carries events
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=GRACE_S,
            **(files if tls else {}),  # type: ignore[arg-type]
        )
        try:
            settings.load()
        except OSError:
            raise ConfigError(f"tls: {tls} must hold a {KEY_FILE} and {CERTIFICATE_FILE}") from None
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, int(port)), family=family)
        except (OSError, ValueError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "it must be host:port"
            raise ConfigError(f"listen: {address} cannot be opened: {why}") from None
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._run, name="endpoint", daemon=True)

    def __enter__(self) -> "Endpoint":
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Tell those who wait, and stop."""
        self._desk.abandon()
        self._server.should_exit = True
        self._thread.join(GRACE_S + 1)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def _guarded(self, handler: _Handler) -> _Handler:
        async def guarded(http: Http) -> JSONResponse:
            scheme, _, token = http.headers.get("authorization", "").partition(" ")
            # Compared in a time that does not tell how much of it is right.
            is_ours = hmac.compare_digest(token.strip().encode(), self._token)
            if scheme.lower() != "bearer" or not is_ours:
                answer = _error(401, "a valid bearer token is needed")
                answer.headers["www-authenticate"] = "Bearer"
                return answer
            return await handler(http)

        return guarded

    async def _healthz(self, _: Http) -> JSONResponse:
        return JSONResponse({"live": True})

    async def _readyz(self, _: Http) -> JSONResponse:
        is_open = self._desk.is_open
        return JSONResponse({"ready": is_open}, 200 if is_open else 503)

    async def _model(self, _: Http) -> JSONResponse:
        return JSONResponse({**self._about, "request": self._form.as_json()})

    async def _predict(self, http: Http) -> JSONResponse:
        if http.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _error(415, "the request must be application/json")
        try:
            async with asyncio.timeout(READ_S):
                content = await self._body(http)
        except TimeoutError:
            return _error(408, "the request did not come in time")
        if content is None:
            return _error(413, f"a request has at most {self._max_bytes} bytes")
        try:
            request = await asyncio.to_thread(self._read, content)
            self._desk.submit(request)
            return JSONResponse({"predictions": await asyncio.wrap_future(request.answer)})
        except Malformed as error:
            return _error(400, str(error))
        except DataError as error:
            return _error(422, str(error))
        except Spent:
            return _error(403, "the rows that the parties allow in this session are used up")
        except Full:
            return _later(429, "too many rows wait; try again")
        except Closed:
            return _later(503, "the service takes no requests now")

    async def _body(self, http: Http) -> bytes | None:
        """Read the body, and no more of it than it may have."""
        content = bytearray()
        async for part in http.stream():
            content += part
            if len(content) > self._max_bytes:
                return None
        return bytes(content)

    def _read(self, content: bytes) -> Any:
        return self._form.read(forms.parse(content))


def read_token(path: str) -> bytes:
    """Read a bearer token that nobody else on this machine can read.

    Raises:
        ConfigError: the file is missing, open to others, or its token is short.
    """
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            token = file.read(4096).strip()
    except OSError:
        raise ConfigError("token: the file cannot be read; it holds the bearer token") from None
    # A Kubernetes Secret is root's, and its pod reads it by its group.
    in_pod = status.st_uid == 0 != os.geteuid() and not status.st_mode & stat.S_IWGRP
    if status.st_mode & (stat.S_IRWXO if in_pod else stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError("token: others can read the file; give it the mode 0600")
    if len(token) < MIN_TOKEN or not token.isascii() or b" " in token:
        raise ConfigError(
            f"token: the file must hold {MIN_TOKEN} characters or more without spaces; make one "
            "with `openssl rand -hex 32`"
        )
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)


def _later(status: int, message: str) -> JSONResponse:
    answer = _error(status, message)
    answer.headers["retry-after"] = "1"
    return answer
