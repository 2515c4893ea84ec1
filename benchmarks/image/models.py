"""The models: specs of them for onnxpack, files of them for a Dockerfile, and the answer that is right.

A model's variants differ in their weights alone, so that one can take another's place.
"""

import atexit
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from benchmarks.image.subjects import IRIS, RESNET

ROOT = Path(__file__).resolve().parents[2]
SPECS = {IRIS: ROOT / "specs/iris", RESNET: ROOT / "specs/torchvision"}
OUTPUTS = {IRIS: "probabilities", RESNET: "logits"}
INPUTS = {IRIS: ("float_input", (1, 4)), RESNET: ("image", (1, 3, 32, 32))}
_KWARGS = "{classes: 10}"


@dataclass(frozen=True)
class Question:
    """A request's body, and the numbers of the output that is compared."""

    body: bytes
    output: str
    expected: NDArray[Any]

    def check(self, answer: bytes) -> str:
        """Say what is wrong with an answer; an empty text if it is right."""
        outputs = json.loads(answer).get("outputs", [])
        found: list[float] = next((item["data"] for item in outputs if item["name"] == self.output), [])
        if len(found) != self.expected.size or not np.allclose(found, self.expected.ravel(), rtol=1e-4, atol=1e-5):
            return f"{self.output} is {str(found)[:200]}, and should be {self.expected.ravel()[:4]}…"
        return ""


def find_spec_name(model: str) -> str:
    """Return the name that the written spec gives to its images: no image of the example's own name is replaced."""
    return f"benchmark-{SPECS[model].name}"


def write_spec(model: str, variant: int, base: str, folder: Path) -> Path:
    """Write the spec of a variant, on a base, over what the folder has; return the folder."""
    shutil.copytree(SPECS[model], folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "spec.yaml"
    text = file.read_text().replace(f"\nname: {SPECS[model].name}\n", f"\nname: {find_spec_name(model)}\n")
    if "\nimage:" in text:
        raise SystemExit(f"{SPECS[model]} has an image of its own: leave it out there, or write its base here")
    if model == IRIS and variant:
        (folder / "iris.joblib").write_bytes(make_forest(variant))
        old = hashlib.sha256((SPECS[model] / "iris.joblib").read_bytes()).hexdigest()
        text = text.replace(old, hashlib.sha256((folder / "iris.joblib").read_bytes()).hexdigest())
    if model == RESNET:
        text = text.replace(_KWARGS, f"{{classes: 10, seed: {variant}}}")
    file.write_text(f"{text}\nimage: {{base: '{base}'}}\n")
    return folder


def write_file(model: str, variant: int, name: str, path: Path) -> None:
    """Write the file of a variant that a Dockerfile copies: ONNX, joblib or an exported program of PyTorch."""
    if name.endswith(".joblib"):
        path.write_bytes(make_forest(variant) if variant else (SPECS[model] / "iris.joblib").read_bytes())
    elif name.endswith(".pt2"):
        path.write_bytes(make_program(variant))
    else:
        path.write_bytes(make_onnx(model, variant))


@cache
def make_forest(variant: int) -> bytes:
    """Train a forest as the example's, from another seed."""
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    features, species = load_iris(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=30, max_depth=5, n_jobs=1, random_state=variant)
    forest.fit(features, species)
    joblib.dump(forest, path := _scratch() / f"{variant}.joblib", compress=("zlib", 9))
    return path.read_bytes()


@cache
def make_program(variant: int) -> bytes:
    """Export the network of a seed as a program that needs torch alone."""
    import torch

    module = _load_factory().resnet(seed=variant).eval()
    name = _scratch() / f"{variant}.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(INPUTS[RESNET][1]),)), name)
    return name.read_bytes()


@cache
def make_onnx(model: str, variant: int) -> bytes:
    """Return the ONNX file that onnxpack exports, for a later variant with other numbers in it."""
    folder = _scratch() / find_spec_name(model)
    if not variant:
        command = [sys.executable, "-m", "onnxpack", "build", str(SPECS[model]), "--until", "optimize"]
        subprocess.run([*command, "--output", str(folder)], cwd=ROOT, check=True, capture_output=True)
        return next(folder.rglob("model.onnx")).read_bytes()
    proto = onnx.load_from_string(make_onnx(model, 0))
    rng = np.random.default_rng(variant)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            values = (values * rng.uniform(0.9, 1.1, values.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in proto.graph.node:
        for attribute in node.attribute:
            attribute.floats[:] = [value * rng.uniform(0.9, 1.1) for value in attribute.floats]
    return bytes(proto.SerializeToString())


@cache
def make_question(model: str) -> Question:
    """Make the request whose answer is compared, and run the first variant here for it."""
    name, shape = INPUTS[model]
    array = np.random.default_rng(7).uniform(0, 2.5, shape).astype(np.float32)
    session = onnxruntime.InferenceSession(make_onnx(model, 0), providers=["CPUExecutionProvider"])
    (expected,) = session.run([OUTPUTS[model]], {name: array})
    data = [float(f"{value:.7g}") for value in array.flat]
    item = {"name": name, "datatype": "FP32", "shape": list(shape), "data": data}
    return Question(json.dumps({"inputs": [item]}).encode(), OUTPUTS[model], expected)


@cache
def _scratch() -> Path:
    """Return a folder that goes when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="onnxpack-models-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def _load_factory() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_model", SPECS[RESNET] / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
