"""Speak HTTP/1.1 over a socket of one's own, within a time and a size: also what no client library would send."""

import contextlib
import http.client
import io
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from onnxpack.core.text import clean

MAX_BODY = 64 * 2**20  # bytes of an answer; a longer one is a fault
_SHOWN = 240  # characters of a body in a reason


class NoAnswerError(Exception):
    """A server kept silent, or sent what is no HTTP."""


class ClosedError(NoAnswerError):
    """A server closed the connection."""


@dataclass(frozen=True)
class Address:
    """Where a server listens, and the path that its endpoints begin with."""

    host: str
    port: int
    secure: bool = False
    prefix: str = ""


@dataclass(frozen=True)
class Answer:
    """A response; the names of its headers are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.status} {show_bytes(self.body)}".rstrip()


def show_bytes(body: bytes) -> str:
    """Return the beginning of a body as one line."""
    return clean(body[: 2 * _SHOWN].decode("utf-8", "backslashreplace"), _SHOWN)


def read_address(url: str) -> Address:
    """Read the URL of a server.

    Raises:
        ValueError: it is no URL of HTTP; the text says why.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must look like http://HOST:PORT")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("it must have no user, query or fragment")
    secure = parts.scheme == "https"
    return Address(parts.hostname, parts.port or (443 if secure else 80), secure, parts.path.rstrip("/"))


class _Stream(io.RawIOBase):
    """What comes from a socket until a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self.deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


class _Buffered(io.BufferedReader):
    """A reader that stays open when a response on it ends, as another one may follow."""

    def close(self) -> None:
        pass


class _Source:
    """What http.client takes for a socket."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def makefile(self, mode: str) -> io.BufferedReader:
        return self._stream


class Connection:
    """A connection that ends by itself ``seconds`` after it was made.

    Raises:
        NoAnswerError: in all that it does, if the server takes or gives nothing.
    """

    def __init__(self, address: Address, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        try:
            self._sock = socket.create_connection((address.host, address.port), timeout=max(seconds, 0.001))
            if address.secure:
                context = ssl.create_default_context()
                self._sock = context.wrap_socket(self._sock, server_hostname=address.host)
        except (OSError, ValueError) as error:
            raise NoAnswerError(f"no connection: {error}") from error
        # The kernel would otherwise keep small pieces back until earlier ones are acknowledged.
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._raw = _Stream(self._sock, self._deadline)
        self._stream = _Buffered(self._raw)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are. A server may answer before it has read all of them, and close."""
        self._sock.settimeout(max(self._deadline - time.monotonic(), 0.001))
        with contextlib.suppress(OSError):  # `receive` tells what came of it
            self._sock.sendall(data)

    def receive(self, method: str = "POST") -> Answer:
        """Read the next answer."""
        try:
            response = http.client.HTTPResponse(cast(socket.socket, _Source(self._stream)), method=method)
            response.begin()
            body = response.read(MAX_BODY)
            if len(body) == MAX_BODY and response.read(1):
                raise NoAnswerError(f"an answer of more than {MAX_BODY} bytes")
            if response.length:  # http.client tells a short body only where it is asked for all of it
                raise http.client.IncompleteRead(body, response.length)
        except TimeoutError as error:
            raise NoAnswerError(f"no whole answer in {self._seconds:.1f} s") from error
        except (ConnectionError, http.client.RemoteDisconnected) as error:
            raise ClosedError("closed without an answer") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NoAnswerError(f"no HTTP answer: {type(error).__name__} {error}".rstrip()) from error
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)

    def receive_interim(self) -> int:
        """Read the head of an answer without a body, as a 100 is; return its status."""
        try:
            line = self._stream.readline(1000)
            while self._stream.readline(1000).strip():
                pass
            return int(line.split()[1])
        except (OSError, IndexError, ValueError) as error:
            raise NoAnswerError(f"no HTTP answer: {type(error).__name__}") from error

    def read_rest(self, seconds: float) -> bytes:
        """Return what else comes within some seconds, or until the server closes."""
        self._raw.deadline = min(self._deadline, time.monotonic() + seconds)
        try:
            return self._stream.peek(1)[:1000]
        except OSError:
            return b""
