"""Builds CUDA images for real, each of which must answer on the GPU with the libraries that its operators need."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxpack.core.text import format_bytes, format_time

ROOT = Path(__file__).resolve().parents[2]
LIB = "context/rootfs/runtime/opt/onnxpack/lib"
SPEC = """\
onnxpack: 1
name: {name}
version: bench
model: {{framework: onnx, path: {name}.onnx}}
inputs: {{x: {{dtype: float32, shape: [batch, 64]}}}}
dynamic_axes: {{batch: {{min: 1, max: 32}}}}
targets: {{cuda: {{device: cuda}}}}
"""
PLAIN = [helper.make_node("MatMul", ["x", "w"], ["y"])]
MIXED = [
    helper.make_node("LayerNormalization", ["x", "one"], ["normal"]),
    helper.make_node("MatMul", ["normal", "w"], ["wide"]),
    helper.make_node("Gelu", ["wide"], ["bent"]),
    helper.make_node("Transpose", ["bent"], ["turned"], perm=[1, 0]),
    helper.make_node("Transpose", ["turned"], ["back"], perm=[1, 0]),
    helper.make_node("Clip", ["back", "zero"], ["clipped"]),
    helper.make_node("Softmax", ["clipped"], ["shares"]),
    helper.make_node("CumSum", ["shares", "axis"], ["sums"]),
    helper.make_node("Concat", ["sums", "clipped"], ["both"], axis=1),
    helper.make_node("Sqrt", ["both"], ["y"]),
]
"""Operators that load no cuDNN: the image that has none must answer."""
COUNT = """\
import json, sys, onnxruntime as ort
ort.preload_dlls()
options = ort.SessionOptions()
options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
session = ort.InferenceSession(sys.argv[1], options, providers=providers, enable_fallback=0)
nodes = [part.ep_name for part in session.get_provider_graph_assignment_info() for _ in part.get_nodes()]
print(json.dumps([nodes.count("CUDAExecutionProvider"), len(nodes)]))
"""


def measure_images(folder: Path, python: str) -> str:
    """Build and test every image, and return a section about them; ``python`` has onnxruntime-gpu."""
    specs = (
        make_spec(folder / "plain", PLAIN, 8, {}),
        make_spec(folder / "mixed", MIXED, 16, {"one": np.ones(64), "zero": np.zeros(()), "axis": np.array(1)}),
        copy_digits(folder / "digits"),
    )
    reports = [build(spec, folder / "dist") for spec in specs]
    shares = [count_nodes(folder / "dist" / report["name"] / "cuda/model.onnx", python) for report in reports]
    return write_section(reports, shares, [measure_parts(folder / "dist" / one["name"] / "cuda") for one in reports])


def make_spec(folder: Path, nodes: list[onnx.NodeProto], width: int, constants: dict[str, Any]) -> Path:
    """Write a model of 64 inputs and ``width`` outputs, named after its folder, and return its spec."""
    folder.mkdir()
    weights = {"w": np.random.default_rng(0).standard_normal((64, 8), np.float32)} | constants
    kinds = {"axis": np.int64}
    graph = helper.make_graph(
        nodes,
        folder.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(array.astype(kinds.get(name, np.float32)), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(model, folder / f"{folder.name}.onnx")
    (folder / "spec.yaml").write_text(SPEC.format(name=folder.name))
    return folder / "spec.yaml"


def copy_digits(folder: Path) -> Path:
    """Copy specs/digits, whose convolutions need cuDNN, and return its spec for CUDA."""
    shutil.copytree(ROOT / "specs/digits", folder, ignore=shutil.ignore_patterns("*.lock", "__pycache__"))
    spec = folder / "spec.yaml"
    spec.write_text(spec.read_text().replace("cpu: {device: cpu}", "cuda: {device: cuda}"))
    return spec


def build(spec: Path, output: Path, *more: str) -> Any:
    """Build one image and return its report."""
    command = [sys.executable, "-m", "onnxpack", "build", str(spec), "--output", str(output), *more]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return json.loads((output / spec.parent.name / "cuda/report.json").read_text())


def count_nodes(model: Path, python: str) -> tuple[int, int]:
    """Return how many of a model's nodes onnxruntime gives to the GPU, and how many there are."""
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([python, "-c", COUNT, model], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    on_gpu, count = json.loads(done.stdout)
    return on_gpu, count


def measure_parts(folder: Path) -> dict[str, int]:
    """Return the bytes of each package, and of each file of NVIDIA's, in a build's runtime layer."""
    found: dict[str, int] = {}
    for file in (path for path in (folder / LIB).rglob("*") if path.is_file()):
        parts = file.relative_to(folder / LIB).parts
        part = parts[-1] if parts[0] == "nvidia" else parts[0]
        found[part] = found.get(part, 0) + file.stat().st_size
    return found


def write_section(reports: Sequence[Any], shares: Sequence[tuple[int, int]], parts: Sequence[dict[str, int]]) -> str:
    """Return the tables of images and of what is in them."""
    lines = [
        "| model | image | nodes on the GPU | ready after | first answer | median request | ran on a GPU |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for report, (on_gpu, count) in zip(reports, shares, strict=True):
        smoke = report["smoke"]
        times = [smoke[name] for name in ("ready_seconds", "first_answer_seconds", "latency_p50_seconds")]
        cells = [
            f"`{report['name']}`",
            format_bytes(report["image"]["size_bytes"]),
            f"{on_gpu} of {count}",
            *("-" if value is None else format_time(value) for value in times),
            "yes" if report["ran_on_gpu"] else "**no**",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| bytes | part | in |", "|--:|---|---|"]
    sizes = {name: size for found in parts for name, size in found.items() if size > 1e6}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        holders = [f"`{one['name']}`" for one, found in zip(reports, parts, strict=True) if name in found]
        lines.append(f"| {format_bytes(size)} | {name} | {', '.join(holders)} |")
    return "\n".join(lines)
