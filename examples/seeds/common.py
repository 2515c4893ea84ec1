"""What the seeds share: building a spec, loading what was built, asking it over HTTP, and sizes."""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from packaging.requirements import Requirement

from onnxpack.core.errors import EngineError
from onnxpack.core.platforms import find_own_platform
from onnxpack.oci.pull import resolve
from onnxpack.oci.reference import parse_reference
from onnxpack.targets import load_device

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUTPUT = ROOT / "dist/seeds"
ONNXPACK = (sys.executable, "-m", "onnxpack")
APP = "context/rootfs/model/opt/onnxpack/app"


def run(*arguments: object) -> str:
    """Run a command of onnxpack, show it, and return what it says on stdout; its own words go to stderr."""
    print("  $ onnxpack", *(os.path.relpath(one, ROOT) if isinstance(one, Path) else one for one in arguments))
    command = [*ONNXPACK, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        sys.exit(done.returncode)
    return done.stdout


def build(spec: Path, *options: object, image: bool = False) -> Path:
    """Build a spec as far as its bundle, or its image without a daemon; return the folder of its target ``cpu``."""
    how = ("--engine", "oci", *find_base()) if image else ("--until", "bundle")
    run("build", spec, *how, "--output", OUTPUT, *options)
    name = next(line.split()[1] for line in spec.read_text().splitlines() if line.startswith("name: "))
    return OUTPUT / name / "cpu"


@cache
def find_base() -> tuple[str, ...]:
    """Return the options that name the base: none if its registry answers, else a stand-in of Debian's packages."""
    reference = load_device("cpu").base
    try:
        resolve(parse_reference(reference), find_own_platform())
    except EngineError:
        archive = OUTPUT / "base.tar"
        if not archive.exists():
            OUTPUT.mkdir(parents=True, exist_ok=True)
            subprocess.run([ROOT / "scripts/base", reference, "--archive", archive], check=True)
        return ("--base", str(archive))
    return ()


def load_module(folder: Path) -> Any:
    """Return the module that a build rendered, imported as it is."""
    sys.path.insert(0, str(folder / APP))
    return importlib.import_module("inference")


@contextmanager
def serve(folder: Path, port: int) -> Iterator[str]:
    """Serve what was built; give its address."""
    command = [*ONNXPACK, "run", str(folder), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout
        server.stdout.readline()  # it says how to ask when it is ready
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def post(url: str, body: bytes, media_type: str) -> Any:
    """Ask a server, and return its JSON."""
    with urlopen(Request(url, body, {"Content-Type": media_type}), timeout=60) as answer:
        return json.loads(answer.read())


def read_report(folder: Path) -> Any:
    """Return what a build says of itself."""
    return json.loads((folder / "report.json").read_text())


def measure_installed(names: tuple[str, ...]) -> int:
    """Return the bytes of installed distributions and of all that they require."""
    seen: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower()
        if name in seen:
            continue
        found = distribution(name)
        seen[name] = sum(
            path.stat().st_size for file in found.files or () if (path := Path(str(file.locate()))).is_file()
        )
        for line in requires(name) or ():
            asked = Requirement(line)
            if asked.marker is None or asked.marker.evaluate({"extra": ""}):
                waiting.append(asked.name)
    return sum(seen.values())


def time_in_turn(*calls: Callable[[], Any], count: int = 30) -> list[float]:
    """Return the median seconds of each call; they take turns, so that what else runs here meets all of them."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(count):
        for call, found in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            found.append(time.perf_counter() - began)
    return [sorted(found)[count // 2] for found in times]
