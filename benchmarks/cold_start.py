"""Measures how an image starts, beside a bare script in the same image, and writes the figures into docs/images.md.

Run by `scripts/engine run -- .venv/bin/python benchmarks/cold_start.py [ROUNDS]`. The bare script imports numpy and
onnxruntime, makes a session, runs it once, and prints what came out. Both containers are started by `docker run` with
the same options, in turn, in an order that is drawn anew in each round; a server has answered when its answer is the
script's. Medians of the rounds are told.
"""

import contextlib
import json
import os
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import docker
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from common import replace_made

from onnxpack.timing.probe import time_first

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/images.md"
ROUNDS = 9
PATIENCE = 60  # seconds, for an answer
IDLE_SECONDS = 30  # three health checks
ROW = [5.1, 3.5, 1.4, 0.2]
BODY = json.dumps({"inputs": [{"name": "float_input", "datatype": "FP32", "shape": [1, 4], "data": ROW}]})
MEMORY = """
for line in open("/proc/%s/status"):
    if line.startswith("VmHWM"): peak = int(line.split()[1]) * 1024
print(peak)
"""
BARE = (
    """
import numpy, onnxruntime
session = onnxruntime.InferenceSession("/opt/onnxpack/app/model.onnx", providers=["CPUExecutionProvider"])
label, probabilities = session.run(None, {"float_input": numpy.array([ROW], numpy.float32)})
print([label.tolist(), probabilities.ravel().tolist()], flush=True)
""".replace("ROW", str(ROW))
    + MEMORY % "self"
)
EMPTY = "print([])"
SERVER, SCRIPT, CONTAINER = "server: `docker run` to the first correct answer", "bare script", "`docker run` of nothing"


@dataclass(frozen=True)
class Start:
    """A start that was measured."""

    seconds: float
    answer: Any
    peak_bytes: int = 0


def main(rounds: int) -> None:
    """Build iris, measure, and write the table."""
    with tempfile.TemporaryDirectory(prefix="onnxpack-cold-start-") as folder:
        report = build(Path(folder))
    image = report["image"]["reference"]
    expected = run_script(image, BARE).answer
    starts = {
        SERVER: lambda: start_server(image, expected),
        SCRIPT: lambda: run_script(image, BARE),
        CONTAINER: lambda: run_script(image, EMPTY),
    }
    figures: dict[str, list[Start]] = defaultdict(list)
    for _ in range(rounds):
        for name in random.sample(list(starts), len(starts)):
            figures[name].append(starts[name]())
    idle = measure_idle(image)
    first = statistics.median(compare_first_answer(image) for _ in range(rounds))
    text = describe(figures, idle, first, report)
    PAGE.write_text(replace_made(PAGE.read_text(), "benchmarks/cold_start.py", text))
    print(text)


def build(folder: Path) -> dict[str, Any]:
    """Build the image; return the report."""
    command = [sys.executable, "-m", "onnxpack", "build", str(ROOT / "specs/iris"), "--output", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "iris/cpu/report.json").read_text())
    return found


def find_port() -> int:
    """Return a port of the loopback interface that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def make_command(name: str, port: int, *words: str) -> list[str]:
    """Return the `docker run` that both kinds of container are started by."""
    return ["docker", "run", "--rm", "--read-only", "--name", name, "-p", f"127.0.0.1:{port}:8080", *words]


@contextlib.contextmanager
def removing() -> Iterator[str]:
    """Give a container's name, and see that it is gone afterwards."""
    name = f"onnxpack-cold-start-{secrets.token_hex(6)}"
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True)


def run_script(image: str, script: str) -> Start:
    """Run a script in the image until it has printed its first line."""
    with removing() as name:
        started = time.perf_counter()
        command = make_command(name, find_port(), "--entrypoint", "python3", image, "-c", script)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            answer = json.loads(process.stdout.readline())
            seconds = time.perf_counter() - started
            rest = process.stdout.read()
        if process.returncode:
            raise SystemExit("the script failed")
    return Start(seconds, answer, int(rest or 0))


