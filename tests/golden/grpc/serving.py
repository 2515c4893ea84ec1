"""The life of the server: it loads the model, listens, and drains."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from contextlib import suppress

import rpc
from app import BACKLOG, App
from connection import Connection
from inference import NAME, VERSION, Model, cpu_count
from request_log import open_log
from warming import warm_up

PORT = int(os.environ.get("ONNXPACK_PORT", "8080"))
GRPC_PORT = int(os.environ.get("ONNXPACK_GRPC_PORT", PORT + 1))


def load() -> Model:
    """Load the model and run it once."""
    model = Model()
    with suppress(ValueError):  # the model may refuse zeros; what it takes, the requests will show
        model.warm_up()
    return model


async def serve(host: str, port: int, grpc_port: int) -> None:
    """Load the model, serve until SIGTERM or SIGINT, and drain."""
    log = open_log()
    loop = asyncio.get_running_loop()
    # Another thread loads the model, so that this one can take signals; there is nothing to finish yet.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, os._exit, 0)
    try:
        model = await asyncio.to_thread(load)
    except Exception as error:
        sys.exit(f"{NAME}: {error}")
    app = App(model, cpu_count())
    await warm_up(app)
    app.requests = log
    gc.freeze()  # what stays for good is not looked through again: that takes tens of milliseconds
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: os._exit(0) if told.is_set() else told.set())
    try:
        calls = await rpc.start(app, host, grpc_port)
    except OSError as error:
        sys.exit(f"{NAME}: cannot listen on port {grpc_port}: {error.strerror}")
    try:
        server = await loop.create_server(lambda: Connection(app), host, port, backlog=BACKLOG)
    except OSError as error:
        sys.exit(f"{NAME}: cannot listen on port {port}: {error.strerror}")
    ports = f"port {port}, gRPC on port {grpc_port}"
    message = f"{NAME} {VERSION}: {ports}, {model.threads} threads"
    if log:
        log.put("info", message)
    else:
        print(message, file=sys.stderr)
    ticking = loop.create_task(app.tick())
    await told.wait()
    await app.drain()
    await calls.stop(0)  # all accepted ones are answered, or have had their time
    server.close()
    ticking.cancel()
    if log:
        log.close()


def main() -> None:
    """Read the command line, and serve until told to stop."""
    parser = argparse.ArgumentParser("python -m server", description=f"Serve {NAME} {VERSION} over HTTP.")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=PORT, help="default: $ONNXPACK_PORT, or %(default)s")
    told = "default: $ONNXPACK_GRPC_PORT, or %(default)s"
    parser.add_argument("--grpc-port", type=int, default=GRPC_PORT, help=told)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.host, arguments.port, arguments.grpc_port))
    sys.stderr.flush()
    os._exit(0)  # threads that still run the model cannot be interrupted, and have nobody to answer
