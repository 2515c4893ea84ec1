"""Taking connections from a socket that several workers share, so that each gets its part.

Linux wakes all of them for each connection, always in the same order: without more, the first one would take
nearly all. So a worker that has more connections than another leaves the next one to it for a moment.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

PATIENCE = 0.005  # seconds for others to take a connection; then they are busy, or hang
PAUSE = 1.0  # seconds until the next try when there are no files left


class Acceptor:
    """Takes connections in the event loop, one at a time."""

    def __init__(
        self,
        listener: socket.socket,
        backlog: int,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        has_most: Callable[[], bool],
    ) -> None:
        """Open the port; ``has_most`` says whether this worker has more connections than another one."""
        self._listener = listener
        self._make_protocol = make_protocol
        self._has_most = has_most
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._retry: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        listener.listen(backlog)
        self._loop.add_reader(listener, self._accept_in_turn)

    def close(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._listener)
        if self._retry:
            self._retry.cancel()

    def _accept_in_turn(self) -> None:
        if self._has_most():
            self._wait(PATIENCE)
        else:
            self._accept()

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._retry = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._loop.add_reader(self._listener, self._accept_in_turn)
        self._accept()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another took it, or it is gone
            return
        except OSError as error:
            logging.error("cannot take a connection: %s", error.strerror)
            self._wait(PAUSE)
            return
        client.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._make_protocol, client))
        self._tasks.add(task)  # the event loop itself would forget it
        task.add_done_callback(self._tasks.discard)
