"""Compares servers of the iris forest, and writes the figures into docs/serving.md.

Run by `.venv/bin/python benchmarks/serving/compare.py`, with uvicorn installed for the server as it was. All run in
turn, in an order that is drawn anew in each round; medians of the rounds are told. The client is this process.
"""

import json
import os
import random
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from common import replace_made

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/serving.md"
BEFORE = "7c979e5"
"""The last commit whose server is on uvicorn."""
ROUNDS = 5
SECONDS = 2.0
"""How long each measurement takes."""
PATH = "/v2/models/iris/infer"
OURS, UVICORN, RAW = "this server", "the same on uvicorn", "raw protocol"


def main() -> None:
    """Measure all servers, and write the table."""
    with tempfile.TemporaryDirectory(prefix="onnxpack-serving-") as folder:
        commands = contenders(Path(folder))
        figures: dict[tuple[str, int, int], list[tuple[float, float, float]]] = defaultdict(list)
        cases = [(name, rows, clients) for name in commands for rows in (1, 64) for clients in (1, 16)]
        for _ in range(ROUNDS):
            for name, rows, clients in random.sample(cases, len(cases)):
                with running(*commands[name]) as (port, process):
                    ask(port, rows, 1, 0.3)  # what is set up lazily
                    used = cpu_seconds(process)
                    times, seconds = ask(port, rows, clients, SECONDS)
                    used = cpu_seconds(process) - used
                figures[name, rows, clients].append(
                    (len(times) / seconds, statistics.median(times) * 1e3, used / len(times) * 1e3)
                )
    lines = ["| rows | connections | server | requests/s | p50, ms | CPU, ms |", "|---|---|---|---|---|---|"]
    for name, rows, clients in sorted(cases, key=lambda case: case[1:]):
        rate, p50, cpu = (statistics.median(column) for column in zip(*figures[name, rows, clients], strict=True))
        lines.append(f"| {rows} | {clients} | {name} | {rate:,.0f} | {p50:.2f} | {cpu:.3f} |")
    text = "\n".join(lines) + "\n"
    PAGE.write_text(replace_made(PAGE.read_text(), "benchmarks/serving/compare.py", text))
    print(text)


def contenders(folder: Path) -> dict[str, tuple[Path, list[str]]]:
    """Return the folder of each server, and its command without the port."""
    build = ["-m", "onnxpack", "build", "specs/iris", "--until", "bundle", "--engine", "none", "--output", folder]
    subprocess.run([sys.executable, *map(str, build)], cwd=ROOT, check=True, capture_output=True)
    app = next(folder.glob("**/server.py")).parent
    before = folder / "before"
    before.mkdir()
    shutil.copy(app / "model.onnx", before)
    for file in ("server.py", "protocol.py", "inference.py"):
        text = subprocess.check_output(["git", "show", f"{BEFORE}:tests/golden/iris/{file}"], cwd=ROOT)
        (before / file).write_bytes(text)
    serve = [sys.executable, "-B", "-m", "server", "--host", "127.0.0.1", "--port"]
    raw = [sys.executable, str(Path(__file__).with_name("raw_server.py")), str(app / "model.onnx")]
    return {OURS: (app, serve), UVICORN: (before, serve), RAW: (app, raw)}


@contextmanager
def running(folder: Path, command: list[str]) -> Iterator[tuple[int, int]]:
    """A server's port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([*command, str(port)], cwd=folder, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"it does not start: {command}")
            time.sleep(0.02)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(port: int, rows: int, clients: int, seconds: float) -> tuple[list[float], float]:
    """Have every connection ask again when it is answered; give the time of each answer, and of all."""
    data = [5.1, 3.5, 1.4, 0.2] * rows
    document = {"inputs": [{"name": "float_input", "datatype": "FP32", "shape": [rows, 4], "data": data}]}
    body = json.dumps(document).encode()
    request = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    times: list[float] = []
    with closing(selectors.DefaultSelector()) as selector:
        sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(clients)]
        sent, answers = {}, {}
        for client in sockets:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(client, selectors.EVENT_READ)
            sent[client], answers[client] = time.perf_counter(), b""
            client.sendall(request)
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            for key, _ in selector.select(1):
                client = key.fileobj
                answer = answers[client] + client.recv(262144)
                head, _, rest = answer.partition(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0] or -1)
                if length < 0 or len(rest) < length:
                    answers[client] = answer
                    continue
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                done = time.perf_counter()
                times.append(done - sent[client])
                sent[client], answers[client] = done, b""
                client.sendall(request)
        for client in sockets:
            client.close()
    return times, now - began


if __name__ == "__main__":
    main()
