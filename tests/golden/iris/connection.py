"""HTTP/1.1: one Connection for each client. It reads requests, has them handled, and sends the answers.

A client decides nothing about this process's memory or time: what it sends is read only while nothing of it
waits for an answer, and everything that it may be slow at has a deadline.
"""

import asyncio
import json
import math
import socket
import time
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote

import httptools

MAX_HEAD = 64 * 2**10  # bytes of a request's line and headers, as much as common proxies let through
SMALL_BODY = 16 * 2**10  # bytes of a body that are kept as they came, where they came in one piece
MAX_DISCARDED = 64 * 2**10  # bytes of an unwanted body that are read, so that the connection can go on
PIECE = 8 * 2**10  # bytes parsed at a time: the parser cannot be stopped, and may find a request in every 18
READ = 16 * 2**10  # bytes read at a time besides what a body still lacks, and bytes of answers that may wait
FIRST_SECONDS = 10  # for a new connection's first byte
HEAD_SECONDS = 10  # for a request's line and headers, from their first byte
BODY_SECONDS = 30  # for a request's body
IDLE_SECONDS = 75  # between requests: load balancers keep connections for less, and so close them first
WRITE_SECONDS = 30  # for a client to take any part of its answer
LINGER_SECONDS = 2  # for a refused client to read why, before what it still sends resets the connection
LINGER_BYTES = 64 * 2**20  # thrown away meanwhile: many clients read only when they have sent all
TCP_CLOSE = 7  # the state in Linux's tcp_info once the other side has reset the connection

JSON = b"application/json"
OK_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
STATUS_LINES = {int(code): b"HTTP/1.1 %d %b\r\n" % (code, code.phrase.encode()) for code in HTTPStatus}


BUFFER = memoryview(bytearray(256 * 2**10))  # for all connections: what is read is parsed or copied at once


class HTTPError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str, headers: bytes = b"") -> None:
        super().__init__(reason if len(reason) <= 500 else f"{reason[:500]}...")
        self.status = status
        self.headers = headers

    @property
    def body(self) -> bytes:
        """The answer's body."""
        return json.dumps({"error": str(self)}, separators=(",", ":")).encode()


@lru_cache(256)
def read_path(url: bytes) -> str:
    """Return the path of a URL, without a slash at its end unless that is all."""
    if b"?" in url or not url.startswith(b"/"):
        try:
            url = httptools.parse_url(url).path or b"/"
        except httptools.HttpParserError:
            return url.decode("latin-1")
    text = url.decode("latin-1")
    return (unquote(text) if "%" in text else text).rstrip("/") or "/"


class Request:
    """A request, from its first byte until its answer."""

    __slots__ = (
        "body",
        "charged",
        "connection",
        "headers",
        "keep_alive",
        "length",
        "method",
        "path",
        "refusal",
        "started",
        "url",
    )

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.started = time.monotonic()
        self.method = b""
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.path = ""  # known once all headers are
        self.length = 0  # bytes of the body, as the headers tell it
        self.body: bytes | bytearray = b""
        self.charged = 0  # bytes of the application's budget that the body takes
        self.keep_alive = True
        self.refusal: HTTPError | None = None


