"""Measures an image's packages with OpenBLAS and with what stands in for it, and writes figures into docs/images.md.

Run by `.venv/bin/python benchmarks/openblas.py [ROUNDS]`. The packages are those of the lock of specs/iris; it needs
the package index, and Linux on amd64. Products are timed in turn, and the best of each counts; OpenBLAS has one thread,
as images give it. Times and memory of imports are medians of processes of their own.
"""

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

import zstandard

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from common import replace_made

from onnxpack.bundle import lock
from onnxpack.bundle.openblas import find_replacement, replace_openblas
from onnxpack.bundle.packages import install

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/images.md"
ROUNDS = 9
KINDS = {"f": "float32", "d": "float64", "F": "complex64", "D": "complex128"}
PRODUCTS = """
import json, time
import numpy as np
best = {}
for kind in "fdFD":
    a, b = ((np.arange(65536).reshape(256, 256) % number / number).astype(kind) for number in (97, 101))
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        best[kind] = min(best.get(kind, 9), time.perf_counter() - began)
print(json.dumps(best))
"""
IMPORT = """
import json, time
began = time.process_time()
import numpy
took = time.process_time() - began
(peak,) = [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps([took, peak]))
"""


def main() -> None:
    """Install, measure in turn, and write."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as work:
        folders = install_both(Path(work))
        sizes = [measure_sizes(folder) for folder in folders]
        for folder in folders:
            ask(folder, IMPORT)  # compiles modules, and warms the file system's cache
        imports: list[list[list[float]]] = [[], []]
        products: list[dict[str, float]] = [{}, {}]
        for _ in range(rounds):
            for number, folder in enumerate(folders):
                imports[number].append(ask(folder, IMPORT))
                for kind, seconds in ask(folder, PRODUCTS).items():
                    products[number][kind] = min(seconds, products[number].get(kind, seconds))
    medians = [[statistics.median(column) for column in zip(*rows, strict=True)] for rows in imports]
    load = os.getloadavg()[0]
    PAGE.write_text(replace_made(PAGE.read_text(), "benchmarks/openblas.py", tell(sizes, medians, products, load)))


def install_both(work: Path) -> list[Path]:
    """Return two folders of the packages of an image, with OpenBLAS and without."""
    locked = lock.read(lock.lock_path(ROOT / "specs/iris/spec.yaml"))["cpu"]
    usual, spared = work / "usual", work / "spared"
    usual.mkdir()
    install(locked.python, locked.platform, locked.packages, usual)
    shutil.copytree(usual, spared)
    if reason := replace_openblas(spared, find_replacement(locked.platform).path):
        sys.exit(f"OpenBLAS stays: {reason}")
    return [usual, spared]


def measure_sizes(folder: Path) -> list[float]:
    """Return the bytes of a folder as a layer has them: plain, by gzip and by zstd."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, path.relative_to(folder).as_posix(), recursive=False)
    data = stream.getvalue()
    return [len(data), len(zlib.compress(data, 6)), len(zstandard.ZstdCompressor(level=10).compress(data))]


def ask(folder: Path, code: str) -> Any:
    """Run code with the packages of a folder alone, and return the JSON that it prints."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, check=True)
    return json.loads(done.stdout)


def tell(sizes: list[list[float]], imports: list[list[float]], products: list[dict[str, float]], load: float) -> str:
    """Return the table, and the sentence on how it was measured."""
    rows = [("the packages, without compiled modules", *(f"{size[0] / 1e6:.1f} MB" for size in sizes))]
    for number, name in ((1, "gzip"), (2, "zstd")):
        rows.append((f"… by {name}", *(f"{size[number] / 1e6:.1f} MB" for size in sizes)))
    rows.append(("`import numpy`: CPU time", *(f"{each[0] * 1e3:.0f} ms" for each in imports)))
    rows.append(("… peak memory", *(f"{each[1] / 1e6:.1f} MB" for each in imports)))
    for kind, name in KINDS.items():
        rows.append(
            (f"product of two matrices of 256 by 256, {name}", *(f"{each[kind] * 1e3:.2f} ms" for each in products))
        )
    lines = ["| what | OpenBLAS | what stands in for it |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return f"Measured on {os.cpu_count()} shared cores, with a load of {load:.0f}.\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
