"""Finds the first step of a scikit-learn pipeline that differs: each beginning of it is exported and compared."""

from pathlib import Path
from typing import Any

from onnxpack.core.errors import OnnxpackError
from onnxpack.data.test_inputs import Arrays, choose_tracing_sizes, draw
from onnxpack.diagnose import Judge, UnknownPlaceError
from onnxpack.diagnose.graphs import run_all
from onnxpack.sources import Source
from onnxpack.spec.load import SpecFile


def place(source: Source, model: Any, file: SpecFile, work: Path, inputs: Arrays, judge: Judge) -> str:
    """Describe the first step whose outputs differ."""
    from sklearn.pipeline import Pipeline

    if not isinstance(model, Pipeline):
        return f"the whole {type(model).__name__} is one step: its converter is what differs"
    for end, (name, step) in enumerate(model.steps, 1):
        if step in (None, "passthrough"):
            continue
        if not _agrees(source, model[:end] if end < len(model.steps) else model, file, work, inputs, judge):
            return f"the step '{name}' ({type(step).__name__}) is the first that differs from the source's"
    raise UnknownPlaceError("every step agrees")


def _agrees(source: Source, part: Any, file: SpecFile, work: Path, inputs: Arrays, judge: Judge) -> bool:
    """Return whether the pipeline's beginning is exported right; one that cannot be exported counts as right."""
    target = work / "part.onnx"
    example = draw(file.spec, choose_tracing_sizes(file.spec.axes), 0)
    try:
        expected = source.run(part, inputs)
        source.export(part, file, example, len(expected), target)
    except OnnxpackError:
        return True
    answers = run_all(target, inputs, ())
    named = {str(index): array for index, array in enumerate(expected)}
    return not isinstance(answers, str) and judge.outputs_agree(named, list(answers.values()))
