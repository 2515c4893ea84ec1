"""A framework, a precision and a device are one new file each: nothing else names them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpack
from onnxpack.spec import traits
from onnxpack.spec.traits import PrecisionTraits, frameworks, precisions

FRAMEWORK = '''"""Linear models: a text file of weights."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxpack.sources import Export
from onnxpack.spec.traits import FrameworkTraits

TRAITS = FrameworkTraits(
    endings=(".linear",),
    safe_endings=(".linear",),
    max_opset=17,
)


def load(file):
    return np.loadtxt(file.resolve(file.spec.model.path), np.float32, ndmin=2)


def run(model, inputs):
    return [next(iter(inputs.values())) @ model]


def export(model, file, example, count, destination):
    name = next(iter(example))
    sizes = {name: model.shape[0], "y": model.shape[1]}
    x, y = (helper.make_tensor_value_info(end, TensorProto.FLOAT, ["b", size]) for end, size in sizes.items())
    node = helper.make_node("MatMul", [name, "w"], ["y"])
    graph = helper.make_graph([node], "linear", [x], [y], [numpy_helper.from_array(model, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", file.spec.opset)], ir_version=8)
    onnx.save(made, destination)
    return Export(("y",))
'''
PRECISION = '''"""Weights in 8 bits with one scale for each tensor."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxpack.precision import Converted
from onnxpack.spec.traits import PrecisionTraits

TRAITS = PrecisionTraits(
    noise=(0.25, 0.1),
    tried_on={"cpu": 9},
)


def refusal(wish, model):
    return ""


def convert(job):
    graph = job.model.graph
    nodes, weights = [], []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        scale = np.float32(np.abs(array).max() / 127)
        weights.append(numpy_helper.from_array(np.round(array / scale).astype(np.int8), f"{tensor.name}_int8"))
        weights.append(numpy_helper.from_array(scale, f"{tensor.name}_scale"))
        nodes.append(helper.make_node("DequantizeLinear", [weight.name for weight in weights[-2:]], [tensor.name]))
    nodes += graph.node
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    return Converted(job.model)
'''
DEVICE = '''"""A device of its own."""

import dataclasses

from onnxpack.targets import cpu

DEVICE = dataclasses.replace(cpu.DEVICE, name="npu", env={"NPU": "1"})
'''


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A folder with a copy of the package that has three files more."""
    package = tmp_path / "lib/onnxpack"
    here = Path(onnxpack.__file__).parent
    shutil.copytree(here, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(here.parent / "templates", package.parent / "templates")
    (package / "sources/linear.py").write_text(FRAMEWORK)
    (package / "precision/plain_int8.py").write_text(PRECISION)
    (package / "targets/npu.py").write_text(DEVICE)
    return package.parent


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    np.savetxt(tmp_path / "model.linear", np.linspace(-1, 1, 32).reshape(8, 4))
    fields: dict[str, Any] = {
        "onnxpack": 1,
        "name": "linear",
        "model": {"framework": "linear", "path": "model.linear"},
        "inputs": {"x": {"dtype": "float32", "shape": ["b", 8]}},
        "dynamic_axes": {"b": [1, 8]},
        "opset": 17,
        "targets": {"edge": {"device": "npu", "precision": "plain-int8"}},
    }
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(fields))
    return path


def run(extended: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onnxpack", *map(str, arguments)]
    environment = {"PYTHONPATH": str(extended), "PATH": "/usr/bin:/bin", "ONNXPACK_CACHE": str(extended / "store")}
    return subprocess.run(command, cwd=extended.parent, env=environment, capture_output=True, text=True, check=False)


def test_new_files_add_a_framework_a_precision_and_a_device_to_a_build(extended: Path, spec: Path) -> None:
    built = run(extended, "build", spec, "--until", "optimize", "--json")
    assert built.returncode == 0, built.stderr
    (report,) = json.loads(built.stdout)
    assert report["model"]["precision"] == "plain-int8"
    assert [row["passed"] for row in report["candidates"]] == [True, True]
    assert report["parity"]["passed"]


def test_new_files_bring_their_rules(extended: Path, spec: Path) -> None:
    bad = ["model.path=model.onnx", "opset=18", "targets.edge.precision=plain-int9"]
    found = run(extended, "validate", spec, *(word for setting in bad for word in ("--set", setting)))
    assert found.returncode == 2
    assert "its name must end in .linear" in found.stderr
    assert "linear makes opset 17 at most" in found.stderr
    assert "did you mean 'plain-int8'?" in found.stderr


def test_without_the_files_nothing_knows_their_words(spec: Path) -> None:
    package = Path(onnxpack.__file__).parents[1]
    found = run(package, "validate", spec)
    assert found.returncode == 2
    assert "model.framework: unknown 'linear'" in found.stderr


def test_traits_are_those_that_the_modules_hold_when_imported() -> None:
    """What is read from the source is what Python would read."""
    from onnxpack.precision import load_precision

    for name, found in precisions().items():
        assert found == load_precision(name).TRAITS
    code = "import sys, importlib; print(repr(importlib.import_module(f'onnxpack.sources.{sys.argv[1]}').TRAITS))"
    for name in sorted(set(frameworks()) - {"keras"}):  # which is not installed here
        read = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
        assert read.stdout.strip() == repr(frameworks()[name])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TRAITS = PrecisionTraits(\n    noise=(compute(), 1),\n)\n", "malformed node"),
        ("TRAITS = PrecisionTraits(\n    (0.1, 0.1),\n)\n", "with named arguments"),
        ("TRAITS = FrameworkTraits(\n    max_opset=1,\n)\n", "must be PrecisionTraits"),
    ],
)
def test_traits_that_are_no_literals_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "precision").mkdir()
    (tmp_path / "precision/odd.py").write_text(text)
    monkeypatch.setattr(traits, "_PACKAGE", tmp_path)
    with pytest.raises(ValueError, match=words):
        traits._read_traits("precision", PrecisionTraits)
