"""Tasks on the ONNX side of a conversion: run the ONNX file, and compare its answers with the converted model's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.data.test_inputs import draw, read_arrays, write_arrays
from onnxpack.parity.compare import Comparison, compare
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class RunModel(Task[tuple[str, ...]]):
    """Write ``<case>.inputs.npz`` and ``<case>.outputs.npz`` into ``place``, and return the outputs' names."""

    NAME = "run"
    spec: SpecPart
    model: Path
    cases: tuple[dict[str, int], ...]
    place: Path

    def run(self, folder: Path, say: Say) -> tuple[str, ...]:
        """Run the ONNX file with onnxruntime.

        Raises:
            SourceError: the model is refused by the runtime.
        """
        from onnxpack.graph.check import open_session

        running = open_session(self.model)
        names = tuple(output.name for output in running.get_outputs())
        for number, at in enumerate(self.cases):
            inputs = draw(self.spec.file.spec, at, number)
            answers = dict(zip(names, running.run(None, inputs), strict=True))
            write_arrays(self.place / f"{number}.inputs.npz", inputs)
            write_arrays(self.place / f"{number}.outputs.npz", answers)
        return names


def compare_layouts(name: str, expected: Any, actual: Any, case: str) -> tuple[Comparison, bool]:
    """Compare one output as it is, and if that fails with its channels moved back from the last axis to the second.

    Return the comparison, and whether the channels were moved.
    """
    row = compare(case, name, expected, actual, None, None)
    if row.reason and actual.ndim > 2:
        moved = compare(case, name, expected, np.moveaxis(actual, -1, 1), None, None)
        if not moved.reason:
            return moved, True
    return row, False


@dataclass(frozen=True)
class Agreement:
    """The comparisons of all outputs of all cases, and the outputs that have their channels last now."""

    rows: tuple[Comparison, ...]
    channels_last: tuple[str, ...]


@dataclass(frozen=True)
class CompareConverted(Task[Agreement]):
    """Compare what the ONNX file and the converted model answered; both lie in ``place``."""

    NAME = "verify"
    place: Path
    cases: int

    def run(self, folder: Path, say: Say) -> Agreement:
        """Compare every output of every case."""
        rows: list[Comparison] = []
        last: dict[str, None] = {}
        for number in range(self.cases):
            expected = read_arrays(self.place / f"{number}.outputs.npz")
            actual = read_arrays(self.place / f"{number}.actual.npz")
            for name, right in expected.items():
                row, moved = compare_layouts(name, right, actual[name], str(number))
                rows.append(row)
                if moved:
                    last[name] = None
        return Agreement(tuple(rows), tuple(last))