class Application(Protocol):
    """What a connection needs of the application."""

    draining: bool

    def opened(self, connection: "Connection") -> HTTPError | None:
        """Take a new connection, or say why not."""

    def closed(self, connection: "Connection") -> None:
        """Forget a connection."""

    def check(self, request: Request) -> HTTPError | None:
        """Say why a request is refused, if its line and headers show it."""

    def charge(self, request: Request) -> HTTPError | None:
        """Count the bytes that a body has by now, or say why they are too many."""

    def release(self, request: Request) -> None:
        """Give back what the request's body was charged."""

    def handle(self, request: Request) -> None:
        """Answer the request by ``Connection.answer``, at once or later."""

    def record(
        self, connection: "Connection", request: Request | None, seconds: float, status: int, size: int
    ) -> bytes:
        """Count an answer, and log it if answers are logged; return headers to add to it."""


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, app: Application) -> None:
        self.deadline = time.monotonic() + FIRST_SECONDS
        self._app = app
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._reading: Request | None = None  # the request whose parts arrive
        self._in_body = False
        self._lacking = 0  # bytes of the body, as far as its length was told
        self._raw = 0  # bytes of the head or of the body as they came, framing included
        self._discarded = 0
        self._fault: HTTPError | None = None  # found by the parser's callbacks, told when it returns
        self._pipeline: deque[Request] = deque()  # read and not answered; the first is at work
        self._working = False  # the first of the pipeline was handed to the application
        self._serving = False
        self._unread = b""  # arrived while the pipeline was full
        self._paused = False
        self._writable = True
        self._unsent = 0  # bytes that the client had not taken when the deadline was set
        self._half_closed = False
        self._lingering = False
        self._gone = False

    # The event loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=READ)
        if refusal := self._app.opened(self):
            self._refuse(refusal)

    def connection_lost(self, error: Exception | None) -> None:
        """End: nothing can be read or answered any more."""
        self._gone = True
        if self._reading:
            self._app.release(self._reading)
        for request in list(self._pipeline)[self._working :]:  # a body in use is released by `answer`
            self._app.release(request)
        self._app.closed(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to put what comes next, and so how much may come at once."""
        if self._lingering:
            return BUFFER
        return BUFFER[: READ + self._lacking]

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what arrived, or keep it while there is something to answer first."""
        if self._lingering:
            self._discarded += nbytes
            if self._discarded > LINGER_BYTES:
                self._transport.abort()
        elif self._unread or self._pipeline or not self._writable:
            self._keep(self._unread + BUFFER[:nbytes])
        elif nbytes <= PIECE:
            self._feed(BUFFER[:nbytes])
        else:
            self._parse(BUFFER[:nbytes])

    def eof_received(self) -> bool:
        """Answer a client that has only shut its own side; the rest of the pipeline too."""
        if self._lingering or not (self._pipeline or self._unread):
            return False
        self._half_closed = True
        if self._working and self._parser.get_http_version() != "1.0":
            # A client that is gone looks the same, but resets at a 100, which may be sent at any time.
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def pause_writing(self) -> None:
        """Answer nothing more until the client has taken what it was sent."""
        self._writable = False
        self._wait_for_client()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self._unsent = 0
        if self._lingering:
            self.deadline = time.monotonic() + LINGER_SECONDS
            return
        self._restart_clock(time.monotonic())
        self._serve()

    # The parser's side. What is raised here would be lost in it: faults are kept for `_feed`.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._fault:
            return
        self._reading = Request(self)
        self._in_body = False
        self._raw = 0
        self._discarded = 0
        self.deadline = self._reading.started + HEAD_SECONDS

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        if self._reading:
            self._reading.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a body have no meaning here."""
        if self._reading and not self._in_body:
            self._reading.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Refuse what need not be read."""
        request = self._reading
        if request is None or self._fault:
            return
        self._in_body = True
        self._raw = 0
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive()
        self.deadline = time.monotonic() + BODY_SECONDS
        if self._parser.should_upgrade():
            return  # `_feed` begins the request again without that wish
        request.path = read_path(request.url)
        length = request.length = self._lacking = int(request.headers.get(b"content-length", b"0"))
        request.refusal = self._app.check(request)
        if request.refusal and (length > MAX_DISCARDED or b"expect" in request.headers):
            self._fault = request.refusal
        elif b"expect" in request.headers and not self._pipeline and not request.refusal:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        request = self._reading
        self._lacking = max(0, self._lacking - len(data))
        if request is None or self._fault:
            return
        if request.refusal:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self._fault = request.refusal
            return
        if not request.body and len(data) == request.length <= SMALL_BODY:
            request.body = data
            return
        if not isinstance(request.body, bytearray):
            request.body = bytearray()
        request.body += data
        self._fault = self._app.charge(request)

    def on_message_complete(self) -> None:
        """Queue the request; `_serve` takes it when the parser has returned."""
        if self._reading and not self._fault and not self._parser.should_upgrade():
            self._pipeline.append(self._reading)
            self._reading = None
            self._in_body = False
            self._raw = 0
            self.deadline = math.inf

    # The application's side.

    @property
    def alive(self) -> bool:
        """Whether anybody is there to take an answer."""
        if self._gone or self._transport.is_closing():
            return False
        if not (self._half_closed or self._paused):
            return True
        sock: socket.socket = self._transport.get_extra_info("socket")
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return state[0] != TCP_CLOSE

    @property
    def remote(self) -> str:
        """Return the client's address."""
        address = self._transport.get_extra_info("peername")
        return str(address[0]) if address else ""

    @property
    def busy(self) -> bool:
        """Whether a request was begun, or an answer not taken."""
        accepted = self._pipeline or self._in_body or self._unread
        return bool(accepted or self._transport.get_write_buffer_size())

    def answer(
        self, request: Request, status: int, body: bytes, headers: bytes = b"", content_type: bytes = JSON
    ) -> None:
        """Send the answer of the request at work."""
        now = time.monotonic()
        if request.charged:
            self._app.release(request)
        bodiless = request.method == b"HEAD"
        size = 0 if bodiless else len(body)
        headers += self._app.record(self, request, now - request.started, status, size)
        self._working = False
        if self._gone:
            return
        self._pipeline.popleft()
        last = not request.keep_alive or (self._app.draining and not self._pipeline)
        last = last or (self._half_closed and not self._pipeline and not self._unread)
        self._send(status, body, headers, content_type, last, bodiless)
        if last:
            for other in self._pipeline:  # what follows a wish to close is not answered
                self._app.release(other)
            self._pipeline.clear()
            self._unread = b""
            self._transport.close()
            self._wait_for_client()
            return
        if self._writable:
            self._restart_clock(now)
        if not self._serving:
            self._serve()

    def abort(self) -> None:
        """Close at once, without a word."""
        self._transport.abort()

    def drop(self, request: Request) -> None:
        """Forget the request at work, whose client is gone."""
        self._app.release(request)
        self._working = False
        if not self._gone:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """End the connection if its deadline has passed."""
        if now < self.deadline:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent and unsent < self._unsent:
            self._wait_for_client()  # slow, but it moves
        elif self._working and not unsent:
            self.deadline = math.inf
        elif self._lingering or unsent or not self._reading or self._fault:
            self._transport.abort()
        elif self._in_body:
            self._refuse(HTTPError(408, f"the body took more than {BODY_SECONDS} seconds"))
        else:
            self._refuse(HTTPError(408, f"the headers took more than {HEAD_SECONDS} seconds"))

    # Inside.

    def _parse(self, data: memoryview) -> None:
        start = 0
        while start < len(data):
            if self._pipeline or not self._writable:
                self._keep(bytes(data[start:]))
                return
            end = start + max(PIECE, self._lacking)  # in what a body still lacks there is no request
            self._feed(data[start:end])
            if self._lingering or self._transport.is_closing():
                return
            start = end

    def _keep(self, data: bytes) -> None:
        """Keep what cannot be answered yet, and let the kernel keep what comes after it."""
        self._unread = data
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _feed(self, piece: memoryview) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(bytes(piece[upgrade.args[0] :]))
            return
        except httptools.HttpParserError as error:
            self._fault = self._fault or HTTPError(400, f"this is not HTTP/1.1: {error}")
        if request := self._reading:
            self._raw += len(piece)
            # Chunks have frames, and lines may follow them: as many bytes as the body and another head have.
            taken = len(request.body) + self._discarded
            limit = MAX_HEAD + PIECE + 2 * taken if self._in_body else MAX_HEAD
            if self._raw > limit and not self._fault:
                where = "frames of the body's chunks" if self._in_body else "request's line and headers"
                self._fault = HTTPError(431, f"the {where} are larger than {MAX_HEAD} bytes")
        self._serve()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request as if it offered no other protocol, as Java's client offers HTTP/2."""
        request, self._reading = self._reading, None
        self._parser = httptools.HttpRequestParser(self)
        if request is None or request.method == b"CONNECT":
            self._fault = self._fault or HTTPError(501, "this is no proxy")
            self._serve()
            return
        lines = [b"%b %b HTTP/1.1" % (request.method, request.url)]
        headers = request.headers.items()
        lines += [b"%b: %b" % item for item in headers if item[0] not in (b"upgrade", b"connection")]
        self._feed(memoryview(b"\r\n".join(lines) + b"\r\n\r\n" + rest))

    def _serve(self) -> None:
        """Have requests answered in their order, one at a time; then read on."""
        if self._serving:
            return
        self._serving = True
        while self._pipeline and self._writable and not self._transport.is_closing():
            self._working = True
            self._app.handle(self._pipeline[0])
            if self._working:  # the answer comes later, and calls this again
                break
        self._serving = False
        if self._pipeline or self._lingering or self._transport.is_closing():
            return
        if self._fault:
            self._refuse(self._fault)
        elif self._writable and self._unread:
            data, self._unread = self._unread, b""
            self._parse(memoryview(data))
        elif self._writable and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _refuse(self, error: HTTPError) -> None:
        """Answer what cannot be read on, and close; what still comes is thrown away for a moment."""
        request, self._reading = self._reading, None
        seconds = 0.0
        if request:
            seconds = time.monotonic() - request.started
            self._app.release(request)
        self._in_body = False
        self._unread = b""
        self._discarded = 0
        self._lingering = True
        headers = error.headers + self._app.record(self, request, seconds, error.status, len(error.body))
        self._send(error.status, error.body, headers, JSON, last=True)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self.deadline = time.monotonic() + LINGER_SECONDS

    def _send(
        self, status: int, body: bytes, headers: bytes, kind: bytes, last: bool, bodiless: bool = False
    ) -> None:
        if status == 200 and kind is JSON and len(body) < PIECE and not (headers or last or bodiless):
            self._transport.write(OK_JSON % (len(body), body))  # as most answers are
            return
        content = b"" if status == HTTPStatus.NO_CONTENT else b"content-type: %b\r\ncontent-length: %d\r\n"
        head = b"%b%b%b%b\r\n" % (
            STATUS_LINES[status],
            content and content % (kind, len(body)),
            headers,
            b"connection: close\r\n" if last else b"",
        )
        if bodiless:
            self._transport.write(head)
        elif len(body) < PIECE:
            self._transport.write(head + body)
        else:  # one copy less
            self._transport.writelines((head, body))

    def _restart_clock(self, now: float) -> None:
        """Give the client its time for what comes next: all of it while a request of its is at work."""
        if self._pipeline:
            self.deadline = math.inf
        elif self._reading:
            self.deadline = now + (BODY_SECONDS if self._in_body else HEAD_SECONDS)
        else:
            self.deadline = now + IDLE_SECONDS

    def _wait_for_client(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = time.monotonic() + WRITE_SECONDS
