"""Asks three servers of the iris forest all that ``onnxpack conformance`` asks, and writes docs/conformance.md.

Run by `.venv/bin/python benchmarks/conformance/compare.py`. MLServer and KServe are installed by uv into folders that
go at the end.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from common import replace_made

from onnxpack.conformance.checks import Result, Verdict
from onnxpack.conformance.show import count_results
from onnxpack.conformance.suite import Request, check_server
from onnxpack.core.text import clean

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs/conformance.md"
START_SECONDS = 180
ABSENT = "n/a"
SHORT = {Verdict.PASS: "pass", Verdict.FAIL: "**fail**", Verdict.NOT_OFFERED: "not offered"}


@dataclass(frozen=True)
class Peer:
    """A server to compare with: what uv installs for it, and the script that serves."""

    title: str
    packages: tuple[str, ...]
    script: str


PEERS = (
    Peer("MLServer 1.7.1", ("mlserver==1.7.1", "mlserver-sklearn==1.7.1"), "serve_mlserver.py"),
    Peer("KServe 0.21.0", ("kserve==0.21.0", "scikit-learn"), "serve_kserve.py"),
)


def main() -> None:
    """Check all servers, and write the tables."""
    found: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory(prefix="onnxpack-conformance-") as name:
        folder = Path(name)
        with serving_ours(folder) as (http, grpc):
            found["this server"] = check(http, grpc)
        for peer in PEERS:
            with serving_peer(folder / peer.script.removesuffix(".py"), peer) as (http, grpc):
                found[peer.title] = check(http, grpc)
    text = write_counts(found) + "\n" + write_checks(found)
    if ABSENT in text:
        text += f"\n`{ABSENT}`: not asked, as the server has no gRPC.\n"
    PAGE.write_text(replace_made(PAGE.read_text(), "benchmarks/conformance/compare.py", text))
    print(text)


def check(http: int, grpc: int | None) -> list[Result]:
    """Return all results of a server on this machine."""
    place = f"127.0.0.1:{grpc}" if grpc else None
    _, results = check_server(Request(f"http://127.0.0.1:{http}", "iris", place), lambda _: None)
    return results


@contextlib.contextmanager
def serving_ours(folder: Path) -> Iterator[tuple[int, int | None]]:
    """Build the iris bundle and serve it, over gRPC too if the spec takes that."""
    both = ["--set", "runtime.server=http+grpc"]
    has_grpc = run_onnxpack("validate", "specs/iris", *both).returncode == 0
    settings = both if has_grpc else []
    build = ["build", "specs/iris", "--until", "bundle", "--engine", "none", "--output", str(folder), *settings]
    run_onnxpack(*build).check_returncode()
    app = next(folder.glob("**/server.py")).parent
    http, grpc = free_port(), free_port()
    places = ["--host", "127.0.0.1", "--port", str(http), *(["--grpc-port", str(grpc)] if has_grpc else [])]
    with running([sys.executable, "-B", "-m", "server", *places], app, http):
        yield http, grpc if has_grpc else None


def run_onnxpack(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line."""
    return subprocess.run([sys.executable, "-m", "onnxpack", *arguments], cwd=ROOT, check=False, capture_output=True)


@contextlib.contextmanager
def serving_peer(folder: Path, peer: Peer) -> Iterator[tuple[int, int]]:
    """Install a server and start it."""
    folder.mkdir()
    python = folder / "environment/bin/python"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(python.parents[1])], check=True)
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), *peer.packages], check=True)
    http, grpc = free_port(), free_port()
    with running([str(python), str(HERE / peer.script), str(http), str(grpc)], folder, http):
        yield http, grpc


@contextlib.contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Run a server while the block runs."""
    environment = {**os.environ, "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"it does not start: {command}\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        time.sleep(3)  # the peers open their port for gRPC a moment later
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether something listens on a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def write_counts(found: dict[str, list[Result]]) -> str:
    """Return the table of how many checks passed, failed, and were not offered."""
    lines = ["| server | level | pass | fail | not offered |", "|---|---|---|---|---|"]
    for title, results in found.items():
        over = {"HTTP": [r for r in results if not is_grpc(r)], "gRPC": [r for r in results if is_grpc(r)]}
        for kind, part in over.items():
            for level, counts in count_results(part).items():
                if any(counts.values()):
                    lines.append(f"| {title}, {kind} | {level} | {' | '.join(map(str, counts.values()))} |")
    return "\n".join(lines) + "\n"


def is_grpc(result: Result) -> bool:
    """Return whether a check is one over gRPC."""
    return result.id.startswith("grpc.")


def write_checks(found: dict[str, list[Result]]) -> str:
    """Return the table of the checks that a server fails, and of what is not offered."""
    by_server = {title: {result.id: result for result in results} for title, results in found.items()}
    every = {name: result for results in by_server.values() for name, result in results.items()}
    lines = [f"| check | what | level | {' | '.join(found)} |", f"|---|---|---|{'---|' * len(found)}"]
    for name, result in every.items():
        cells = [SHORT[mine[name].verdict] if name in mine else ABSENT for mine in by_server.values()]
        if set(cells) - {"pass", ABSENT}:
            lines.append(f"| `{name}` | {clean(result.title)} | {result.level} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
