"""Measures the layer of the packages, and writes docs/images.md: each package's share, and the layer compressed.

Run by `scripts/engine run -- .venv/bin/python benchmarks/layer_size.py`, since the base's Python compiles what a start
imports; `zstd` must be installed. The tar has the files of the context in alphabetical order, as a layer has.
"""

import gzip
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from common import replace_made

from onnxpack.bundle.layer import FILES_FILE, read_files
from onnxpack.bundle.render import LIB_FOLDER

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/images.md"
STANDARD = "the base's standard library"


@dataclass
class Share:
    """The bytes of one package, by what they are."""

    kept: int = 0
    compiled: int = 0
    left_out: int = 0
    largest: tuple[int, str, str] = field(default=(0, "", ""))


def main() -> None:
    """Build iris, measure, and write the table."""
    with tempfile.TemporaryDirectory(prefix="onnxpack-layer-size-") as folder:
        command = [sys.executable, "-m", "onnxpack", "build", str(ROOT / "specs/iris"), "--output", folder]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        bundle = Path(folder) / "iris/cpu"
        text = describe(measure_shares(bundle), make_tar(bundle / "context/rootfs/runtime"))
    PAGE.write_text(replace_made(PAGE.read_text(), "benchmarks/layer_size.py", text))
    print(text)


def measure_shares(bundle: Path) -> dict[str, Share]:
    """Return each package's share of the layer, and what the wheels have besides."""
    shares: defaultdict[str, Share] = defaultdict(Share)
    owners = {}
    for file in read_files(bundle / FILES_FILE):
        share = shares[file.package]
        if not file.kept:
            share.left_out += file.size_bytes
            continue
        share.kept += file.size_bytes
        share.largest = max(share.largest, (file.size_bytes, file.path, f"{file.why.how} {file.why.by}".strip()))
        owners[file.path] = file.package
    for path, size in list_compiled(bundle / "context/rootfs/runtime"):
        shares[owners.get(path, STANDARD)].compiled += size
    return dict(shares)


def list_compiled(runtime: Path) -> Iterator[tuple[str, int]]:
    """Give the size of each compiled module, with the path of its source below the packages' folder."""
    packages = runtime / LIB_FOLDER.lstrip("/")
    for path in runtime.rglob("*.pyc"):
        source = path.parent.parent / f"{path.name.partition('.')[0]}.py"
        name = source.relative_to(packages).as_posix() if source.is_relative_to(packages) else str(source)
        yield name, path.stat().st_size


def make_tar(runtime: Path) -> bytes:
    """Return a folder as a tar."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(runtime.rglob("*")):
            archive.add(path, path.relative_to(runtime).as_posix(), recursive=False)
    return buffer.getvalue()


def describe(shares: dict[str, Share], tar: bytes) -> str:
    """Return the tables."""
    lines = ["| package | kept | compiled | left out | its largest file, and what keeps it |", "|---|---|---|---|---|"]
    for name, share in sorted(shares.items(), key=lambda item: -item[1].kept - item[1].compiled):
        if not (share.kept or share.compiled):
            continue
        size, path, why = share.largest
        largest = f"`{shorten(path)}`, {megabytes(size)}: {shorten(why)}" if path else ""
        figures = (megabytes(count) for count in (share.kept, share.compiled, share.left_out))
        lines.append(f"| {name} | {' | '.join(figures)} | {largest} |")
    zstd = subprocess.run(["zstd", "-10", "-c", "-q"], input=tar, capture_output=True, check=True).stdout
    sizes = (len(tar), len(gzip.compress(tar, 6)), len(zstd))
    plain, zipped, packed = map(megabytes, sizes)
    lines += ["", f"The layer as a tar: {plain}; by gzip -6 {zipped}; by zstd -10 {packed}."]
    return "\n".join(lines) + "\n"


def shorten(text: str) -> str:
    """Return a text without what every extension module's name says of its platform."""
    return text.replace(".cpython-311-x86_64-linux-gnu", "…")


def megabytes(count: int) -> str:
    """Return a size in MB."""
    return f"{count / 1e6:.1f} MB"


if __name__ == "__main__":
    main()
