"""An existing ONNX file, checked, and converted up to the opset that the spec asks for."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxpack.core.errors import GateError, Problem, SourceError
from onnxpack.data.test_inputs import Arrays, convert_strings, draw
from onnxpack.graph.check import get_opset, list_inputs, open_session, read_info, read_model
from onnxpack.graph.convert import make_conversion_passes
from onnxpack.graph.dynamic_axes import free_axes
from onnxpack.graph.evaluate import Evaluator
from onnxpack.graph.external_data import link_data
from onnxpack.graph.finalize import find_mismatches
from onnxpack.graph.old_opsets import RUNTIME_MIN_OPSET
from onnxpack.graph.passes import run_passes
from onnxpack.graph.tidy import DropConstantInputs
from onnxpack.graph.upgrade import UpgradeToOpset7
from onnxpack.parity.compare import TOLERANCES, clean_runtime_error, compare
from onnxpack.sources import Export
from onnxpack.spec.load import SpecFile
from onnxpack.spec.messages import suggest_closest
from onnxpack.spec.model import DEFAULT_OPSET, Spec
from onnxpack.spec.traits import FrameworkTraits

TRAITS = FrameworkTraits(
    safe_endings=("",),
)

_CURE = "export it again with this axis dynamic, or replace its name in `shape` by its size"
_FAILED = re.compile(
    r"while running (?P<op>\S+) node\. Name:'(?P<name>[^']*)'\s*(Status Message: )?(?P<why>.*)", re.DOTALL
)
_OTHER_OUTPUT = "export it again without ZipMap, sequences, bfloat16 and narrower floats"
Answers = Callable[[Arrays], list[np.ndarray[Any, Any]]]
"""Inputs by name to outputs in order."""


@dataclass(frozen=True)
class Loaded:
    """The file's graph at an opset that the runtime has, and a function that runs the graph as the file holds it."""

    model: onnx.ModelProto
    """Of opset 7 or higher: what is exported."""
    folder: Path
    """Where data is that the model does not hold itself."""
    answers: Answers
    opset: int
    """The file's own."""
    freed: Mapping[str, int]
    """The axes that were fixed in the file, each with its size."""


def load(file: SpecFile) -> Loaded:
    """Load the model, and check its inputs against the spec's."""
    assert file.spec.model.path
    path = file.resolve(file.spec.model.path)
    model = read_model(path)
    own = [value.name for value in list_inputs(model.graph)]
    problems = [
        Problem(f"'{path.name}' has no input '{name}'", suggest_closest(name, own))
        for name in file.spec.inputs
        if name not in own
    ]
    problems += [
        Problem(f"'{path.name}' has an input '{name}' that the spec lacks", "add it to `inputs`")
        for name in own
        if name not in file.spec.inputs
    ]
    problems += [
        Problem(f"output '{value.name}' of '{path.name}' is not a tensor of a dtype that numpy has", _OTHER_OUTPUT)
        for value in model.graph.output
        if read_info(value).dtype in ("unsupported", "bfloat16")
    ]
    if problems:
        raise SourceError(problems)
    # The second list, axes of fixed size, is what ``free_axes`` frees below.
    wrong, _ = find_mismatches(model.graph, file.spec)
    if wrong:
        raise SourceError(wrong)
    run_passes(model, (DropConstantInputs(),))
    answers = _runner(model, path)
    freed = free_axes(model, file.spec)
    if freed:
        proved = _runner(model, path, freed=True)
        _prove(answers, Loaded(model, path.parent, proved, get_opset(model), freed), file.spec)
        answers = proved
    return Loaded(_upgrade(model), path.parent, answers, get_opset(model), freed)


def _runner(model: onnx.ModelProto, path: Path, *, freed: bool = False) -> Answers:
    """Return a function that runs the file at ``path``, or the freed ``model`` that was made from it.

    That is onnxruntime, and for a file of opset 1 to 6 with operators that it lacks, onnx's reference evaluator.
    """
    try:
        running = open_session(model.SerializeToString(), path.parent) if freed else open_session(path)
    except SourceError:
        if get_opset(model) >= RUNTIME_MIN_OPSET:
            raise
        return Evaluator(model).run
    return lambda inputs: running.run(None, inputs)


