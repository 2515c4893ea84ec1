"""The Open Inference Protocol over gRPC, and the health service that Kubernetes asks.

Each prediction passes the admission, the queue and the threads that those over HTTP pass. gRPC keeps what
arrives, so a message is read only when there is room for the largest one.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

os.environ["GRPC_VERBOSITY"] = "NONE"  # else the import below logs whatever clients do wrong

import grpc
from numpy.typing import NDArray

import messages
import triton_messages
from app import BODY_BUDGET, FREE_BODY, MAX_BODY, MAX_QUEUE, App, count_connections
from connection import HEAD_SECONDS, IDLE_SECONDS
from protocol import Call
from wire import LENGTH, Reader, read_text, write_number

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2  # of HealthCheckResponse
MAX_CALLS = 2 * MAX_QUEUE + 64  # predictions that are read, wait, run or are answered
MORE_CALLS = 256  # all others, such as questions about health
MAX_STREAMS = 256  # of one connection; what is beyond waits at the client
READ_SECONDS = 10  # for a message to arrive, and to wait until it may
OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port that another process listens on is an error
    ("grpc.max_receive_message_length", MAX_BODY),
    ("grpc.max_send_message_length", -1),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: little data could become a lot
    # What nobody has read yet stays small: 16 KiB of each stream, and never more.
    ("grpc.http2.lookahead_bytes", 16 * 2**10),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.max_allowed_incoming_connections", count_connections()),
    ("grpc.server_handshake_timeout_ms", HEAD_SECONDS * 1000),
    ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
    # A client that takes nothing of its answers can only be ended with its connection. Others reconnect.
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
HTTP_STATUSES = {  # under which calls are counted
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.DEADLINE_EXCEEDED: 408,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
}


class CallError(Exception):
    """A call is answered with a status instead of a message.

    gRPC keeps it and the frames that it passed until garbage is collected: they must hold nothing large.
    """

    def __init__(self, code: Any, details: str, retry: int = 0) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.retry = retry  # the seconds after which it is worth another try


def explain(failure: ValueError) -> CallError:
    """Say what is wrong with a call's message."""
    unknown = isinstance(failure, messages.UnknownModelError)
    code = grpc.StatusCode.NOT_FOUND if unknown else grpc.StatusCode.INVALID_ARGUMENT
    return CallError(code, str(failure))


def make_busy(reason: str, seconds: int) -> CallError:
    """Refuse a call that may succeed later."""
    return CallError(grpc.StatusCode.UNAVAILABLE, f"{reason}: try again in {seconds} s", seconds)


class RPCTask:
    """A prediction that a client asked for over gRPC."""

    __slots__ = ("_answer", "_app", "_body", "_charged", "done", "size")

    def __init__(self, app: App, body: bytes) -> None:
        self.size = len(body)
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._app = app
        self._body = body
        self._answer = b""
        self._charged = max(0, len(body) - FREE_BODY)
        app.body_bytes += self._charged

    @property
    def alive(self) -> bool:
        """Return whether anybody still waits for the answer."""
        return not self.done.done()

    def read(self) -> Call:
        """Read the request; ValueError if it is wrong."""
        return messages.read(self._body)

    def write(self, call: Call, results: dict[str, NDArray[Any]]) -> None:
        """Make the answer."""
        self._answer = messages.write(call, results)

    def finish(self, failure: BaseException | None) -> None:
        """Hand over the answer, or say why there is none."""
        self.release()
        if self.done.done():  # the client has left, or its deadline has passed
            return
        if failure is None:
            self.done.set_result(self._answer)
            self._answer = b""
        elif isinstance(failure, ValueError):
            self.done.set_exception(explain(failure))
        else:
            self._app.log(f"ModelInfer of {SERVICE} failed", failure)
            message = "internal error: see the server's log"
            self.done.set_exception(CallError(grpc.StatusCode.INTERNAL, message))

    def drop(self) -> None:
        """Forget it: the client has left."""
        self.release()

    def release(self) -> None:
        """Give back what the request's message was charged."""
        self._app.body_bytes -= self._charged
        self._charged = 0
        self._body = b""


