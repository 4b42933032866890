"""An object store on this machine that speaks as much of S3 as pyarrow.fs asks for."""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "kept"


@contextmanager
def bucket() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Run the store; yield its address, and what it holds by key."""
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        port = server.server_address[1]
        options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=here"
        yield f"s3://name:secret@{BUCKET}?{options}", server.objects
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_PUT(self) -> None:
        content = self._body()
        if "partNumber" in self._query:
            self.server.parts[self._query["uploadId"]][int(self._query["partNumber"])] = content
        else:
            self.server.objects[self._key] = content
        self._answer(headers={"ETag": '"0"'})

    def do_POST(self) -> None:
        content = self._body()
        if "uploads" in self._query:
            upload = str(len(self.server.parts))
            self.server.parts[upload] = {}
            self._answer(_xml("InitiateMultipartUploadResult", UploadId=upload))
        elif "uploadId" in self._query:
            parts = self.server.parts.pop(self._query["uploadId"])
            self.server.objects[self._key] = b"".join(parts[n] for n in sorted(parts))
            self._answer(_xml("CompleteMultipartUploadResult", ETag='"0"'))
        else:
            for key in re.findall(r"<Key>(.*?)</Key>", content.decode()):
                self.server.objects.pop(key, None)
            self._answer(_xml("DeleteResult"))

    def do_GET(self) -> None:
        if self._key:
            self._object()
            return
        prefix = self._query.get("prefix", "")
        found = sorted(key for key in self.server.objects if key.startswith(prefix))
        listed, folders = [], set()
        for key in found:
            head, cut, _ = key[len(prefix) :].partition("/")
            if cut and "delimiter" in self._query:
                folders.add(prefix + head + "/")
            else:
                size = len(self.server.objects[key])
                listed.append(_xml("Contents", Key=key, Size=size, LastModified=_THEN))
        listed += [_xml("CommonPrefixes", Prefix=folder) for folder in sorted(folders)]
        count = _xml("KeyCount", len(listed)) + _xml("IsTruncated", "false")
        self._answer(_xml("ListBucketResult", "".join([count, *listed])))

    def do_HEAD(self) -> None:
        if self._key:
            self._object()
        else:
            self._answer()

    def do_DELETE(self) -> None:
        self.server.objects.pop(self._key, None)
        self._answer(status=204)

    def log_message(self, *_: object) -> None:
        """Be silent."""

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")

    @property
    def _query(self) -> dict[str, str]:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return {name: values[0] for name, values in query.items()}

    def _object(self) -> None:
        content = self.server.objects.get(self._key)
        if content is None:
            self._answer(status=404)
            return
        begin, end = 0, len(content)
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            begin, end = int(first), min(int(last) + 1, end)
        self._answer(content[begin:end], 206 if asked else 200, {"Last-Modified": _DATE})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = _unchunked(self.rfile)
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            content = _unchunked(io.BytesIO(content))
        return content

    def _answer(
        self, content: bytes | str = b"", status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _unchunked(stream: Any) -> bytes:
    """Read chunks, each after a line with its size in hexadecimal, and the lines that follow."""
    whole = b""
    while size := int(stream.readline().split(b";")[0], 16):
        whole += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return whole


_THEN, _DATE = "2026-01-01T00:00:00.000Z", "Thu, 01 Jan 2026 00:00:00 GMT"


def _xml(tag: str, content: object = "", **children: object) -> str:
    inner = "".join(_xml(name, value) for name, value in children.items())
    return f"<{tag}>{content}{inner}</{tag}>"
