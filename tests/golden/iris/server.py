"""iris 1.0.0 over HTTP: the Open Inference Protocol, version 2.

    GET   /v2                    what this server is
    GET   /v2/health/live        whether it runs
    GET   /v2/health/ready       whether requests are taken; the port opens once the model is loaded
    GET   /metrics               counters for Prometheus
    GET   /openapi.json          all this for tools, with an example
    GET   /v2/models/iris        what goes in and what comes out
    GET   /v2/models/iris/ready  the same for this model
    POST  /v2/models/iris/infer  a prediction, from JSON or binary tensors

Those of the model also answer below /v2/models/iris/versions/1.0.0.
An error is {"error": "why"} with a status of 400, 404, 405, 408, 413, 415, 431, 500, 501 or 503.
"""

import argparse
import asyncio
import logging
import math
import os
import resource
import signal
import sys
import time
from contextlib import suppress

from connection import JSON, Connection, HTTPError, Request
from inference import NAME, VERSION, Model, cpu_count
from metrics import TEXT, Metrics
from protocol import Answer, encode, infer, metadata, openapi
from workers import Workers

PORT = int(os.environ.get("ONNXPACK_PORT", "8080"))
MAX_BODY = 76 * 2**10  # bytes of one request's body
FREE_BODY = 16 * 2**10  # bytes of a body that the budget does not count, for small requests beside large ones
BODY_BUDGET = max(2 * MAX_BODY, 16 * 2**20)  # bytes of all bodies, arriving, waiting and at work
MAX_QUEUE = 256  # requests that wait for a thread, small ones and large ones each
DRAIN_SECONDS = 8.0  # after SIGTERM, for accepted requests to finish
MAX_CONNECTIONS = 4096  # or fewer, where the process may open fewer files
SPARE_FILES = 64  # for the model, the interpreter, and those that are refused
MAX_REFUSED = 32  # connections that are told that there are too many; more are just closed
BACKLOG = 128  # connections that may be accepted in one go, before they are counted
INLINE_BODY = 16 * 2**10  # bytes of a body up to which a request may run in the event loop
INLINE_SECONDS = 0.0005  # and what it may take there: handing it to a thread takes a fifth of that
TICK_SECONDS = 0.5  # between looks at the connections' deadlines
LOG_SECONDS = 10  # between two lines about the same thing

