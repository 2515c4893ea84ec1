"""Write many small specs that differ: the fleet that is measured.

Run by `.venv/bin/python -m benchmarks.fleet.specs FOLDER --count 500` to have one for other uses; `--lock` pins the
packages of all, which takes the network. The same count and machine give the same files, byte by byte.
"""

import argparse
import hashlib
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_ROWS, _CLASSES, _HIDDEN = 120, 3, 16
_COMMON = """# What all specs of the fleet share.
opset: 17
"""
_SPEC = """onnxpack: 1
extends: ../common.yaml
name: {name}
version: "1.0.0"
description: A small model of the fleet, number {number}

model: {model}
inputs:
  x: {{dtype: float32, shape: [{shape}], range: [-2.0, 2.0]}}
targets:
  cpu: {{device: cpu}}
"""
_AXES = "dynamic_axes:\n  batch: {min: 1, opt: 8, max: 256}\n"
_NETWORK = f"""import torch
from torch import nn


def make(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(width, {_HIDDEN}), nn.ReLU(), nn.Linear({_HIDDEN}, {_CLASSES}))
"""


@dataclass(frozen=True)
class Kind:
    """One kind of model: its file, and what a spec says of it."""

    name: str
    framework: str
    file: str
    make: Callable[[int, int], bytes]
    """Makes the file from the number of features and a seed."""
    rows: str = "4"
    """The first dimension of its input."""


def write_fleet(folder: Path, count: int) -> list[Path]:
    """Write ``count`` specs into a Git work tree, each in a folder of its own, and return their files in order."""
    make_work_tree(folder)
    return [write_spec(folder, number) for number in range(count)]


def make_work_tree(folder: Path) -> None:
    """Make a Git work tree with what all specs of the fleet extend."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)  # a spec's paths stay in its work tree
    (folder / "common.yaml").write_text(_COMMON)


def write_spec(folder: Path, number: int, variant: int = 0) -> Path:
    """Write one spec of the fleet and return its file; another ``variant`` has the same form and other numbers."""
    kind = KINDS[number % len(KINDS)]
    width, seed = 3 + number % 11, number + 100_000 * variant
    place = folder / f"model-{number:05}-{kind.name}"
    place.mkdir(exist_ok=True)
    data = kind.make(width, seed)
    (place / kind.file).write_bytes(data)
    if kind.framework == "torch":
        source = f"factory: {kind.file}:make, kwargs: {{width: {width}, seed: {seed}}}, weights: none"
    else:
        source = f"path: {kind.file}, sha256: {hashlib.sha256(data).hexdigest()}"
    model, shape = f"{{framework: {kind.framework}, {source}}}", f"{kind.rows}, {width}"
    text = _SPEC.format(name=place.name, number=number, model=model, shape=shape)
    file = place / "spec.yaml"
    file.write_text(text + (_AXES if kind.rows == "batch" else ""))
    return file


def lock_fleet(folder: Path) -> None:
    """Pin the packages of all specs below a folder."""
    subprocess.run([sys.executable, "-m", "onnxpack", "lock", str(folder)], check=True, stderr=subprocess.DEVNULL)


def make_logistic(width: int, seed: int) -> bytes:
    """Train a logistic regression."""
    from sklearn.linear_model import LogisticRegression

    features, labels = _draw_table(width, seed)
    return _dump(LogisticRegression(max_iter=50).fit(features, labels))


def make_forest(width: int, seed: int) -> bytes:
    """Train a small forest."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(n_estimators=8, max_depth=4, n_jobs=1, random_state=seed)
    return _dump(forest.fit(*_draw_table(width, seed)))


def make_ridge(width: int, seed: int) -> bytes:
    """Fit a line to scaled columns."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _draw_table(width, seed)
    return _dump(make_pipeline(StandardScaler(), Ridge()).fit(features, labels.astype(np.float32)))


def make_dense(width: int, seed: int) -> bytes:
    """Write a network of two dense layers as ONNX."""
    return _make_onnx(width, seed, ("Relu", "MatMul", "Sigmoid"))


def make_shallow(width: int, seed: int) -> bytes:
    """Write one dense layer as ONNX."""
    return _make_onnx(width, seed, ("Tanh",))


def make_network(width: int, seed: int) -> bytes:
    """Return the factory of a network of torch, which takes the other two as arguments."""
    del width, seed
    return _NETWORK.encode()


KINDS = (
    Kind("logistic", "sklearn", "model.joblib", make_logistic),
    Kind("dense", "onnx", "model.onnx", make_dense),
    Kind("forest", "sklearn", "model.joblib", make_forest, rows="batch"),
    Kind("torch", "torch", "model.py", make_network),
    Kind("ridge", "sklearn", "model.joblib", make_ridge),
    Kind("shallow", "onnx", "model.onnx", make_shallow),
)


def _draw_table(width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of features, and a class for each row."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(_ROWS, width)).astype(np.float32)
    return features, (features @ rng.normal(size=(width, _CLASSES))).argmax(axis=1)


def _dump(estimator: object) -> bytes:
    import joblib

    joblib.dump(estimator, stream := io.BytesIO())
    return stream.getvalue()


def _make_onnx(width: int, seed: int, operators: tuple[str, ...]) -> bytes:
    """Return an ONNX file: a multiplication by weights, then the operators one after the other."""
    from onnx import TensorProto, checker, helper, numpy_helper

    rng = np.random.default_rng(seed)
    nodes, weights, last, size = [], [], "x", width
    for number, operator in enumerate(("MatMul", *operators)):
        inputs = [last]
        if operator == "MatMul":
            sizes = (size, _HIDDEN)
            weights.append(numpy_helper.from_array(rng.normal(size=sizes).astype(np.float32), f"weights{number}"))
            inputs.append(f"weights{number}")
            size = _HIDDEN
        last = "y" if number == len(operators) else f"value{number}"
        nodes.append(helper.make_node(operator, inputs, [last]))
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, columns])
        for name, columns in (("x", width), ("y", size))
    )
    graph = helper.make_graph(nodes, "fleet", [given], [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def main() -> None:
    """Write a fleet into a folder."""
    parser = argparse.ArgumentParser("python -m benchmarks.fleet.specs", description="Write many small specs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--lock", action="store_true", help="pin the packages of all")
    arguments = parser.parse_args()
    write_fleet(arguments.folder, arguments.count)
    if arguments.lock:
        lock_fleet(arguments.folder)


if __name__ == "__main__":
    main()
