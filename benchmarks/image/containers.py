"""Start a container, and see when it answers rightly and what memory it takes."""

import contextlib
import http.client
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.image.models import Question
from benchmarks.image.processes import RunError, run
from benchmarks.serving.processes import find_port, read_peak

_PATIENCE = 60
"""Seconds until the first answer."""
_PAUSE = 0.02
"""Seconds between two attempts: seldom enough to leave the server its CPU."""
_REQUESTS = 20
"""How many answers a server has given when its memory is read."""


@dataclass(frozen=True)
class Start:
    """The seconds from `docker run` to the first correct answer, and the megabytes of all processes' peaks."""

    seconds: float
    memory: float


def start(image: str, path: str, question: Question) -> Start:
    """Start an image, ask until it answers, and remove its container.

    Raises:
        RunError: it answers wrongly, or not at all.
    """
    name, port = f"onnxpack-image-{secrets.token_hex(6)}", find_port()
    started = time.perf_counter()
    command = ["docker", "run", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:8080", image]
    with _running(command, name) as process:
        answer = _ask_until_answered(process, port, path, question)
        seconds = time.perf_counter() - started
        if trouble := question.check(answer):
            raise RunError(trouble)
        for _ in range(_REQUESTS):
            _ask(port, path, question)
        facts = json.loads(run(["docker", "inspect", name]))[0]
        return Start(seconds, sum(map(read_peak, find_family(facts["State"]["Pid"]))))


def find_family(root: int) -> list[int]:
    """Return a process and all that it started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


@contextlib.contextmanager
def _running(command: list[str], name: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True)
            process.kill()  # it is the client; the container is removed


def _ask_until_answered(process: subprocess.Popen[bytes], port: int, path: str, question: Question) -> bytes:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RunError(f"the container ended with status {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return _ask(port, path, question)
        time.sleep(_PAUSE)
    raise RunError(f"no answer within {_PATIENCE} s")


def _ask(port: int, path: str, question: Question) -> bytes:
    """Send the question.

    Raises:
        OSError: nobody listens yet.
        HTTPException: the server is not ready.
    """
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        connection.request("POST", path, question.body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"{response.status} {body[:200]!r}")
        return body
