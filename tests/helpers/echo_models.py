"""A model that gives back what it takes, with steps around it: its nodes in onnxruntime, beside numpy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from exporting import write_spec
from onnx import helper
from onnx_examples import make_model

from onnxpack.data.test_inputs import Arrays
from onnxpack.graph.check import DTYPES, open_session, read_facts
from onnxpack.spec.load import SpecFile
from onnxpack.spec.served import make_served_spec
from onnxpack.transforms.arrays import apply_preprocess
from onnxpack.transforms.graphs import add_steps
from onnxpack.transforms.outputs import apply_postprocess

NUMBERS = {word: number for number, word in DTYPES.items()}
OPSETS = (7, 9, 10, 11, 12, 13, 17, 18, 22)
FLOATS = ("float16", "float32", "float64")
TOLERANCE = {"float16": 1e-3, "float32": 2e-6, "float64": 1e-12}
AXES = {"n": {"min": 1, "max": 3}}
Make = Callable[..., SpecFile]


def write_echo(folder: Path, dtype: str, shape: list[Any], opset: int = 18, **fields: Any) -> SpecFile:
    """Write a spec of a model that gives back what it takes: ``x`` as ``y``."""
    values = [[(name, NUMBERS[dtype], shape)] for name in ("x", "y")]
    model = make_model([helper.make_node("Identity", ["x"], ["y"], "same")], *values, opset=opset, ir=8)
    onnx.save(model, folder / "m.onnx")
    inputs = {"x": {"dtype": dtype, "shape": shape}}
    axes = {name: size for name, size in AXES.items() if name in shape}
    fields = {"inputs": inputs, "outputs": ["y"], "opset": opset, "dynamic_axes": axes} | fields
    return write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, **fields)


def run_both(file: SpecFile, sent: Arrays) -> tuple[Arrays, Arrays, list[str]]:
    """Run the model ``m.onnx``, which gives back each input ``x…`` as ``y…``, with its steps, and do them in numpy."""
    folder = file.folder / "out"
    folder.mkdir(exist_ok=True)
    answer = add_steps(file.folder / "m.onnx", folder, file).model
    running = open_session(folder / "model.onnx")
    names = [output.name for output in running.get_outputs()]
    actual = dict(zip(names, running.run(None, sent), strict=True))
    model = read_facts(folder / "model.onnx")
    assert answer == model
    assert model.inputs == make_served_spec(file.spec).input_infos
    for info in model.outputs:
        dtype = actual[info.name].dtype
        assert info.dtype == ("string" if dtype.kind in "OU" else dtype.name)
        known = zip(info.shape, actual[info.name].shape, strict=True)
        assert all(size == real for size, real in known if isinstance(size, int))
    taken = apply_preprocess(file.spec, sent)
    expected = apply_postprocess(file, {f"y{name[1:]}": array for name, array in taken.items()})
    return actual, expected, list(model.ops)


def run_and_compare(file: SpecFile, sent: Arrays, loose: float = 1) -> tuple[Arrays, list[str]]:
    """Run the model with its steps and compare it with numpy; gives the outputs and the operators."""
    actual, expected, ops = run_both(file, sent)
    assert list(actual) == list(expected)
    for name, right in expected.items():
        got = actual[name]
        assert got.shape == right.shape
        if right.dtype.kind == "f":
            assert got.dtype == right.dtype
            tolerance = TOLERANCE[right.dtype.name] * loose
            np.testing.assert_allclose(got, right, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got, right)
    return actual, ops


def floats(dtype: str, *shape: int) -> Any:
    """Draw the same numbers each time."""
    return (np.random.default_rng(0).standard_normal(shape) * 3).astype(dtype)
