"""2 processes that serve one port: they are started, watched, started again, and stopped together.

This process loads nothing. It binds the port, and forks workers, which load the model and take connections
from the one socket. The first worker loads alone, and the port opens when it is ready; then the others load.
"""

import argparse
import json
import mmap
import os
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from typing import NamedTuple

NAME = "iris"
WORKERS = 2
PORT = int(os.environ.get("ONNXPACK_PORT", "8080"))
ROW = 64 * 2**10  # bytes of memory that a worker counts in; all workers and this process share them
NOW = 7 * 8  # bytes at a row's start that are no counts, but tell how things are
QUICK_SECONDS = 10  # a worker that dies sooner, twice one after the other, will do so again
STOP_SECONDS = 13.0  # for all workers to stop: they drain, and then have nothing to wait for
YEARS = 1e9  # seconds that are as good as for ever
STOP = (signal.SIGTERM, signal.SIGINT)
READY = signal.SIGUSR1  # a worker takes requests
WATCHED = (*STOP, READY, signal.SIGCHLD)


class Place(NamedTuple):
    """What a worker is given."""

    row: int  # of the memory, and its number among the workers
    socket: socket.socket
    memory: mmap.mmap
    lifeline: int  # a pipe that ends when the supervisor does, however that is


class Worker(NamedTuple):
    """A process that serves, or will when it is ready."""

    row: int
    started: float


class Supervisor:
    """Starts workers and watches them. All signals are waited for, so that none comes at a bad time."""

    def __init__(self, listener: socket.socket) -> None:
        self._socket = listener
        self._memory = mmap.mmap(-1, WORKERS * ROW)
        self._lifeline, self._held = os.pipe()
        self._workers: dict[int, Worker] = {}  # by process id
        self._quick_deaths = [0] * WORKERS
        self._ready = False  # at least one was
        self._stopping = False
        self._killed = False
        self._deadline = time.monotonic() + YEARS
        self._status = 0

    def run(self) -> int:
        """Serve until told to stop; return the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        self._start(0)
        while self._workers:
            told = signal.sigtimedwait(WATCHED, max(0.0, self._deadline - time.monotonic()))
            if told and told.si_signo in STOP:
                self._stop()
            elif told and told.si_signo == READY:
                self._ready = True
                self._fill()
            elif not told:
                say(f"{len(self._workers)} workers did not stop in {STOP_SECONDS:g} seconds")
                self._status = 1
                self._kill()
            self._bury_all()
        return self._status

    def _start(self, row: int) -> None:
        """Fork a worker; in the new process this does not return."""
        sys.stderr.flush()
        try:
            process = os.fork()
        except OSError as error:
            say(f"cannot start a worker: {error.strerror}")
            self._status = 1
            self._stop()
            return
        if process:
            self._workers[process] = Worker(row, time.monotonic())
            return
        os.close(self._held)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; this process passes it on
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        import serving

        serving.main(Place(row, self._socket, self._memory, self._lifeline))

    def _fill(self) -> None:
        """Start the workers that are missing."""
        there = {worker.row for worker in self._workers.values()}
        for row in range(WORKERS):
            if row not in there and not self._stopping:
                self._start(row)

    def _stop(self) -> None:
        """Have all workers drain and end; the second time, end them."""
        if self._stopping:
            self._kill()
            return
        self._stopping = True
        self._deadline = time.monotonic() + STOP_SECONDS
        for process in self._workers:
            os.kill(process, signal.SIGTERM)

    def _kill(self) -> None:
        self._killed = True
        self._deadline = time.monotonic() + YEARS
        for process in self._workers:
            os.kill(process, signal.SIGKILL)

    def _bury_all(self) -> None:
        """Take note of the processes that ended, also of those that a container's first process inherits."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not process:
                return
            if worker := self._workers.pop(process, None):
                start = worker.row * ROW
                self._memory[start : start + NOW] = bytes(NOW)
                self._replace(worker, process, os.waitstatus_to_exitcode(status))

    def _replace(self, worker: Worker, process: int, code: int) -> None:
        """Start a worker again, unless all end."""
        if self._stopping:
            if code and not self._killed:
                say(f"{describe(worker, process, code)} while it drained")
                self._status = 1
            return
        if not self._ready and code > 0:  # it could not load the model, and said why
            self._status = 1
            self._stop()
            return
        seconds = time.monotonic() - worker.started
        quick = self._quick_deaths
        quick[worker.row] = quick[worker.row] + 1 if seconds < QUICK_SECONDS else 0
        death = f"{describe(worker, process, code)} after {seconds:.0f} s"
        if quick[worker.row] > 1:
            say(f"{death}, soon for the second time: all end")
            self._status = 1
            self._stop()
        else:
            say(f"{death}: it is started again")
            self._start(worker.row)


def describe(worker: Worker, process: int, code: int) -> str:
    """Describe how a worker ended."""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    return f"worker {worker.row + 1} (process {process}) {how}"


def say(message: str) -> None:
    """Log a line, in the form that the workers' lines have."""
    line = f"{NAME}: {message}"
    if os.environ.get("ONNXPACK_LOG"):
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": now, "level": "error", "message": line})
    print(line, file=sys.stderr, flush=True)


def bind(host: str, port: int) -> socket.socket:
    """Take the port; it opens when a worker listens."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        sys.exit(f"{NAME}: cannot listen on port {port}: {error.strerror}")
    return listener


def main() -> None:
    """Serve until told to stop. Exit status: 1 if a worker cannot start, or twice dies soon."""
    parser = argparse.ArgumentParser("python -m server", description=f"Serve {NAME} over HTTP.")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=PORT, help="default: $ONNXPACK_PORT, or %(default)s")
    arguments = parser.parse_args()
    with bind(arguments.host, arguments.port) as listener:
        sys.exit(Supervisor(listener).run())
