"""iris 1.0.0 over HTTP: the Open Inference Protocol, version 2, in JSON.

    GET   /v2                    what this server is
    GET   /v2/health/live        whether it runs
    GET   /v2/health/ready       whether the model is loaded; the port is closed before that
    GET   /v2/models/iris        what goes in and what comes out
    GET   /v2/models/iris/ready  whether this model is loaded
    POST  /v2/models/iris/infer  a prediction

The last three also answer below /v2/models/iris/versions/1.0.0.
An error is {"error": "why"} with a status of 400, 404, 405, 408, 413, 415 or 500.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import uvicorn

from inference import NAME, VERSION, Model, cpu_count
from protocol import encode, infer, metadata

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PORT = int(os.environ.get("ONNXPACK_PORT", "8080"))
MAX_BODY = 64 * 2**20  # bytes
BODY_SECONDS = 30  # for a request's body to arrive
STOP_SECONDS = 8  # for accepted requests to finish: container engines kill after 10

MODEL_PATHS = (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/{VERSION}")
INFER_PATHS = {f"{path}/infer" for path in MODEL_PATHS}
# The port opens only when the model is loaded, so that nothing there is to GET ever changes.
DOCUMENTS = {
    "/v2": encode({"name": NAME, "version": VERSION, "extensions": []}),
    "/v2/health/live": encode({"live": True}),
    "/v2/health/ready": encode({"ready": True}),
    **{path: encode(metadata()) for path in MODEL_PATHS},
    **{f"{path}/ready": encode({"name": NAME, "ready": True}) for path in MODEL_PATHS},
}


class HTTPError(Exception):
    """A request that is answered with an error; ``close`` ends the connection too, read or not."""

    def __init__(self, status: int, reason: str, *, allow: str = "", close: bool = False) -> None:
        super().__init__(reason if len(reason) <= 500 else f"{reason[:500]}...")
        self.status = status
        self.headers = [(b"allow", allow.encode())] if allow else []
        self.headers += [(b"connection", b"close")] if close else []


class DisconnectedError(Exception):
    """The client went away in the middle of its request."""


class App:
    """The ASGI application. The event loop reads and answers; the model runs in threads."""

    def __init__(self, model: Model, pool: ThreadPoolExecutor) -> None:
        self._model = model
        self._pool = pool

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is."""
        status, headers = 200, []
        try:
            body = await self._answer(scope, receive)
        except DisconnectedError:
            return
        except HTTPError as error:
            status, headers, body = error.status, error.headers, encode({"error": str(error)})
        except Exception:
            logging.exception("%s %s failed", scope["method"], scope["path"])
            status, body = 500, encode({"error": "internal error: see the server's log"})
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive) -> bytes:
        path, method = scope["path"].rstrip("/"), scope["method"]
        if path in DOCUMENTS:
            if method not in ("GET", "HEAD"):
                raise HTTPError(405, f"{method} is not possible here, only GET", allow="GET, HEAD")
            return DOCUMENTS[path]
        if path not in INFER_PATHS:
            raise HTTPError(404, f"nothing is at {path!r}; the model is at {MODEL_PATHS[0]!r}")
        if method != "POST":
            raise HTTPError(405, f"{method} is not possible here, only POST", allow="POST")
        body = await read_body(dict(scope["headers"]), receive)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, infer, self._model, body)
        except ValueError as error:
            raise HTTPError(400, str(error)) from error


async def read_body(headers: dict[bytes, bytes], receive: Receive) -> bytearray:
    """Read a request's body, but never more than MAX_BODY and never for ever."""
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise HTTPError(415, "the body must not be compressed")
    if b"inference-header-content-length" in headers:
        raise HTTPError(415, "binary tensors are not supported: send the data as JSON")
    too_large = f"the body is larger than {MAX_BODY} bytes"
    if int(headers.get(b"content-length", b"0")) > MAX_BODY:
        raise HTTPError(413, too_large)
    body = bytearray()
    more = True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectedError
                body += message["body"]
                more = message["more_body"]
                if len(body) > MAX_BODY:
                    raise HTTPError(413, too_large, close=True)
    except TimeoutError:
        raise HTTPError(408, f"the body took more than {BODY_SECONDS} seconds", close=True) from None
    return body


def load() -> Model:
    """Load the model and run it once."""
    model = Model()
    with suppress(ValueError):  # the model may refuse zeros; what it takes, the requests will show
        model.warm_up()
    return model


def main() -> None:
    """Serve until told to stop. Exit status: 0 after SIGTERM, 1 if the model cannot be loaded."""
    parser = argparse.ArgumentParser("python -m server", description=f"Serve {NAME} {VERSION} over HTTP.")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=PORT, help="default: $ONNXPACK_PORT, or %(default)s")
    arguments = parser.parse_args()
    # Before uvicorn takes the signals over, and after it has finished, there is nothing to wait for: just go.
    # (A container's process 1 has no default action.) Another thread loads, so that this one can take them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    pool = ThreadPoolExecutor(cpu_count(), thread_name_prefix="infer")
    try:
        model = pool.submit(load).result()
    except Exception as error:
        sys.exit(f"{NAME}: {error}")
    print(f"{NAME} {VERSION}: port {arguments.port}, {model.threads} threads", file=sys.stderr)
    uvicorn.run(
        App(model, pool),
        host=arguments.host,
        port=arguments.port,
        http="httptools",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,  # longer than load balancers keep idle connections, so that they close first
        timeout_graceful_shutdown=STOP_SECONDS,
    )


if __name__ == "__main__":
    main()
