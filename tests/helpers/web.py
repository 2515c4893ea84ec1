"""A small HTTP server whose answers a test scripts, one behaviour for each request."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

_DRIPS, _DRIP_SECONDS = 100, 0.02
_ENDLESS_CHUNKS = 1000
_sleep = __import__("time").sleep  # the client's is replaced by a test


class Web:
    """Serves ``content``; ``script`` says what each next request meets, and after its end all goes well."""

    def __init__(self) -> None:
        self.content = b""
        self.script: list[str] = []
        self.ranges: list[str | None] = []
        self.logins: list[str | None] = []
        self.endless_chunks = 0
        self.resumes = True
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        web = self.web
        web.ranges.append(self.headers["Range"])
        web.logins.append(self.headers["Authorization"])
        step = web.script.pop(0) if web.script else "ok"
        if step.startswith("to "):
            self._head(302, Location=step[3:])
        elif step.isdigit():
            self._head(int(step), **{"Retry-After": "0"})
        elif step.startswith("says "):
            status, name, value = step[5:].split(" ", 2)
            self._head(int(status), **{name: value})
            self.close_connection = True
            with contextlib.suppress(ConnectionError):
                self.wfile.write(web.content)
        elif step == "reset":
            self.close_connection = True
        elif step in ("drip", "drip head"):
            self._drip(step)
        elif step == "endless":
            self._endless(200)
        elif step.startswith("endless to "):
            self._endless(302, Location=step.removeprefix("endless to "))
        else:
            self._send(cut=step == "cut")

    def _send(self, cut: bool) -> None:
        content, start = self.web.content, 0
        asked = self.headers["Range"] if self.web.resumes else None
        if asked:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self._head(416, **{"Content-Range": f"bytes */{len(content)}"})
        body = content[start:]
        self._head(206 if asked else 200, length=len(body))
        with contextlib.suppress(ConnectionError):  # a client that wants no more
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut
        return None

    def _drip(self, step: str) -> None:
        """A byte at a time of the content or of a header, until the client goes, or for so long that it hangs."""
        self.close_connection = True
        if step == "drip":
            self._head(200, length=len(self.web.content))
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        with contextlib.suppress(OSError):
            for _ in range(_DRIPS):
                self.wfile.write(b"x")
                _sleep(_DRIP_SECONDS)

    def _endless(self, status: int, **headers: str) -> None:
        """Chunks without end, and without a size that was told before; bounded, so that no test fills a disk."""
        self.close_connection = True
        self.send_response(status)
        for name, value in ({"Transfer-Encoding": "chunked"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(_ENDLESS_CHUNKS):
                self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                self.web.endless_chunks += 1

    def _head(self, status: int, length: int = 0, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(length)} | headers).items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server on a free port."""
    web = Web()
    handler = type("Handler", (_Handler,), {"web": web})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        web.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/models/m.onnx"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """The server, its client without waits, logins and proxies of the machine."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("NETRC", "/nonexistent")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with serving() as server:
        yield server
