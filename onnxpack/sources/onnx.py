"""An existing ONNX file: checked, and converted up to the asked opset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from onnxpack.errors import Problem, SourceError
from onnxpack.graph.check import info_of, opset_of, read_model, session, true_inputs
from onnxpack.graph.finish import mismatches
from onnxpack.samples import Arrays
from onnxpack.spec.load import SpecFile
from onnxpack.spec.wording import closest

_OTHER_OUTPUT = "export it again without ZipMap, sequences and narrow floats"


class Loaded:
    """The file's graph and a session on it."""

    def __init__(self, model: onnx.ModelProto, running: ort.InferenceSession) -> None:
        self.model = model
        self.session = running


def load(file: SpecFile) -> Loaded:
    """The model, its input names matched against the spec's."""
    assert file.spec.model.path
    path = file.resolve(file.spec.model.path)
    model = read_model(path)
    own = [value.name for value in true_inputs(model.graph)]
    problems = [
        Problem(f"'{path.name}' has no input '{name}'", closest(name, own))
        for name in file.spec.inputs
        if name not in own
    ]
    problems += [
        Problem(f"'{path.name}' has an input '{name}' that the spec lacks", "add it to inputs")
        for name in own
        if name not in file.spec.inputs
    ]
    problems += [
        Problem(f"output '{value.name}' of '{path.name}' is no tensor of a dtype that numpy has", _OTHER_OUTPUT)
        for value in model.graph.output
        if info_of(value).dtype in ("unsupported", "bfloat16")
    ]
    if problems:
        raise SourceError(problems)
    wrong, baked = mismatches(model.graph, file.spec)
    if wrong or baked:
        raise SourceError(wrong + baked)
    return Loaded(model, session(path))


def run(model: Loaded, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    """What onnxruntime makes of the file as it is."""
    answers = model.session.run(None, inputs)
    # onnxruntime gives strings as objects, which an npz would have to pickle.
    return [answer.astype(str) if answer.dtype.kind == "O" else answer for answer in answers]


def export(model: Loaded, file: SpecFile, example: Arrays, count: int, destination: Path) -> Sequence[str]:
    """The same graph at the asked opset."""
    graph = model.model
    have, asked = opset_of(graph), file.spec.opset
    if asked is not None and asked < have:
        raise SourceError(f"the model has opset {have}, and cannot go down to {asked}", f"write opset: {have}")
    if asked is not None and asked > have:
        try:
            graph = onnx.version_converter.convert_version(graph, asked)
        except Exception as error:  # the converter raises RuntimeError and more
            raise SourceError(
                f"the model's opset {have} cannot be converted to {asked}: {str(error).strip()[:500]}",
                f"write opset: {have}, or leave it out",
            ) from None
    if tuple(value.name for value in graph.graph.input) != tuple(file.spec.inputs):
        order = {name: index for index, name in enumerate(file.spec.inputs)}
        values = sorted(graph.graph.input, key=lambda value: order.get(value.name, len(order)))
        del graph.graph.input[:]
        graph.graph.input.extend(values)
    onnx.save(graph, destination)
    return [value.name for value in graph.graph.output]
