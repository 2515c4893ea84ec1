"""A small HTTP server whose answers a test scripts, one behaviour for each request."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Web:
    """Serves ``content``; ``script`` says what each next request meets, and after its end all goes well."""

    def __init__(self) -> None:
        self.content = b""
        self.script: list[str] = []
        self.ranges: list[str | None] = []
        self.logins: list[str | None] = []
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
        elif step == "reset":
            self.close_connection = True
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
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut
        return None

    def _head(self, status: int, length: int = 0, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(length)} | headers).items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving() -> Iterator[Web]:
    """A server on a free port."""
    web = Web()
    handler = type("Handler", (_Handler,), {"web": web})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        web.url = f"http://127.0.0.1:{server.server_port}/models/m.onnx"
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
