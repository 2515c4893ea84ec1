"""The life of a server that a command runs: it starts, gets ready, is told of, and is asked to stop."""

import errno
import socket
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from typing import Protocol

from onnxpack.core.errors import EngineError, GateError, SpecError
from onnxpack.core.interrupts import afterwards

HOST = "127.0.0.1"
"""Where a server listens: for this machine alone."""
_PATIENCE = 600.0
"""Seconds for a server to be ready: a model of many gigabytes is loaded in minutes."""
_PERIOD, _LOOK = 0.02, 0.25
"""Seconds between two looks whether a server is ready, and whether a ready one still runs."""


class Server(Protocol):
    """A server that is not started yet."""

    port: int
    """The port of this machine that it answers on."""

    def start(self) -> None:
        """Start it.

        Raises:
            EngineError: what runs it does not do its part.
        """

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""

    def stop(self) -> None:
        """Ask it to stop, and wait until it has answered what it accepted; end it at once if it was not started."""


def serve(server: Server, tell: Callable[[int], None]) -> None:
    """Run a server until ctrl-C or SIGTERM; call ``tell`` with its port when it is ready.

    Raises:
        GateError: it ended by itself, or does not get ready.
        EngineError: its port is taken, or what runs it fails.
    """
    require_free(server.port)
    try:
        with afterwards(server.stop):
            server.start()
            _wait_until_ready(server)
            tell(server.port)
            while (status := server.poll()) is None:
                time.sleep(_LOOK)
            raise GateError(f"the server ended by itself: exit status {status}", "see what it said above")
    except KeyboardInterrupt:
        return  # that is how it is asked to stop


def require_free(port: int) -> None:
    """Require that a port of this machine can be listened on.

    Raises:
        SpecError: it cannot be, for an ordinary user.
        EngineError: another program has it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise SpecError(f"port {port} is for root alone", "choose one above 1023 by --port") from None
            if error.errno != errno.EADDRINUSE:
                raise
            message = f"port {port} is taken: another program listens there"
            raise EngineError(message, "choose another one by --port, or stop that program") from None


def _wait_until_ready(server: Server) -> None:
    end = time.monotonic() + _PATIENCE
    while not _is_ready(server.port):
        status = server.poll()
        if status is not None:
            raise GateError(f"the server ended before it was ready: exit status {status}", "see what it said above")
        if time.monotonic() > end:
            raise GateError(f"the server was not ready within {_PATIENCE:g} s", "see what it said above")
        time.sleep(_PERIOD)


def _is_ready(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
