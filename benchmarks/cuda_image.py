"""Builds CUDA images for real and prints their size by library.

Run by `scripts/engine run -- .venv/bin/python benchmarks/cuda_image.py`.
Not part of the tests: it downloads and writes gigabytes. Two models: digits has convolutions, which cuDNN runs;
`plain` is a matrix product, which needs none of it. Without a GPU the smoke test checks that every library resolves and
that the image refuses to fall back to the CPU.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
LIB = "context/rootfs/runtime/opt/onnxpack/lib"
PLAIN = """\
onnxpack: 1
name: plain
version: bench
model: {framework: onnx, path: plain.onnx}
inputs: {x: {dtype: float32, shape: [batch, 64]}}
dynamic_axes: {batch: {min: 1, max: 32}}
targets: {cuda: {device: cuda}}
"""


def main() -> None:
    """Both images, one after the other."""
    with tempfile.TemporaryDirectory(prefix="onnxpack-cuda-") as name:
        folder = Path(name)
        for spec in (plain(folder / "plain"), digits(folder / "digits")):
            build(spec, folder / "dist")


def plain(folder: Path) -> Path:
    """A spec of one matrix product."""
    folder.mkdir()
    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((64, 8), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [weights],
    )
    onnx.save(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), folder / "plain.onnx"
    )
    (folder / "spec.yaml").write_text(PLAIN)
    return folder / "spec.yaml"


def digits(folder: Path) -> Path:
    """specs/digits for CUDA."""
    shutil.copytree(ROOT / "specs/digits", folder, ignore=shutil.ignore_patterns("*.lock", "__pycache__"))
    spec = folder / "spec.yaml"
    spec.write_text(spec.read_text().replace("cpu: {device: cpu}", "cuda: {device: cuda}"))
    return spec


def build(spec: Path, output: Path) -> None:
    """Builds one and prints what it weighs."""
    command = [sys.executable, "-m", "onnxpack", "build", str(spec), "--output", str(output)]
    subprocess.run(command, check=True)
    folder = output / spec.parent.name / "cuda"
    report = json.loads((folder / "report.json").read_text())
    print(f"\n{report['name']}: image {report['image']['size_bytes'] / 1e6:.0f} MB, smoke {report['smoke']}")
    for stage in report["stages"]:
        print(f"  {stage['name']} {stage['of']}".ljust(18), f"{stage['seconds']:7.1f} s")
    for size, name in sorted(sizes(folder / LIB), reverse=True):
        if size > 1e6:
            print(f"  {size / 1e6:8.1f} MB  {name}")


def sizes(folder: Path) -> list[tuple[int, str]]:
    """Bytes of each package, and of each part of the nvidia namespace and its CUDA folder."""
    found = []
    parts = [part for path in folder.iterdir() for part in (path.iterdir() if path.name == "nvidia" else [path])]
    for part in parts:
        files = [Path(parent, name) for parent, _, names in os.walk(part) for name in names]
        if part.parent.name == "nvidia":
            found += [(file.stat().st_size, file.relative_to(folder).as_posix()) for file in files]
        else:
            found.append((sum(file.stat().st_size for file in files), part.name))
    return found


if __name__ == "__main__":
    main()
