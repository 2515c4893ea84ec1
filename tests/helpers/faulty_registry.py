"""A proxy in front of a real registry, which does to chosen requests what networks and registries do."""

import contextlib
import http.client
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "server", "date"}
_TLS_RECORD = b"\x16"


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose method and path match ``of``."""

    of: str
    does: str
    """``503``, also with a header (``429 Retry-After 7``), ``refuse TEXT`` (400), ``reset``, ``take N`` (N bytes of
    what is sent reach the registry, then a reset), ``cut N`` (N bytes of the answer), ``say NAME VALUE`` (one more
    header), ``body TEXT``, ``swallow`` (the registry never sees it, and the answer is 201), ``deaf`` (it is done, and a
    reset is the answer), ``whole`` (a Range is ignored), ``raw TEXT`` (these bytes are the answer), ``die``."""
    times: int = 1
    skip: int = 0
    """How many that match are let through first."""


@dataclass
class Faulty:
    """The proxy: its faults to come, and all requests so far."""

    upstream: str
    host: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)
    """The newest address of each upload: Debian's registry refuses older ones, later registries do not."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: Any = None
    dead: bool = False

    def count(self, of: str) -> int:
        return sum(bool(re.search(of, f"{method} {path}")) for method, path, _ in self.seen)

    def choose(self, line: str) -> str:
        with self.lock:
            for fault in self.faults:
                if fault.times and re.search(fault.of, line):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault.does
        return ""


class _Handler(BaseHTTPRequestHandler):
    faulty: Faulty
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            if self.connection.recv(1, socket.MSG_PEEK) != _TLS_RECORD:  # it has no TLS, and says so at once
                super().handle()

    def answer(self) -> None:
        faulty = self.faulty
        faulty.seen.append((self.command, self.path, dict(self.headers)))
        fault, _, rest = faulty.choose(f"{self.command} {self.path}").partition(" ")
        body = self.rfile.read(int(rest if fault == "take" else self.headers.get("Content-Length") or 0))
        if fault.isdigit():
            return self._say(int(fault), dict([rest.partition(" ")[::2]] if rest else []), b"")
        if fault == "die":
            faulty.dead = True
            threading.Thread(target=faulty.server.shutdown).start()
            faulty.server.socket.close()
        if fault == "reset" or faulty.dead:
            return self._reset()
        if fault == "swallow":
            return self._say(201, {}, b"")
        if fault == "raw":
            self.close_connection = True
            self.wfile.write(rest.encode("latin-1"))
            return None
        if fault == "refuse":
            return self._say(400, {"Content-Type": "application/json"}, rest.encode())
        if fault == "body":
            return self._say(200, {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}, rest.encode())
        status, headers, content = self._forward(body, drop_range=fault == "whole")
        if fault in ("take", "deaf"):
            return self._reset()
        if fault == "say":
            headers |= dict([rest.split(" ", 1)])
            self.close_connection = True  # a length may be said that does not come
        return self._say(status, headers, content, int(rest) if fault == "cut" else None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def _forward(self, body: bytes, *, drop_range: bool) -> tuple[int, dict[str, str], bytes]:
        faulty = self.faulty
        upload = re.match(r"/v2/.*/uploads/[^?]+", self.path)
        path = self.path
        if upload and self.command in ("GET", "PATCH"):
            path = faulty.sessions.get(upload[0], path)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        if drop_range:
            headers.pop("Range", None)
        if body or self.command in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(len(body))
        connection = http.client.HTTPConnection(faulty.upstream, timeout=20)
        try:
            connection.request(self.command, path, body or None, headers)
            response = connection.getresponse()
            content = response.read()
            found = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
            if self.command == "HEAD":
                found["Content-Length"] = response.headers["Content-Length"]
        finally:
            connection.close()
        if place := re.search(r"/v2/.*/uploads/[^?]+", found.get("Location", "")):
            faulty.sessions[place[0]] = found["Location"].partition(faulty.host)[2]
        return response.status, found, content

    def _say(self, status: int, headers: dict[str, str], content: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        # Closed with a time of zero, TCP sends a reset in place of an end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@contextmanager
def faulty(upstream: str) -> Iterator[Faulty]:
    """A proxy on a free port."""
    made = Faulty(upstream)
    handler = type("Handler", (_Handler,), {"faulty": made})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        made.host, made.server = f"127.0.0.1:{server.server_port}", server
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
