"""Runs ONNX graphs with their inner values shown, and finds the first value that two graphs disagree on."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays, convert_strings
from onnxpack.graph.check import get_opset, list_inputs
from onnxpack.graph.evaluate import Evaluator
from onnxpack.graph.old_opsets import RUNTIME_MIN_OPSET
from onnxpack.parity.compare import clean_runtime_error

MAX_BYTES = 2**28
"""The most bytes of values that are kept at once."""

_CHUNK = 64
"""How many values one session returns: all that it returns is in memory at once, whatever their size."""

Agrees = Callable[[Any, Any], bool]


def run_all(path: Path, inputs: Arrays, names: Iterable[str]) -> Arrays | str:
    """Return the values ``names`` inside a graph, by default its outputs; or the runtime's words if it fails.

    The graph runs without optimisation, which would remove inner values. ``inputs`` are matched by name, or in order
    where the graph names them otherwise. Values beyond ``MAX_BYTES`` in all are left out, and what is no tensor.
    """
    model = onnx.load(path)
    wanted = list(names) or [value.name for value in model.graph.output]
    if get_opset(model) < RUNTIME_MIN_OPSET:
        return _evaluate(model, inputs, wanted)
    found: Arrays = {}
    for start in range(0, len(wanted), _CHUNK):
        try:
            found |= _run(model, inputs, wanted[start : start + _CHUNK])
        except Exception as error:  # onnxruntime's exceptions share no base
            return clean_runtime_error(error)
        if sum(array.nbytes for array in found.values()) > MAX_BYTES:
            break
    return found


def _evaluate(model: onnx.ModelProto, inputs: Arrays, names: list[str]) -> Arrays | str:
    """Run a graph whose opset onnxruntime does not support with the evaluator of ``graph.evaluate``."""
    try:
        values = Evaluator(model).run_all(inputs)
    except SourceError as error:
        return error.problems[0].message
    return {name: values[name] for name in names if isinstance(values.get(name), np.ndarray)}


def _run(model: onnx.ModelProto, inputs: Arrays, names: list[str]) -> Arrays:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal alone: a node that fails is an answer here, and no news for a terminal
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "shown.onnx")
        # One protobuf message ends at 2 GiB, so the weights of a large model stay beside it.
        onnx.save(shown, target, save_as_external_data=shown.ByteSize() > MAX_BYTES)
        session = ort.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
        own = [value.name for value in list_inputs(model.graph)]
        given = inputs if set(own) == set(inputs) else dict(zip(own, inputs.values(), strict=True))
        answers = session.run(None, given)
    return {
        name: convert_strings(answer)
        for name, answer in zip(names, answers, strict=True)
        if isinstance(answer, np.ndarray)
    }


def list_values(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return every value that a node of the main graph computes, in order, with its node."""
    return {name: node for node in model.graph.node for name in node.output if name}


def describe_node(node: onnx.NodeProto, name: str) -> str:
    """Describe a node for a person."""
    called = f" '{node.name}'" if node.name else ""
    return f"the {node.op_type} node{called} (value '{name}')"


def find_first_difference(right: Path, wrong: Path, inputs: Arrays, agrees: Agrees) -> str:
    """Describe the first value, in the second graph's order, that both graphs name and disagree on; "" if none is.

    Outputs are matched by their place, since they may have other names.
    """
    graphs = [onnx.load(path, load_external_data=False) for path in (right, wrong)]
    known, made = map(list_values, graphs)
    places = {new.name: old.name for old, new in zip(graphs[0].graph.output, graphs[1].graph.output, strict=False)}
    pairs = {name: places.get(name, name) for name in made if places.get(name, name) in known}
    expected = run_all(right, inputs, set(pairs.values()))
    actual = run_all(wrong, inputs, pairs)
    if isinstance(expected, str):
        return f"the source's own graph does not run with its values shown: {expected}"
    if isinstance(actual, str):
        return f"the model does not run: {actual}"
    for name, other in pairs.items():
        if name in actual and other in expected and not agrees(expected[other], actual[name]):
            return f"{describe_node(made[name], name)} is the first that differs from the source's"
    return ""