def _upgrade(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model at opset 7 if it has a lower one; the model that is given stays as it is."""
    if get_opset(model) >= RUNTIME_MIN_OPSET:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return run_passes(copy, (UpgradeToOpset7(),)).model


def _prove(original: Answers, loaded: Loaded, spec: Spec) -> None:
    """Prove that the freed model answers as the file does at its own size, and that a batch of two gives both answers.

    Raises:
        GateError: it does not.
    """
    at = {name: loaded.freed.get(name, axis.opt or axis.min) for name, axis in spec.dynamic_axes.items()}
    one, two = (draw(spec, at, case) for case in (0, 1))
    wanted = [original(inputs) for inputs in (one, two)]
    # Only a batch axis makes the answers of two inputs those of each.
    is_batch = tuple(loaded.freed) == (spec.first_size,)
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    pairs = [(wanted[0], run(loaded, one))]
    # An output that is one number for the whole batch says nothing of its rows.
    if is_batch and all(output.ndim for output in wanted[0]):
        pairs.append(([np.concatenate(outputs) for outputs in zip(*wanted, strict=True)], run(loaded, both)))
    for expected, actual in pairs:
        for value, right, got in zip(loaded.model.graph.output, expected, actual, strict=True):
            difference = compare("", value.name, right.astype(got.dtype), got, *TOLERANCES["float32"]).reason
            if difference:
                axes = ", ".join(f"'{name}' of {size}" for name, size in loaded.freed.items())
                raise GateError(
                    f"the model holds on to its fixed size along {axes}: output '{value.name}' has {difference}", _CURE
                )


def run(model: Loaded, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    """Run the file's graph as it is, its fixed axes freed; return the outputs in order."""
    try:
        answers = model.answers(inputs)
    except Exception as error:  # onnxruntime's exceptions share no base
        if not model.freed:
            raise
        words = error.problems[0].message if isinstance(error, SourceError) else str(error)
        raise GateError(_describe_fixed_size(model, inputs, words), _CURE) from None
    return list(map(convert_strings, answers))


def _describe_fixed_size(model: Loaded, inputs: Arrays, words: str) -> str:
    """Describe the node that failed at another size, from onnxruntime's message."""
    found = _FAILED.search(words)
    shapes = ", ".join(f"{name} {value.shape}" for name, value in inputs.items())
    axes = ", ".join(f"'{name}' was {size}" for name, size in model.freed.items())
    node = f"node '{found['name']}' ({found['op']})" if found else "a node"
    reason = clean_runtime_error(found["why"] if found else words)
    return f"{node} holds on to a fixed size ({axes} in the file) and fails on {shapes}: {reason}"


def export(model: Loaded, file: SpecFile, example: Arrays, count: int, destination: Path) -> Export:
    """Write the same graph at the opset that the spec asks for."""
    have = get_opset(model.model)
    # A file that was upgraded is converted on to the default opset; any other keeps its own unless the spec asks.
    asked = file.spec.opset or (have if model.opset == have else DEFAULT_OPSET)
    if asked < have:
        raise SourceError(
            f"the model has opset {have}, and cannot be converted down to {asked}", f"set `opset: {have}`"
        )
    graph = run_passes(model.model, make_conversion_passes(have, asked)).model
    # Clients give inputs by the spec's order.
    if tuple(value.name for value in graph.graph.input) != tuple(file.spec.inputs):
        order = {name: index for index, name in enumerate(file.spec.inputs)}
        values = sorted(graph.graph.input, key=lambda value: order.get(value.name, len(order)))
        del graph.graph.input[:]
        graph.graph.input.extend(values)
    # Linked, so that large weights are copied once, when the finished file is written.
    link_data(graph, model.folder, destination.parent)
    onnx.save(graph, destination)
    return Export(tuple(value.name for value in graph.graph.output))