class Service:
    """What is called over gRPC; it is used in the event loop's thread alone."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._slots = asyncio.Semaphore(max(4, BODY_BUDGET // MAX_BODY))  # messages that arrive at a time
        self._unsent = 0  # bytes of answers

    async def infer(self, requests: Any, context: Any) -> bytes:
        """Answer ModelInfer."""
        app, began, length, status = self._app, time.monotonic(), 0, 499
        call = asyncio.current_task()
        assert call is not None

        def end(_: object) -> None:
            app.calls -= 1
            self._unsent -= length

        app.calls += 1
        call.add_done_callback(end)  # when the answer is sent
        try:
            answer = await self._predict(context)
            if self._unsent and self._unsent + len(answer) > BODY_BUDGET:
                app.log(f"more than {BODY_BUDGET} bytes of answers are not taken: others are thrown away")
                del answer
                raise make_busy("clients do not take their answers", 1)
            length, status = len(answer), 200
            self._unsent += length
            return answer
        except CallError as refusal:
            status = HTTP_STATUSES[refusal.code]
            await abort(context, refusal)
            raise
        finally:
            app.count(status, time.monotonic() - began)

    async def _predict(self, context: Any) -> bytes:
        app = self._app
        if app.draining:
            raise make_busy("the server is stopping", 1)
        if app.calls > MAX_CALLS:
            app.log(f"more than {MAX_CALLS} calls: new ones are refused")
            raise make_busy("too many requests are waiting", 1)
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise make_busy("too many requests are arriving", 1) from None
        try:
            task = RPCTask(app, await receive(context))
        finally:
            self._slots.release()
        if app.body_bytes > BODY_BUDGET:
            task.release()
            app.log(f"more than {BODY_BUDGET} bytes of bodies: large requests are refused")
            raise make_busy("too many large requests are arriving", 1)
        if seconds := app.workers.submit(task):
            task.release()
            raise make_busy("too many requests are waiting", seconds)
        return await task.done

    async def check_health(self, requests: Any, context: Any) -> bytes:
        """Answer grpc.health.v1.Health/Check."""
        name = read_text(await ask(context, {1: (LENGTH,)}), 1)
        if name not in ("", SERVICE):
            await abort(context, CallError(grpc.StatusCode.NOT_FOUND, f"there is no service {name!r}"))
        return write_number(1, NOT_SERVING if self._app.draining else SERVING)

    def tell(self, make: Callable[[], bytes], about_model: bool = False) -> Callable[..., Awaitable[bytes]]:
        """Return what answers with a message, for this model or for the server."""

        async def answer(requests: Any, context: Any) -> bytes:
            request = await ask(context, messages.MODEL)
            try:
                if about_model:
                    messages.check_model(request)
            except ValueError as error:
                await abort(context, explain(error))
            return make()

        return answer

    async def tell_statistics(self, requests: Any, context: Any) -> bytes:
        """Answer ModelStatistics, for this model or for all, which is the same."""
        request = await ask(context, messages.MODEL)
        if request:
            try:
                messages.check_model(request)
            except ValueError as error:
                await abort(context, explain(error))
        return triton_messages.describe_statistics(self._app.metrics.read())

    def list_methods(self) -> dict[str, dict[str, Callable[..., Awaitable[bytes]]]]:
        """Return what answers, by service and method."""
        metadata, server = messages.describe_model(), messages.describe_server()
        config, index = triton_messages.describe_config(), triton_messages.describe_index()
        inference = {
            "ServerLive": self.tell(lambda: messages.tell(True)),
            "ServerReady": self.tell(lambda: messages.tell(not self._app.draining)),
            "ModelReady": self.tell(lambda: messages.tell(not self._app.draining), about_model=True),
            "ServerMetadata": self.tell(lambda: server),
            "ModelMetadata": self.tell(lambda: metadata, about_model=True),
            "ModelInfer": self.infer,
            "ModelConfig": self.tell(lambda: config, about_model=True),
            "ModelStatistics": self.tell_statistics,
            "RepositoryIndex": self.tell(lambda: index),
        }
        return {SERVICE: inference, HEALTH: {"Check": self.check_health}}


async def receive(context: Any) -> bytes:
    """Wait for the message of a call."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await context.read()
    except TimeoutError:
        details = f"the message took more than {READ_SECONDS} seconds"
        raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, details) from None
    if not isinstance(body, bytes):
        raise CallError(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
    return body


async def ask(context: Any, kinds: Mapping[int, Sequence[int]]) -> messages.Message:
    """Wait for the message of a call that needs no model, and return its fields."""
    try:
        return Reader(messages.MAX_FIELDS).read(memoryview(await receive(context)), kinds)
    except CallError as refusal:
        await abort(context, refusal)
    except ValueError as error:
        await abort(context, explain(error))
    raise AssertionError("a call that was aborted goes on")


async def abort(context: Any, refusal: CallError) -> None:
    """End a call with a status; it raises what ends the handler."""
    metadata = (("grpc-retry-pushback-ms", str(1000 * refusal.retry)),) if refusal.retry else ()
    await context.abort(refusal.code, refusal.details, metadata)


async def start(app: App, host: str, port: int) -> Any:
    """Listen on a port; OSError if that cannot be."""
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MAX_CALLS + MORE_CALLS)
    # Handlers of streams: they decide when a message is read.
    for service, methods in Service(app).list_methods().items():
        handlers = {name: grpc.stream_unary_rpc_method_handler(method) for name, method in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(None, "it is in use, or not allowed") from error
    await server.start()
    return server
