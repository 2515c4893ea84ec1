"""This side of a conversion, in child processes: what the ONNX file answers, and whether the converted one agrees."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.samples import draw, read_arrays, write_arrays
from onnxpack.spec.load import SpecFile
from onnxpack.verify import compare


def record(spec: str, model: str, cases: list[dict[str, int]], folder: str) -> list[str]:
    """Writes ``<case>.inputs.npz`` and ``<case>.outputs.npz``, by onnxruntime; gives the outputs' names.

    Raises:
        SourceError: the model is refused by the runtime.
    """
    from onnxpack.graph.check import session

    file = SpecFile.from_json(spec)
    running = session(Path(model))
    names = [output.name for output in running.get_outputs()]
    for number, at in enumerate(cases):
        inputs = draw(file.spec, at, number)
        write_arrays(Path(folder) / f"{number}.inputs.npz", inputs)
        write_arrays(Path(folder) / f"{number}.outputs.npz", dict(zip(names, running.run(None, inputs), strict=True)))
    return names


def compare_layouts(name: str, expected: Any, actual: Any, case: str) -> tuple[dict[str, Any], bool]:
    """One output as it is, else with its channels moved back from the last axis to the second."""
    row = compare(case, name, expected, actual, None, None)
    if row.reason and actual.ndim > 2:
        moved = compare(case, name, expected, np.moveaxis(actual, -1, 1), None, None)
        if not moved.reason:
            return asdict(moved), True
    return asdict(row), False


def compare_all(folder: str, cases: int) -> dict[str, Any]:
    """All outputs of all cases: ``rows``, and which outputs are ``channels_last``."""
    rows: list[dict[str, Any]] = []
    last: dict[str, None] = {}
    for number in range(cases):
        expected = read_arrays(Path(folder) / f"{number}.outputs.npz")
        actual = read_arrays(Path(folder) / f"{number}.actual.npz")
        for name, right in expected.items():
            row, moved = compare_layouts(name, right, actual[name], str(number))
            rows.append(row)
            if moved:
                last[name] = None
    return {"rows": rows, "channels_last": list(last)}
