"""What the server answers, and what it refuses: paths, limits, admission and the drain."""

import asyncio
import logging
import math
import resource
import threading
import time
from typing import Any

from numpy.typing import NDArray

import content_coding
import extensions
import predict
import prometheus
import protocol
from connection import JSON, Connection, HTTPError, Request
from inference import Model
from metrics import Metrics
from protocol import Call
from request_log import Log
from routes import MODEL_PATH, ROUTES, Action
from tensors import encode
from workers import Workers

MAX_BODY = 64 * 2**20  # bytes of one request's body
FREE_BODY = 16 * 2**10  # bytes of a body that the budget does not count, for small requests beside large ones
BODY_BUDGET = max(2 * MAX_BODY, 16 * 2**20)  # bytes of all bodies, arriving, waiting and at work
MAX_QUEUE = 256  # requests that wait for a thread, small ones and large ones each
DRAIN_SECONDS = 8.0  # after SIGTERM, for accepted requests to finish
MAX_CONNECTIONS = 4096  # or fewer, where the process may open fewer files
BACKLOG = 128  # connections that may be accepted in one go, before they are counted
SPARE_FILES = 64  # for the model, the interpreter, and those that are refused
MAX_REFUSED = 32  # connections that are told that there are too many; more are just closed
BINARY = b"application/octet-stream"  # an answer that is not JSON alone
CSV = b"text/csv; charset=utf-8"
TICK_SECONDS = 0.5  # between looks at the connections' deadlines
LOG_SECONDS = 10  # between two lines about the same thing