@contextlib.contextmanager
def serving(image: str) -> Iterator[tuple[str, int, float]]:
    """Start the server, and give the container's name, its port and when it was started, once it says that it is ready.

    It is waited for and not asked: two cores would show the questions.
    """
    with removing() as name:
        port = find_port()
        started = time.perf_counter()
        with subprocess.Popen(make_command(name, port, image), stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr
                if not any("port 8080" in line for line in process.stderr):
                    raise SystemExit("the server did not start")
                yield name, port, started
            finally:
                process.kill()  # it is the client; the container is removed behind this


def start_server(image: str, expected: Any) -> Start:
    """Start the server, and ask it once it is there."""
    with serving(image) as (name, port, started):
        answer = ask(port)
        seconds = time.perf_counter() - started
        if not are_equal(answer, expected):
            raise SystemExit(f"the server answers {answer}, and the script {expected}")
        peak = subprocess.check_output(["docker", "exec", name, "python3", "-c", MEMORY % 1])
    return Start(seconds, answer, int(peak))


def ask(port: int) -> Any:
    """Ask for a prediction; return the data of its tensors."""
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        return send(connection)


def send(connection: HTTPConnection) -> Any:
    """Send the request, and read the answer."""
    connection.request("POST", "/v2/models/iris/infer", BODY, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return [tensor["data"] for tensor in json.loads(response.read())["outputs"]]


def compare_first_answer(image: str) -> float:
    """Return how many times as long as later answers the first one takes, as a build measures it."""
    with (
        serving(image) as (_, port, _),
        contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection,
    ):
        connection.request("GET", "/v2/health/ready")
        connection.getresponse().read()
        times = time_first(lambda: send(connection))
    return times["first_answer_seconds"] / times["later_answer_seconds"]


def are_equal(answer: Any, expected: Any) -> bool:
    """Return whether the numbers are the same as float32: a server writes no more digits than tell them apart."""
    pairs = zip(answer, expected, strict=True)
    return all(np.array_equal(np.float32(left), np.float32(right)) for left, right in pairs)


def measure_idle(image: str) -> tuple[float, float]:
    """Return the share of one CPU that a server which nobody asks takes, and that its container takes in all."""
    with serving(image) as (name, _, _):
        time.sleep(2)
        before = read_cpu(name)
        time.sleep(IDLE_SECONDS)
        after = read_cpu(name)
    server, whole = ((late - early) / IDLE_SECONDS for early, late in zip(before, after, strict=True))
    return server, whole


def read_cpu(name: str) -> tuple[float, float]:
    """Return the CPU seconds that the server has used, and that its container has with all that was run in it."""
    client = docker.from_env().api
    try:
        whole = client.stats(name, stream=False)["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        process = client.inspect_container(name)["State"]["Pid"]
    finally:
        client.close()
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), whole


def describe(figures: dict[str, list[Start]], idle: tuple[float, float], first: float, report: dict[str, Any]) -> str:
    """Return the table, and what follows from it."""
    rounds = len(figures[SERVER])
    seconds = {name: statistics.median(start.seconds for start in starts) for name, starts in figures.items()}
    peaks = {name: statistics.median(start.peak_bytes for start in figures[name]) / 1e6 for name in (SERVER, SCRIPT)}
    lines = [
        f"Medians of {rounds} rounds on {os.cpu_count()} shared cores, with a load of {os.getloadavg()[2]:.0f}.",
        "",
        "| what | time | peak memory |",
    ]
    lines.append("|---|---|---|")
    for name in (CONTAINER, SCRIPT, SERVER):
        memory = f"{peaks[name]:.0f} MB" if name in peaks else ""
        lines.append(f"| {name} | {seconds[name]:.2f} s | {memory} |")
    server, whole = (share * 100 for share in idle)
    ratio, more = seconds[SERVER] / seconds[SCRIPT], peaks[SERVER] - peaks[SCRIPT]
    packages, model = (layer["size_bytes"] / 1e6 for layer in report["image"]["layers"][-2:])
    lines += [
        "",
        f"The server takes {ratio:.2f} times as long as the script, and {more:.0f} MB more.",
        f"While nobody asks, it takes {server:.2f} % of a CPU, and its health checks {whole - server:.2f} %.",
        f"Once it is ready, its first answer takes {first:.2f} times as long as later ones.",
        f"The layer of the packages has {packages:.1f} MB, and that of the model {model:.2f} MB.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
