"""Cases of what clients really send: pictures and texts, with what the training libraries make of them.

The source model answers them as it answers all other cases. So an image is tested as it will be asked, and an image
whose module decodes or tokenizes otherwise than the libraries did gives other answers than the source.
"""

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxpack.core.values import CLIENT, Axis, TensorInfo
from onnxpack.data.test_inputs import Arrays, draw, measure_sizes
from onnxpack.intake.reference import Make, make_reference
from onnxpack.intake.samples import make_samples
from onnxpack.spec.intakes import Intake, list_client_axes, list_client_inputs, list_intakes
from onnxpack.spec.load import SpecFile
from onnxpack.spec.served import make_served_spec

_MOST_ROWS = 16
"""The rows of one case: real pictures take far more time than random tensors."""
_MANY = 5
_WORDS = {"f": "FP", "i": "INT", "u": "UINT"}


@dataclass(frozen=True)
class ClientCase:
    """A request as a client sends it, and the tensors that the training libraries make of it."""

    name: str
    sizes: dict[str, int]
    """Of the axes of what the ONNX file takes."""
    request: dict[str, Any]
    """By the Open Inference Protocol, in JSON."""
    sent: Arrays


def make_cases(file: SpecFile) -> Iterator[ClientCase]:
    """Yield cases of several numbers of rows; none where clients send tensors."""
    intakes = list_intakes(file.spec)
    if not intakes:
        return
    makers = [make_reference(file, intake) for intake in intakes]
    for number, rows in enumerate(_choose_rows(list_client_axes(file.spec), intakes[0].taken[0])):
        yield _make_case(file, list(zip(intakes, makers, strict=True)), number, rows)


def _choose_rows(axes: Sequence[Axis], info: TensorInfo) -> list[int]:
    """Return the numbers of rows of each case: the fewest, the usual, and some between, with one row more than once."""
    size = info.shape[0] if info.shape else 1
    if isinstance(size, int):
        return [size] * 3
    axis = next(axis for axis in axes if axis.name == size)
    wanted = (axis.min, axis.opt, _MANY, axis.min + 1, axis.min)
    return [min(max(rows, axis.min, 1), axis.max, max(_MOST_ROWS, axis.min)) for rows in wanted]


def _make_case(file: SpecFile, intakes: Sequence[tuple[Intake, Make]], number: int, rows: int) -> ClientCase:
    seen = make_served_spec(file.spec)
    taken: dict[str, list[Any]] = {}
    made: Arrays = {}
    for intake, make in intakes:
        samples = make_samples(seen, intake, make, number, rows)
        taken |= {info.name: [row[place] for row in samples] for place, info in enumerate(intake.taken)}
        made |= make([taken[info.name] for info in intake.taken]) or {}
    spec = replace(seen, inputs={name: seen.inputs[name] for name in made})
    # What other inputs share with tokens follows these, and what they have alone is of its usual size.
    sizes = {axis.name: axis.opt for axis in seen.axes} | measure_sizes(spec, made)
    others = draw(seen, sizes, number)
    sent = {name: made.get(name, array) for name, array in others.items()}
    inputs = [
        _describe_input(info, taken[info.name] if info.name in taken else sent[info.name])
        for info in list_client_inputs(file.spec)
    ]
    return ClientCase(f"{CLIENT}{number}_rows{rows}", sizes, {"inputs": inputs}, sent)


def _describe_input(info: TensorInfo, values: Any) -> dict[str, Any]:
    """Return an input of a request: files in base64, and numbers with strings for those that JSON lacks."""
    if info.dtype == "bytes":
        data: list[Any] = [base64.b64encode(value).decode() for value in values]
        return {"name": info.name, "datatype": "BYTES", "shape": [len(data)], "data": data}
    array = np.asarray(values)
    return {
        "name": info.name,
        "datatype": _name_datatype(array.dtype),
        "shape": list(array.shape),
        "data": [
            str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for value in array.ravel().tolist()
        ],
    }


def _name_datatype(dtype: np.dtype[Any]) -> str:
    """Return the protocol's word for a numpy dtype."""
    word = _WORDS.get(dtype.kind)
    return f"{word}{dtype.itemsize * 8}" if word else "BOOL" if dtype.kind == "b" else "BYTES"
