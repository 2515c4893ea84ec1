"""The same fleet by hand: a script for each model, and an image's layers as a Dockerfile gives them.

No engine is needed: what `docker build` does is done by its parts, which are the installation of the packages, and the
packing of both layers. The pull of the base is left out, and so is sending the context to an engine.
"""

import gzip
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet.specs import KINDS, write_fleet

PACKAGES = ("onnxruntime", "numpy", "fastapi", "uvicorn")
_SCRIPTS = {
    "sklearn": """
import joblib, numpy as np, sys
from skl2onnx import to_onnx
model = joblib.load(sys.argv[1])
open(sys.argv[2], "wb").write(to_onnx(model, np.zeros((1, {width}), np.float32), target_opset=17).SerializeToString())
""",
    "torch": """
import sys, torch, pathlib
sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent))
from model import make
torch.onnx.export(make({width}, {seed}).eval(), (torch.zeros(4, {width}),), sys.argv[2], opset_version=18, dynamo=True)
""",
    "onnx": """
import shutil, sys
shutil.copy(sys.argv[1], sys.argv[2])
""",
}
_SERVER = "import onnxruntime, fastapi  # an application of some forty lines\n"


@dataclass(frozen=True)
class ByHand:
    """Seconds that the parts take."""

    script: float
    """The script of one model, the mean over all kinds."""
    image: float
    """The layer of one model's files."""
    packages: float
    """The packages of all images, installed and packed once."""

    def estimate(self, count: int) -> float:
        """Return the seconds for a fleet, one model after the other."""
        return self.packages + count * (self.script + self.image)


def measure_by_hand() -> ByHand:
    """Run a script of each kind of model, and make the layers of an image of it."""
    with tempfile.TemporaryDirectory(prefix="onnxpack-fleet-hand-") as name:
        folder = Path(name)
        scripts, images = [], []
        for number, file in enumerate(write_fleet(folder / "fleet", len(KINDS))):
            kind = KINDS[number]
            text = _SCRIPTS[kind.framework].format(width=3 + number % 11, seed=number)
            made = folder / f"model{number}.onnx"
            scripts.append(_time([sys.executable, "-c", text, str(file.parent / kind.file), str(made)]))
            started = time.perf_counter()
            _pack({"srv/model.onnx": made.read_bytes(), "srv/main.py": _SERVER.encode()})
            images.append(time.perf_counter() - started)
        return ByHand(statistics.mean(scripts), statistics.mean(images), _measure_packages(folder))


def _measure_packages(folder: Path) -> float:
    """Install the packages for the image, and pack them into a layer; wheels come from the installer's cache."""
    place = folder / "packages"
    install = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python-version",
        "3.11",
        "--compile-bytecode",
    ]
    _time([*install, "--target", str(folder / "warm"), *PACKAGES])
    seconds = _time([*install, "--target", str(place), *PACKAGES])
    started = time.perf_counter()
    _pack({str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()})
    return seconds + time.perf_counter() - started


def _pack(files: dict[str, bytes]) -> None:
    """Make a compressed layer, as an engine does when it exports or pushes one."""
    with gzip.open(io.BytesIO(), "wb", compresslevel=6) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _time(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"})
    return time.perf_counter() - started
