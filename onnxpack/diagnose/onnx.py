"""Finds the first difference of an ONNX source: both graphs are run with all their values shown."""

from pathlib import Path
from typing import Any

from onnxpack.core.values import MODEL
from onnxpack.data.test_inputs import Arrays
from onnxpack.diagnose import Judge, UnknownPlaceError
from onnxpack.diagnose.graphs import find_first_difference
from onnxpack.sources import Source
from onnxpack.spec.load import SpecFile


def place(source: Source, model: Any, file: SpecFile, work: Path, inputs: Arrays, judge: Judge) -> str:
    """Describe the first value of the converted graph that the file's own graph disagrees on."""
    assert file.spec.model.path
    found = find_first_difference(file.resolve(file.spec.model.path), work / MODEL, inputs, judge.agrees)
    if not found:
        raise UnknownPlaceError("every value that both graphs name agrees")
    return found