class App:
    """What is behind all connections; it is used in the event loop's thread alone."""

    def __init__(self, model: Model, threads: int) -> None:
        """Call it in the event loop."""
        self.draining = False
        self.thread = threading.get_ident()
        self.metrics = Metrics(self)
        self.body_bytes = 0  # of the budget
        self.connections: set[Connection] = set()
        self.workers = Workers(model, threads, MAX_QUEUE, self.metrics)
        self.requests: Log | None = None  # where they are logged
        self._most = count_connections()
        self._occupied = asyncio.Event()  # set while there are connections
        self._logged: dict[str, tuple[float, int]] = {}

    # What connections ask.

    def opened(self, connection: Connection) -> HTTPError | None:
        """Take a new connection, or say why not."""
        self.connections.add(connection)
        self._occupied.set()
        if len(self.connections) <= self._most:
            return None
        self.log(f"more than {self._most} connections: new ones are refused")
        if len(self.connections) > self._most + MAX_REFUSED:
            connection.abort()
            return None
        return make_busy("there are too many connections", 1)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if not self.connections:
            self._occupied.clear()

    def check(self, request: Request) -> HTTPError | None:
        """Say why a request is refused, if its line and headers show it."""
        route, method, headers = ROUTES.get(request.path), request.method, request.headers
        if route is None:
            return HTTPError(404, f"nothing is at {request.path!r}; the model is at {MODEL_PATH!r}")
        if method not in route.methods:
            return make_not_allowed(method, route.methods)
        if method == b"POST":
            if b"content-encoding" in headers and content_coding.find_coding(headers) is None:
                return make_unsupported()
            kind = headers.get(b"content-type", b"")
            if route.answer is Action.PREDICT and not predict.is_taken(kind):
                return make_untaken(kind)
            if self.draining:
                return make_busy("the server is stopping", 1)
        if request.length > MAX_BODY:
            return make_too_large()
        return None

    def charge(self, request: Request) -> HTTPError | None:
        """Count the bytes that a body has by now, or say why they are too many."""
        size = len(request.body)
        if size <= FREE_BODY:
            return None
        if size > MAX_BODY:
            return make_too_large()
        self.body_bytes += size - FREE_BODY - request.charged
        request.charged = size - FREE_BODY
        if self.body_bytes > BODY_BUDGET:
            self.log(f"more than {BODY_BUDGET} bytes of bodies: large requests are refused")
            return make_busy("too many large requests are arriving", 1)
        return None

    def release(self, request: Request) -> None:
        """Give back what the request's body was charged."""
        self.body_bytes -= request.charged
        request.charged = 0

    def count(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.metrics.count_answer(status, seconds)

    def record(
        self, connection: Connection, request: Request | None, seconds: float, status: int, size: int
    ) -> bytes:
        """Count an answer, and log it if answers are logged; return headers to add to it."""
        self.count(status, seconds)
        if self.requests is None:
            return b""
        return self.requests.put_request(connection.remote, request, seconds, status, size)

    def handle(self, request: Request) -> None:
        """Answer a request, or have it run."""
        if request.refusal:
            self.refuse(request, request.refusal)
            return
        answer = ROUTES[request.path].answer
        if answer is Action.INFER or answer is Action.PREDICT:
            task = HTTPTask(self, request) if answer is Action.INFER else PredictTask(self, request)
            if seconds := self.workers.submit(task):
                self.refuse(request, make_busy("too many requests are waiting", seconds))
        elif answer is Action.METRICS:
            text = prometheus.write_metrics(self.metrics.read())
            request.connection.answer(request, 200, text, content_type=prometheus.MEDIA_TYPE)
        elif answer is Action.STATISTICS:
            statistics = {"model_stats": [extensions.describe_statistics(self.metrics.read())]}
            request.connection.answer(request, 200, encode(statistics))
        elif self.draining and answer.unready is not None:
            request.connection.answer(request, 503, answer.unready)
        else:
            request.connection.answer(request, answer.status, answer.body, answer.headers, answer.media_type)

    def refuse(self, request: Request, error: HTTPError) -> None:
        """Answer with an error."""
        request.connection.answer(request, error.status, error.body, error.headers)

    # What goes on beside the requests.

    def log(self, message: str, failure: BaseException | None = None) -> None:
        """Log, but the same message once in a while only: a client must not be able to fill a disk."""
        last, missed = self._logged.get(message, (-math.inf, 0))
        if time.monotonic() - last < LOG_SECONDS:
            self._logged[message] = (last, missed + 1)
            return
        if len(self._logged) > 100:
            self._logged.clear()
        self._logged[message] = (time.monotonic(), 0)
        logging.error("%s%s", message, f" ({missed} more since)" if missed else "", exc_info=failure)

    async def tick(self) -> None:
        """End the connections whose deadline has passed, for ever."""
        while True:
            await self._occupied.wait()  # a server that nobody uses does not even wake up
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.expire(now)

    async def drain(self) -> None:
        """Be unready, refuse new requests, and wait for those that were accepted."""
        self.draining = True
        deadline = time.monotonic() + DRAIN_SECONDS
        while left := [connection for connection in self.connections if connection.busy]:
            if time.monotonic() > deadline:
                logging.error("%d requests are unanswered after %g seconds", len(left), DRAIN_SECONDS)
                return
            await asyncio.sleep(0.02)


class HTTPTask:
    """A prediction that a client asked for over HTTP, by the protocol."""

    __slots__ = ("_answer", "_app", "_body", "_coding", "_headers", "_kind", "_request", "size")

    def __init__(self, app: App, request: Request) -> None:
        self._app = app
        self._request = request
        self._answer: bytes
        self._kind = JSON  # of the answer
        self._headers = b""  # of the answer
        self._coding = b""  # of the body
        if b"content-encoding" in request.headers:
            self._coding = content_coding.find_coding(request.headers) or b""
        self._body: bytes | bytearray = request.body
        self.size = len(request.body)
        if self._coding:
            if plain := content_coding.inflate_small(request.body, self._coding):
                self._body, self._coding, self.size = plain, b"", len(plain)
            else:  # nobody knows before it is inflated: it does not go before smaller ones
                self.size = min(MAX_BODY, content_coding.RATIO * self.size)

    @property
    def alive(self) -> bool:
        """Return whether anybody still waits for the answer."""
        return self._request.connection.alive

    def read(self) -> Call:
        """Read the request; ValueError if it is wrong."""
        if not self._coding:
            return self._read_body(self._body)
        return content_coding.use_inflated(self._body, self._coding, MAX_BODY, self._read_body)

    def write(self, call: Call, results: dict[str, NDArray[Any]]) -> None:
        """Make the answer, compressed if the client asks; a large one not in the event loop."""
        body = self._answer = self._make_answer(call, results)
        if len(body) < content_coding.LEAST:
            return
        self._headers += b"vary: accept-encoding\r\n"
        coding = content_coding.choose_coding(self._request.headers.get(b"accept-encoding", b""))
        if coding and (len(body) <= content_coding.SMALL or threading.get_ident() != self._app.thread):
            self._headers += b"content-encoding: %b\r\n" % coding
            self._answer = content_coding.compress(body, coding)

    def finish(self, failure: BaseException | None) -> None:
        """Send the answer, or say why there is none."""
        request = self._request
        if failure is None:
            request.connection.answer(request, 200, self._answer, self._headers, self._kind)
        elif isinstance(failure, content_coding.TooLargeError):
            self._app.refuse(request, make_too_large())
        elif isinstance(failure, ValueError):
            self._app.refuse(request, HTTPError(400, str(failure)))
        else:
            self._app.log(f"{request.method.decode()} {request.path} failed", failure)
            self._app.refuse(request, HTTPError(500, "internal error: see the server's log"))

    def drop(self) -> None:
        """Forget it: the client has left."""
        self._request.connection.drop(self._request)

    def _read_body(self, body: bytes | bytearray) -> Call:
        return protocol.read(body, self._request.headers.get(b"inference-header-content-length"))

    def _make_answer(self, call: Call, results: dict[str, NDArray[Any]]) -> bytes:
        body, length = protocol.write(call, results)
        if length is not None:
            self._kind = BINARY
            self._headers = b"inference-header-content-length: %d\r\n" % length
        return body


class PredictTask(HTTPTask):
    """A prediction that a person asked for, with what there was at hand."""

    __slots__ = ("_single",)

    def _read_body(self, body: bytes | bytearray) -> Call:
        arrays, self._single = predict.read(body, self._request.headers.get(b"content-type", b""))
        return Call(arrays, {}, None)

    def _make_answer(self, call: Call, results: dict[str, NDArray[Any]]) -> bytes:
        accepted = self._request.headers.get(b"accept", b"").lower()
        if b"text/csv" in accepted and JSON not in accepted:
            self._kind = CSV
            return predict.write_table(results)
        return predict.write(results, self._single)


def make_busy(reason: str, seconds: int) -> HTTPError:
    """Refuse a request that may succeed later."""
    return HTTPError(503, f"{reason}: try again in {seconds} s", b"retry-after: %d\r\n" % seconds)


def make_not_allowed(method: bytes, allowed: tuple[bytes, ...]) -> HTTPError:
    """Refuse a method."""
    reason = f"{method.decode()} is not possible here, only {allowed[0].decode()}"
    return HTTPError(405, reason, b"allow: %b\r\n" % b", ".join(allowed))


def make_untaken(kind: bytes) -> HTTPError:
    """Refuse a body for what it is."""
    served = b"accept: %b\r\n" % b", ".join((*predict.READERS, predict.FORM))
    reason = f"Content-Type {kind.decode('latin-1')!r} is not taken here: send {predict.TAKES}"
    return HTTPError(415, reason, served)


def make_unsupported() -> HTTPError:
    """Refuse a body for its coding."""
    served = b"accept-encoding: gzip, deflate\r\n"
    return HTTPError(415, "Content-Encoding must be gzip, deflate or identity", served)


def make_too_large() -> HTTPError:
    """Refuse a body for its size."""
    return HTTPError(413, f"the body is larger than {MAX_BODY} bytes")


def count_connections() -> int:
    """Return how many connections leave files to spare: without any a process cannot even refuse."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(files - SPARE_FILES - BACKLOG, files // 4))