MODEL_PATHS = (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/{VERSION}")
INFER_PATHS = {f"{path}/infer" for path in MODEL_PATHS}
READY_PATHS = {"/v2/health/ready", *(f"{path}/ready" for path in MODEL_PATHS)}
# The port opens only when the model is loaded, so that nothing here changes before the end.
DOCUMENTS = {
    "/v2": encode({"name": NAME, "version": VERSION, "extensions": ["binary_tensor_data"]}),
    "/v2/health/live": encode({"live": True}),
    "/v2/health/ready": encode({"ready": True}),
    "/openapi.json": encode(openapi()),
    **{path: encode(metadata()) for path in MODEL_PATHS},
    **{f"{path}/ready": encode({"name": NAME, "ready": True}) for path in MODEL_PATHS},
}
NOT_READY = {
    path: encode({"ready": False} if path == "/v2/health/ready" else {"name": NAME, "ready": False})
    for path in READY_PATHS
}


class App:
    """What is behind all connections. Everything but `work` happens in the event loop's thread."""

    def __init__(self, model: Model, threads: int) -> None:
        """Call it in the event loop."""
        self.draining = False
        self.metrics = Metrics(self)
        self.body_bytes = 0  # of the budget
        self.connections: set[Connection] = set()
        self.workers = Workers(self.work, is_alive, self.done, threads, MAX_QUEUE)
        self._model = model
        self._most = max_connections()
        self._logged: dict[str, tuple[float, int]] = {}

    # What connections ask.

    def opened(self, connection: Connection) -> HTTPError | None:
        """Take a new connection, or say why not."""
        self.connections.add(connection)
        if len(self.connections) <= self._most:
            return None
        self.log(f"more than {self._most} connections: new ones are refused")
        if len(self.connections) > self._most + MAX_REFUSED:
            connection.abort()
            return None
        return busy("there are too many connections", 1)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)

    def check(self, request: Request) -> HTTPError | None:
        """Say why a request is refused, if its line and headers show it."""
        path, method, headers = request.path, request.method, request.headers
        if path in DOCUMENTS or path == "/metrics":
            if method not in (b"GET", b"HEAD"):
                return not_allowed(method, "GET, HEAD")
        elif path not in INFER_PATHS:
            return HTTPError(404, f"nothing is at {path!r}; the model is at {MODEL_PATHS[0]!r}")
        elif method != b"POST":
            return not_allowed(method, "POST")
        elif headers.get(b"content-encoding", b"identity") != b"identity":
            return HTTPError(415, "the body must not be compressed")
        elif self.draining:
            return busy("the server is stopping", 1)
        if int(headers.get(b"content-length", b"0")) > MAX_BODY:
            return too_large()
        return None

    def charge(self, request: Request) -> HTTPError | None:
        """Count the bytes that a body has by now, or say why they are too many."""
        size = len(request.body)
        if size <= FREE_BODY:
            return None
        if size > MAX_BODY:
            return too_large()
        self.body_bytes += size - FREE_BODY - request.charged
        request.charged = size - FREE_BODY
        if self.body_bytes > BODY_BUDGET:
            self.log(f"more than {BODY_BUDGET} bytes of bodies: large requests are refused")
            return busy("too many large requests are arriving", 1)
        return None

    def release(self, request: Request) -> None:
        """Give back what the request's body was charged."""
        self.body_bytes -= request.charged
        request.charged = 0

    def count(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.metrics.count(status, seconds)

    def handle(self, request: Request) -> None:
        """Answer a request, or have it run."""
        path = request.path
        if request.refusal:
            self.refuse(request, request.refusal)
        elif path in INFER_PATHS:
            if len(request.body) <= INLINE_BODY and self.workers.now(request, INLINE_SECONDS):
                return
            if seconds := self.workers.submit(request):
                self.refuse(request, busy("too many requests are waiting", seconds))
        elif path == "/metrics":
            request.connection.answer(request, 200, self.metrics.text(), content_type=TEXT)
        elif self.draining and path in READY_PATHS:
            request.connection.answer(request, 503, NOT_READY[path])
        else:
            request.connection.answer(request, 200, DOCUMENTS[path])

    # What the workers do.

    def work(self, request: Request) -> Answer:
        """Make a prediction, mostly in a thread."""
        return infer(self._model, request.body, request.headers.get(b"inference-header-content-length"))

    def done(self, request: Request, answer: Answer | None, failure: BaseException | None) -> None:
        """Answer a request that ran, or forget it because its client had left before."""
        if answer:
            headers, kind = b"", JSON
            if answer.json_length is not None:
                headers = b"inference-header-content-length: %d\r\n" % answer.json_length
                kind = b"application/octet-stream"
            request.connection.answer(request, 200, answer.body, headers, kind)
        elif isinstance(failure, ValueError):
            self.refuse(request, HTTPError(400, str(failure)))
        elif failure:
            self.log(f"{request.method.decode()} {request.path} failed", failure)
            self.refuse(request, HTTPError(500, "internal error: see the server's log"))
        else:
            request.connection.drop(request)

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


def is_alive(request: Request) -> bool:
    """Whether anybody waits for the answer."""
    return request.connection.alive


def busy(reason: str, seconds: int) -> HTTPError:
    """Refuse a request that may succeed later."""
    return HTTPError(503, f"{reason}: try again in {seconds} s", b"retry-after: %d\r\n" % seconds)


def not_allowed(method: bytes, allowed: str) -> HTTPError:
    """Refuse a method."""
    word, headers = method.decode("latin-1"), f"allow: {allowed}\r\n".encode()
    return HTTPError(405, f"{word} is not possible here, only {allowed.split(',')[0]}", headers)


def too_large() -> HTTPError:
    """Refuse a body for its size."""
    return HTTPError(413, f"the body is larger than {MAX_BODY} bytes")


def max_connections() -> int:
    """How many connections leave files to spare: a process without any can neither accept nor refuse."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(files - SPARE_FILES - BACKLOG, files // 4))


def load() -> Model:
    """Load the model and run it once."""
    model = Model()
    with suppress(ValueError):  # the model may refuse zeros; what it takes, the requests will show
        model.warm_up()
    return model


async def serve(host: str, port: int) -> None:
    """Load the model, serve until SIGTERM or SIGINT, and drain."""
    loop = asyncio.get_running_loop()
    # Until requests are served there is nothing to wait for: just go. (A container's process 1 has no default
    # action.) Another thread loads, so that this one can take signals.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, os._exit, 0)
    try:
        model = await asyncio.to_thread(load)
    except Exception as error:
        sys.exit(f"{NAME}: {error}")
    app = App(model, cpu_count())
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: os._exit(0) if told.is_set() else told.set())
    try:
        server = await loop.create_server(lambda: Connection(app), host, port, backlog=BACKLOG)
    except OSError as error:
        sys.exit(f"{NAME}: cannot listen on port {port}: {error.strerror}")
    print(f"{NAME} {VERSION}: port {port}, {model.threads} threads", file=sys.stderr)
    ticking = loop.create_task(app.tick())
    await told.wait()
    await app.drain()
    server.close()
    ticking.cancel()


def main() -> None:
    """Serve until told to stop. Exit status: 0 after SIGTERM, 1 if the model cannot be loaded."""
    parser = argparse.ArgumentParser("python -m server", description=f"Serve {NAME} {VERSION} over HTTP.")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=PORT, help="default: $ONNXPACK_PORT, or %(default)s")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.host, arguments.port))
    sys.stderr.flush()
    os._exit(0)  # threads that still run the model cannot be interrupted, and have nobody to answer


if __name__ == "__main__":
    main()
