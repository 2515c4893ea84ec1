"""Servers as processes: start them, see them answer, read what they use, end them whole."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks.serving.client import Job, Load

READY_SECONDS = 90.0
CLIENT = Path(__file__).with_name("client.py")


class ServerError(Exception):
    """A server does not start, or does not answer as it should."""


class Server:
    """A running server, and the processes that it started."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def find_processes(self) -> list[int]:
        """Return all processes of the server: its children, and theirs, are in its session or below it."""
        found = {self.process.pid}
        rows = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                rows.append((int(path.parent.name), int(fields[1]), int(fields[3])))
        size = 0
        while size < len(found):
            size = len(found)
            found |= {pid for pid, parent, session in rows if parent in found or session == self.process.pid}
        return sorted(found)

    def read_cpu(self) -> float:
        """Return the seconds of CPU that the threads there are have used, to the nanosecond."""
        total = 0
        for pid in self.find_processes():
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with suppress(OSError):
                    total += int(path.read_text().split()[0])
        return total / 1e9

    def read_peak(self) -> float:
        """Return the peak of the resident memory of all processes together, in megabytes."""
        return sum(read_peak(pid) for pid in self.find_processes())

    def settle(self) -> None:
        """Wait until the server has done with what the last client left."""
        before = self.read_cpu()
        for _ in range(100):
            time.sleep(0.05)
            now = self.read_cpu()
            if now - before < 0.01:
                return
            before = now

    def end(self) -> None:
        """End all processes."""
        for pid in reversed(self.find_processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def read_peak(pid: int) -> float:
    """Return the peak of one process's resident memory, in megabytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def find_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run_server(command: list[str], variables: dict[str, str], folder: Path, port: int) -> Iterator[Server]:
    """Run a server until the end of the block.

    Raises:
        ServerError: its port does not open; the last that it said is the message.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=variables, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        server = Server(process, port)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not is_open(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = log.read().decode(errors="replace").split()
                    raise ServerError(f"it does not start: {' '.join(said[-40:])}")
                time.sleep(0.05)
            yield server
        finally:
            server.end()


def is_open(port: int) -> bool:
    """Say whether somebody listens."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def ask_once(port: int, request: bytes) -> tuple[bytes, int]:
    """Return the body of the first success, and the length of the JSON in it; servers may open before they are ready.

    Raises:
        ServerError: no success.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        failure = ""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(request)
                response = http.client.HTTPResponse(client)
                response.begin()
                body = response.read()
        except (OSError, http.client.HTTPException) as error:
            failure = repr(error)
        else:
            if response.status == 200:
                return body, int(response.headers.get("inference-header-content-length", len(body)))
            failure = f"{response.status} {body[:300]!r}"
        if time.monotonic() > deadline or failure.startswith("4"):
            raise ServerError(f"it does not answer: {failure}")
        time.sleep(0.1)


def apply_load(job: Job) -> Load:
    """Let a client process do a job.

    Raises:
        ServerError: the client could not go on, or got an answer that is no success.
    """
    command = [sys.executable, "-S", "-B", str(CLIENT), json.dumps(asdict(job))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        raise ServerError("the client did not come back within 60 s") from None
    if done.returncode:
        raise ServerError(done.stderr.strip().rpartition("\n")[2])
    load = Load(**json.loads(done.stdout))
    if load.failures or not load.answers:
        raise ServerError(f"{load.failures} of {load.failures + load.answers} answers are failures: {load.failure}")
    return load
