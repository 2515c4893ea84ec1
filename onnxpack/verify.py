"""Judges a model against the source model's own answers. It cannot pass without comparing."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.errors import GateError
from onnxpack.samples import Arrays, read_arrays

TOLERANCES = {"float32": (1e-3, 1e-4)}
"""Relative and absolute, by precision. |a - e| ≤ atol + rtol · |e|, as in ``numpy.isclose``."""

_SHOWN_ROWS = 20


@dataclass(frozen=True)
class Comparison:
    """One output of one case; ``reason`` is empty where it agrees."""

    case: str
    output: str
    max_abs_diff: float
    max_rel_diff: float
    reason: str = ""


def compare(case: str, name: str, expected: Any, actual: Any, rtol: float, atol: float) -> Comparison:
    """Compares dtype, shape, NaN, infinities and values; strings, integers and booleans must be equal."""
    if _dtype(expected) != _dtype(actual):
        return Comparison(case, name, 0.0, 0.0, f"dtype {_dtype(actual)} instead of {_dtype(expected)}")
    if expected.shape != actual.shape:
        return Comparison(case, name, 0.0, 0.0, f"shape {actual.shape} instead of {expected.shape}")
    if expected.dtype.kind != "f":
        wrong = int((expected != actual).sum())
        return Comparison(case, name, 0.0, 0.0, f"{wrong} of {expected.size} values differ" if wrong else "")
    if not np.array_equal(np.isnan(expected), np.isnan(actual)):
        count = int((np.isnan(expected) != np.isnan(actual)).sum())
        return Comparison(case, name, 0.0, 0.0, f"NaN in {count} other places")
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(actual)) or not np.array_equal(
        expected[~finite], actual[~finite], equal_nan=True
    ):
        return Comparison(case, name, 0.0, 0.0, "infinite in other places")
    right, got = expected[finite].astype(np.float64), actual[finite].astype(np.float64)
    absolute = np.abs(got - right)
    relative = absolute / np.maximum(np.abs(right), np.finfo(np.float32).tiny)
    # A relative difference says nothing where the value itself is within the absolute tolerance of zero.
    relative = np.where(np.abs(right) > atol, relative, 0.0)
    outside = int((absolute > atol + rtol * np.abs(right)).sum())
    return Comparison(
        case,
        name,
        float(absolute.max(initial=0.0)),
        float(relative.max(initial=0.0)),
        f"{outside} of {expected.size} values differ" if outside else "",
    )


def _dtype(array: Any) -> str:
    return "string" if array.dtype.kind in "UO" else array.dtype.name


def compare_case(case: str, expected: Arrays, actual: Arrays, rtol: float, atol: float) -> list[Comparison]:
    """All outputs of one case; another set or order of names is a difference of its own."""
    if list(expected) != list(actual):
        return [Comparison(case, ", ".join(actual), 0.0, 0.0, f"the outputs should be {', '.join(expected)}")]
    return [compare(case, name, expected[name], actual[name], rtol, atol) for name in expected]


def verify_model(model: str, reference: str, cases: list[str], rtol: float, atol: float) -> list[dict[str, Any]]:
    """Runs an ONNX file on every case of a Reference with onnxruntime on the CPU. Runs in a child process."""
    from onnxpack.graph.check import session

    running = session(Path(model))
    names = [output.name for output in running.get_outputs()]
    rows = []
    for case in cases:
        inputs, expected = read_case(Path(reference), case)
        try:
            answers = running.run(None, inputs)
        except Exception as error:  # onnxruntime's exceptions share no base
            reason = " ".join(str(error).split())[:300]
            rows.append(Comparison(case, ", ".join(names), 0.0, 0.0, f"it does not run: {reason}"))
            continue
        rows += compare_case(case, expected, dict(zip(names, answers, strict=True)), rtol, atol)
    return [asdict(row) for row in rows]


def read_case(folder: Path, case: str) -> tuple[Arrays, Arrays]:
    """A case's inputs and the source model's outputs."""
    return read_arrays(folder / f"{case}.inputs.npz"), read_arrays(folder / f"{case}.outputs.npz")


def require(what: str, rows: list[Comparison]) -> None:
    """The gate.

    Raises:
        GateError: something differs, or nothing was compared; with a table of what differs where.
    """
    if not rows:
        raise GateError(f"{what}: nothing was compared", "the source must give at least one output")
    failed = [row for row in rows if row.reason]
    if failed:
        raise GateError(
            f"{what}: {len(failed)} of {len(rows)} comparisons differ",
            "look at the rows below; verify.rtol and verify.atol are the tolerances",
            table(failed),
        )


def table(rows: list[Comparison]) -> str:
    """The rows for a person, the first twenty."""
    cells = [("case", "output", "max abs", "max rel", "what differs")]
    cells += [
        (row.case, row.output, f"{row.max_abs_diff:.3g}", f"{row.max_rel_diff:.3g}", row.reason)
        for row in rows[:_SHOWN_ROWS]
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if len(rows) > _SHOWN_ROWS:
        lines.append(f"… and {len(rows) - _SHOWN_ROWS} more")
    return "\n".join(lines)
