"""Measures images that take pictures and texts beside servers that people write for the same by hand with FastAPI.

Run by `.venv/bin/python -m benchmarks.inputs.beside_fastapi --base BASE.tar [--write]`, where `scripts/base` with
`--archive BASE.tar` made the base. The models have random weights; FastAPI and what it needs go into a folder of their
own. Both servers are asked with the same bytes over one connection that stays open, by turns, in random order; figures
are medians. Sizes are of what lies on the base: packages as pip installs them, with compiled modules, code and model.
"""

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs.models import write_picture_model, write_text_model

ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).parent / "by_hand"
SERVED = ("fastapi", "uvicorn[standard]", "python-multipart", "numpy", "onnxruntime")
PACKAGES = {"picture": (*SERVED, "pillow"), "text": (*SERVED, "tokenizers")}
ROUNDS = 10
"""How often each server gets a turn."""
TURN = 20
"""How many questions are asked in one."""
BYTES_GOAL, P50_GOAL = 0.6, 0.7


@dataclass(frozen=True)
class Sizes:
    """What lies on the base, in bytes: as files, and as a tar that gzip -6 made smaller."""

    plain: int
    packed: int


@dataclass(frozen=True)
class Figures:
    """What was measured of one kind of model: ours, and the one by hand."""

    kind: str
    sizes: tuple[Sizes, Sizes]
    seconds: tuple[float, float]


def main() -> None:
    """Measure, print, and write into docs/serving.md if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="the base of the images, as an archive")
    parser.add_argument("--write", action="store_true", help="write the table into docs/serving.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(kind, Path(folder) / kind, options.base.resolve()) for kind in PACKAGES]
    table = make_table(found)
    print(table)
    if options.write:
        sys.path.insert(0, str(ROOT / "scripts"))
        from common import replace_made

        page = ROOT / "docs/serving.md"
        page.write_text(replace_made(page.read_text(), "benchmarks/inputs/beside_fastapi.py", table))


def measure(kind: str, folder: Path, base: Path) -> Figures:
    """Build both servers of a kind of model below a folder, and measure them."""
    spec, by_hand = folder / "spec", folder / "by_hand"
    for path in (spec, by_hand):
        path.mkdir(parents=True)
    body, media_type = (
        ask_by_form(write_picture_model(spec)) if kind == "picture" else ask_by_json(write_text_model(spec))
    )
    ours = build_ours(spec, folder / "dist", base)
    app, packages = build_by_hand(kind, spec, by_hand)
    question = b"".join(
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: ", media_type, b"\r\nContent-Length: ",
         str(len(body)).encode(), b"\r\n\r\n", body)
    )  # fmt: skip
    trees = [ours / tree for tree in ("runtime", "model")]
    with ExitStack() as stack:
        lib, code = (next(tree.glob("opt/onnxpack/*")) for tree in trees)
        first = stack.enter_context(serve(["-m", "server"], code, [code, lib], ("--port",)))
        words = ["-m", "uvicorn", f"{kind}_app:app", "--log-level", "warning", "--no-access-log"]
        second = stack.enter_context(serve(words, app, [packages], ("--port",)))
        seconds = time_by_turns((first, second), question)
    return Figures(kind, (weigh(trees), weigh([app, packages])), seconds)


def ask_by_form(picture: bytes) -> tuple[bytes, bytes]:
    """Return a body with a picture as browsers send it, and its media type."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head + picture + b"\r\n--x--\r\n", b"multipart/form-data; boundary=x"


def ask_by_json(text: str) -> tuple[bytes, bytes]:
    """Return a body with a text, and its media type."""
    return json.dumps({"text": text}).encode(), b"application/json"


def build_ours(spec: Path, output: Path, base: Path) -> Path:
    """Build the spec without a daemon; return the folder of the image's layers."""
    command = [sys.executable, "-m", "onnxpack", "build", spec, "--engine", "oci", "--base", base, "--output", output]
    subprocess.run(command, check=True, cwd=spec, stdout=subprocess.DEVNULL)
    (context,) = output.glob("*/cpu/context")
    return context / "rootfs"


def build_by_hand(kind: str, spec: Path, folder: Path) -> tuple[Path, Path]:
    """Install the packages and lay code and model beside each other; return the folders of both."""
    app, packages = folder / "app", folder / "packages"
    app.mkdir()
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        sys.executable,
        "--compile-bytecode",
    ]
    subprocess.run([*command, "--target", packages, *PACKAGES[kind]], check=True)
    shutil.copy(APPS / f"{kind}_app.py", app)
    for name in ("model.onnx", "tokenizer.json"):
        if (spec / name).exists():
            shutil.copy(spec / name, app)
    return app, packages


@contextmanager
def serve(words: list[str], folder: Path, paths: list[Path], port_option: tuple[str, ...]) -> Iterator[int]:
    """Serve by this Python with the packages of folders and no others; yield the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", *words, *port_option, str(port)]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE) as process:
        try:
            wait_for(port, process)
            yield port
        finally:
            process.terminate()
            process.communicate()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    process.terminate()
    raise RuntimeError(process.communicate()[1].decode())


def time_by_turns(ports: tuple[int, int], question: bytes) -> tuple[float, float]:
    """Ask both servers by turns in random order; return the medians of the seconds of an answer."""
    chances = random.Random(0)
    times: dict[int, list[float]] = {port: [] for port in ports}
    with ExitStack() as stack:
        sockets = {port: stack.enter_context(socket.create_connection(("127.0.0.1", port))) for port in ports}
        for one in sockets.values():
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(TURN):
                ask(one, question)
        for _ in range(ROUNDS):
            for port in chances.sample(ports, len(ports)):
                for _ in range(TURN):
                    started = time.perf_counter()
                    ask(sockets[port], question)
                    times[port].append(time.perf_counter() - started)
    first, second = (statistics.median(times[port]) for port in ports)
    return first, second


def ask(connection: socket.socket, question: bytes) -> bytes:
    """Send a question and read the answer, which must be good."""
    connection.sendall(question)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(2**16)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(2**16)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(body.decode())
    return body


def weigh(folders: list[Path]) -> Sizes:
    """Return the sizes of all files below folders."""
    plain = sum(path.lstat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as packed:
        with tarfile.open(packed.name, "w:gz", compresslevel=6) as archive:
            for folder in folders:
                archive.add(folder, folder.name)
        return Sizes(plain, Path(packed.name).stat().st_size)


def make_table(found: list[Figures]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        f"Measured on {os.cpu_count()} shared cores, with a load of {os.getloadavg()[0]:.0f}.",
        "",
        "| what | onnxpack | FastAPI by hand | ratio | goal |",
        "|---|--:|--:|--:|--:|",
    ]
    for one in found:
        (ours, theirs), (fast, slow) = one.sizes, one.seconds
        for words, a, b in (("bytes", ours.plain, theirs.plain), ("bytes by gzip", ours.packed, theirs.packed)):
            lines.append(f"| {one.kind}: {words} | {a / 1e6:.1f} MB | {b / 1e6:.1f} MB | {a / b:.2f} | {BYTES_GOAL} |")
        lines.append(
            f"| {one.kind}: p50 | {fast * 1000:.2f} ms | {slow * 1000:.2f} ms | {fast / slow:.2f} | {P50_GOAL} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
