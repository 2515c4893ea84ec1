"""The life of a worker: it loads the model, listens, and drains."""

import asyncio
import gc
import os
import signal
import sys
from contextlib import suppress

from app import BACKLOG, App
from connection import Connection
from inference import NAME, VERSION, Model, cpu_count
from request_log import open_log
from sharing import Acceptor
from supervisor import READY, WORKERS, Place
from warming import warm_up

THREADS = max(1, cpu_count() // WORKERS)  # for one prediction: the workers share the container's CPUs


def load() -> Model:
    """Load the model and run it once."""
    model = Model(threads=THREADS)
    with suppress(ValueError):  # the model may refuse zeros; what it takes, the requests will show
        model.warm_up()
    return model


async def serve(place: Place) -> None:
    """Load the model, serve until SIGTERM or the supervisor's end, and drain."""
    log = open_log()
    loop = asyncio.get_running_loop()
    # Another thread loads the model, so that this one can take signals; there is nothing to finish yet.
    loop.add_signal_handler(signal.SIGTERM, os._exit, 0)
    loop.add_reader(place.lifeline, os._exit, 1)
    try:
        model = await asyncio.to_thread(load)
    except Exception as error:
        sys.exit(f"{NAME}: {error}")
    app = App(model, THREADS, place)
    await warm_up(app)
    app.requests = log
    gc.freeze()  # what stays for good is not looked through again: that takes tens of milliseconds
    told = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)  # twice too: it may come to all, and be passed on

    def lose_supervisor() -> None:
        loop.remove_reader(place.lifeline)
        told.set()

    loop.add_reader(place.lifeline, lose_supervisor)
    port = place.socket.getsockname()[1]
    try:
        server = Acceptor(place.socket, BACKLOG, lambda: Connection(app), app.metrics.has_most_connections)
    except OSError as error:
        sys.exit(f"{NAME}: cannot listen on port {port}: {error.strerror}")
    os.kill(os.getppid(), READY)
    who = f"worker {place.row + 1} of {WORKERS}"
    message = f"{NAME} {VERSION}: {who}, port {port}, {model.threads} threads"
    if log:
        log.put("info", message)
    else:
        print(message, file=sys.stderr)
    ticking = loop.create_task(app.tick())
    await told.wait()
    await app.drain()
    server.close()
    ticking.cancel()
    if log:
        log.close()


def main(place: Place) -> None:
    """Serve until told to stop."""
    asyncio.run(serve(place))
    sys.stderr.flush()
    os._exit(0)  # threads that still run the model cannot be interrupted, and have nobody to answer
