"""Generated servers as child processes, and requests for the one of transactions."""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

INFER = "/v2/models/transactions/infer"


@dataclass
class Server:
    """A generated server in its own process."""

    process: subprocess.Popen[str]
    port: int
    grpc_port: int | None = None

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """One request and its JSON answer, which must be strict JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            assert response.headers["content-type"] == "application/json"
            text = response.read()
            return response.status, json.loads(text, parse_constant=pytest.fail) if text else None
        finally:
            connection.close()

    def infer(self, document: object) -> tuple[int, Any]:
        """Ask for a prediction."""
        return self.ask("POST", INFER, json.dumps(document).encode())

    def connect(self) -> socket.socket:
        """A connection of a client that does as it likes."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def listens(self) -> bool:
        """Whether the port is open."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def memory_peak(self) -> int:
        """The most memory that the process ever had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def metric(self, name: str) -> float:
        """A figure of /metrics."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    def cpu_seconds(self) -> float:
        """The CPU time that the process took so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> str:
        """End it as an engine does, and give what it logged besides its first line."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors
        return errors.partition("\n")[2]


def start(folder: Path, change: str = "", files: int = 0, **variables: str) -> Server:
    """Start a generated server, after some Python that changes its modules, with so many files if not as many as we."""
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, grpc_port = probe.getsockname()[1], other.getsockname()[1]
    changed = f"import app, connection, serving, server\n{change}\nserver.main()"
    program = ["-c", changed] if change else ["-m", "server"]
    command = [sys.executable, *program, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--grpc-port", str(grpc_port)] if (folder / "rpc.py").exists() else []
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "error", **variables}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    if files:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (files, files))  # it reads this when it has loaded
    server = Server(process, port, grpc_port)
    wait_until(lambda: server.listens() or process.poll() is not None)
    return server


def copy_without_model(app: Path, folder: Path) -> None:
    """Copy the files of a generated server but its model."""
    for path in app.iterdir():
        if path.is_file() and path.name != "model.onnx":
            (folder / path.name).write_bytes(path.read_bytes())


@contextlib.contextmanager
def serving(folder: Path, change: str = "", files: int = 0, **variables: str) -> Iterator[Server]:
    """A generated server that must stop cleanly."""
    server = start(folder, change, files, **variables)
    try:
        yield server
        server.stop()
    finally:
        server.process.kill()
        server.process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens within 30 seconds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "this did not happen in 30 seconds"
        time.sleep(0.01)


def request(**changes: object) -> dict[str, Any]:
    """A good request of one account with two transactions; its score is 12 + 40 + 2."""
    inputs = [
        {"name": "dates", "datatype": "FP32", "shape": [1, 2, 6], "data": [1] * 12},
        {"name": "input_ids", "datatype": "INT64", "shape": [1, 2, 20], "data": [1] * 40},
        {"name": "amounts", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]},
    ]
    return {"inputs": inputs, **changes}


def with_input(index: int, **changes: object) -> dict[str, Any]:
    document = request()
    document["inputs"][index].update(changes)
    return document


def post(body: bytes, *headers: str, path: str = INFER) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def all_of(client: socket.socket) -> bytes:
    """Whatever comes until the server closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))
