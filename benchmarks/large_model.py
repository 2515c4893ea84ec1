#!/usr/bin/env python3
"""Builds generated models of several gigabytes up to a stage, and writes what that took into large_model.md.

    python benchmarks/large_model.py --gigabytes 3 --kinds onnx torch --until bundle

Each is built twice, with an empty cache: once for the time, and once for the memory, since looking slows the build
down. `copy` is the time to copy the weights' file and to sync the copy. Memory is sampled over the build's whole
process tree, every 20 ms: `peak` is the sum of all resident pages that are not shared with another of its processes
(PSS), which counts pages of mapped files that the kernel may drop at any moment; `anonymous` is what cannot be dropped.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

SIDE = 4096
LAYER = SIDE * SIDE * 4  # bytes
HERE = Path(__file__).parent
NET = f"""
import torch

class Net(torch.nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear({SIDE}, {SIDE}, bias=False) for _ in range(layers))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
"""


def main() -> None:
    """Measure what is asked for, and write it down."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gigabytes", type=float, default=3.0)
    options.add_argument("--kinds", nargs="+", choices=["onnx", "torch"], default=["onnx", "torch"])
    options.add_argument("--until", default="bundle")
    options.add_argument("--folder", type=Path, help="where the models are made; removed afterwards")
    options.add_argument("--no-write", action="store_true", help="print the table alone")
    asked = options.parse_args()
    layers = max(1, round(asked.gigabytes * 1e9 / LAYER))
    rows = []
    for kind in asked.kinds:
        folder = Path(tempfile.mkdtemp(prefix="onnxpack-large-", dir=asked.folder))
        try:
            rows.append(measured(kind, layers, folder, asked.until))
        finally:
            shutil.rmtree(folder)
    table = "\n".join([HEAD, *rows])
    print(table)
    if not asked.no_write:
        (HERE / "large_model.md").write_text(PAGE.format(until=asked.until, table=table, cores=os.cpu_count()))


HEAD = """| source | weights | copy | build | stages | peak | ÷ weights | anonymous | ÷ weights |
|---|---|---|---|---|---|---|---|---|"""
PAGE = """# A model of several gigabytes

Made by `python benchmarks/large_model.py`, which generates the models: `onnx` has external data, `torch` a safetensors
file, both nothing but matrix products in float32. The build goes to the stage `{until}`, with an empty cache, on a
machine of {cores} cores. `copy` is the time to copy the weights' file and to sync the copy; a build writes the weights
into the cache, into the output, and, with the stage `bundle`, into the context. `peak` has the pages of mapped files in
it, which the kernel may drop at any moment; `anonymous` has not. Both are of a second build, as looking slows it down.

{table}
"""


def measured(kind: str, layers: int, folder: Path, until: str) -> str:
    """Two builds, as a row of the table."""
    data = {"onnx": make_onnx, "torch": make_torch}[kind](folder, layers)
    os.sync()
    began = time.monotonic()
    shutil.copyfile(data, folder / "copy")
    os.sync()
    copy = time.monotonic() - began
    (folder / "copy").unlink()
    seconds, _ = built(folder, until, look=False)
    (place,) = (folder / "dist/large").glob("cpu*/report.json")  # a shorter build has a folder of its own
    report = json.loads(place.read_text())
    stages = ", ".join(
        f"{stage['name']} {stage['of']}".strip() + f" {stage['seconds']:.0f}" for stage in report["stages"]
    )
    _, peaks = built(folder, until, look=True)
    total = layers * LAYER
    sizes = " | ".join(f"{peak / 1e9:.2f} GB | {peak / total:.2f}" for peak in peaks)
    return f"| {kind} | {total / 1e9:.2f} GB | {copy:.0f} s | {seconds:.0f} s | {stages} | {sizes} |"


def built(folder: Path, until: str, *, look: bool) -> tuple[float, list[int]]:
    """The seconds of one build, and the peaks of its memory where somebody looks."""
    command = [sys.executable, "-m", "onnxpack", "build", "spec.yaml", "--engine", "none", "--until", until]
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    peaks = [0, 0]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"ONNXPACK_CACHE": str(cache)})
    if look:
        watch(process, peaks)
    if status := process.wait():
        raise SystemExit(f"the build ended with {status}")
    return time.monotonic() - began, peaks


def watch(process: subprocess.Popen[bytes], peaks: list[int]) -> None:
    """Keep the highest sums of resident and of anonymous pages."""
    while process.poll() is None:
        resident = anonymous = 0
        for pid in family(process.pid):
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            except OSError:
                continue
            pages = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines}
            resident += pages.get("Pss:", 0)
            anonymous += pages.get("Anonymous:", 0)
        peaks[:] = [max(peaks[0], resident), max(peaks[1], anonymous)]
        time.sleep(0.02)


def family(pid: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended
    found, before = {pid}, 0
    while len(found) > before:
        before = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found


def weights(layers: int) -> Iterator[bytes]:
    """Layers that all differ, as a runtime keeps equal ones once; each keeps the size of what goes through it."""
    first = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32) / np.float32(SIDE**0.5)
    for index in range(layers):
        yield np.roll(first, index, axis=0).tobytes()


def make_onnx(folder: Path, layers: int) -> Path:
    """Write an ONNX model whose weights are external data, a layer at a time; give the data's path."""
    import onnx
    from onnx import TensorProto, helper

    tensors, nodes = [], []
    with (folder / "model.data").open("wb") as stream:
        for index, data in enumerate(weights(layers)):
            tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[SIDE, SIDE])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "model.data"), ("offset", stream.tell()), ("length", LAYER)):
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
            stream.write(data)
            names = ["x" if index == 0 else f"t{index}", "y" if index == layers - 1 else f"t{index + 1}"]
            nodes.append(helper.make_node("MatMul", [names[0], f"w{index}"], [names[1]]))
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", SIDE])] for name in "xy"]
    graph = helper.make_graph(nodes, "large", *values, tensors)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "model.onnx"
    )
    write_spec(folder, {"framework": "onnx", "path": "model.onnx"})
    return folder / "model.data"


def make_torch(folder: Path, layers: int) -> Path:
    """Write the safetensors format by hand: a length, a JSON header, the bytes; give its path."""
    (folder / "net.py").write_text(NET)
    header = {
        f"layers.{index}.weight": {
            "dtype": "F32",
            "shape": [SIDE, SIDE],
            "data_offsets": [index * LAYER, (index + 1) * LAYER],
        }
        for index in range(layers)
    }
    text = json.dumps(header).encode()
    hasher = hashlib.sha256()
    with (folder / "weights.safetensors").open("wb") as stream:
        for part in chain((len(text).to_bytes(8, "little"), text), weights(layers)):
            stream.write(part)
            hasher.update(part)
    model = {
        "framework": "torch",
        "factory": "net.py:Net",
        "kwargs": {"layers": layers},
        "weights": "weights.safetensors",
    }
    write_spec(folder, model | {"sha256": hasher.hexdigest()})
    return folder / "weights.safetensors"


def write_spec(folder: Path, model: dict[str, object]) -> None:
    """Write a spec with a batch of at most 4."""
    spec = {
        "onnxpack": 1,
        "name": "large",
        "model": model,
        "inputs": {"x": {"dtype": "float32", "shape": ["batch", SIDE]}},
        "dynamic_axes": {"batch": {"min": 1, "max": 4}},
    }
    (folder / "spec.yaml").write_text(json.dumps(spec))


if __name__ == "__main__":
    main()
