"""Compare a model's outputs with the source model's own; nothing compared is a failure too."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core import text
from onnxpack.core.errors import GateError, Problem
from onnxpack.core.values import ANSWERS, Reference
from onnxpack.data.test_inputs import Arrays, read_arrays
from onnxpack.parity import distances, quantization_noise
from onnxpack.parity.detections import align_detections
from onnxpack.parity.documents import agree
from onnxpack.parity.label_ties import count_ties
from onnxpack.parity.quantization_noise import NoiseLimits

TOLERANCES: dict[str, tuple[float, float]] = {
    "float64": (1e-5, 1e-6),
    "float32": (1e-3, 1e-4),
    "float16": (1e-2, 1e-3),
    "bfloat16": (5e-2, 1e-2),
}
"""Relative and absolute, by dtype and precision. |a - e| ≤ atol + rtol · |e|, as in ``numpy.isclose``.

The 16-bit floats have about ten units of their last place. float64 is no tighter than that because ONNX's trees
compute in float32 whatever they are given.
"""

_SHOWN_ROWS = 20
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Comparison:
    """The comparison of one output in one case; ``reason`` is empty where it agrees.

    The measures are those of ``onnxpack.parity.distances``, None where they have no value (integers, strings, other
    shapes).
    ``ties`` are labels that differ only because two classes' scores are equal within tolerance.
    """

    case: str
    output: str
    max_abs_diff: float
    max_rel_diff: float
    reason: str = ""
    cosine: float | None = None
    sqnr_db: float | None = None
    argmax_agreement: float | None = None
    ties: int = 0
    rtol: float | None = None
    atol: float | None = None
    noise: float | None = None
    """Of quantized models, see ``onnxpack.parity.quantization_noise``.

    ``atol`` is then the limit of the RMS of the difference.
    """
    what: str = ""
    """What differs, in a word: dtype, shape, labels, values, NaN, infinity, outputs, error."""
    first: str = ""
    """The first element that differs, with its place; empty where no single one can be named."""

    @property
    def differs(self) -> str:
        """Return in a word what differs; empty where the comparison passes."""
        return (self.what or "values") if self.reason else ""


@dataclass(frozen=True)
class Tolerance:
    """The spec's tolerances, None where it gives none, and the model's precision, which then decides."""

    rtol: float | None = None
    atol: float | None = None
    precision: str = "float32"
    limits: NoiseLimits | None = None
    """Of a reduced precision; they decide where neither ``rtol`` nor ``atol`` is given."""
    units: Mapping[str, float] = field(default_factory=dict)
    """The unit of the last digit of outputs that are rounded, by their names."""

    @classmethod
    def of(cls, precision: str, rtol: float | None = None, atol: float | None = None) -> "Tolerance":
        """Return the tolerance of a precision, with the limits that its traits give."""
        return cls(rtol, atol, precision, quantization_noise.limits_of(precision))

    @property
    def noise_limits(self) -> NoiseLimits | None:
        """Return the limits of the noise, where it is that which decides."""
        return self.limits if self.rtol is None and self.atol is None else None

    def __str__(self) -> str:
        if self.noise_limits:
            return f"noise {self.noise_limits.noise:g}"
        rtol, atol = choose_tolerance("float32", self.precision, self.rtol, self.atol)
        return f"rtol {rtol}, atol {atol}"


class ParityError(GateError):
    """The outputs differ; ``rows`` holds every comparison, so that all of them can be shown."""

    def __init__(self, problem: Problem, rows: list[Comparison]) -> None:
        self.rows = rows
        super().__init__(problem)


def choose_tolerance(
    dtype: str, precision: str = "float32", rtol: float | None = None, atol: float | None = None
) -> tuple[float, float]:
    """Return the tolerances (rtol, atol) of an output: those given, else the looser of its dtype and precision.

    At precision float32, which is what a model has by itself, the output's dtype alone decides; so it does for the one
    that is left out at a quantized precision.
    """
    by_dtype = TOLERANCES.get(dtype, TOLERANCES["float32"])
    relative, absolute = by_dtype if precision == "float32" else map(max, by_dtype, TOLERANCES.get(precision, by_dtype))
    return (relative if rtol is None else rtol, absolute if atol is None else atol)


def compare(case: str, name: str, expected: Any, actual: Any, rtol: float | None, atol: float | None) -> Comparison:
    """Compare dtype, shape, NaN, infinities and values; strings, integers and booleans must be equal.

    A tolerance of None is that of the dtype.
    """
    # First, as values of another dtype or shape cannot be compared one by one.
    if _dtype(expected) != _dtype(actual):
        return Comparison(case, name, 0.0, 0.0, f"dtype {_dtype(actual)} instead of {_dtype(expected)}", what="dtype")
    if expected.shape != actual.shape:
        return Comparison(case, name, 0.0, 0.0, f"shape {actual.shape} instead of {expected.shape}", what="shape")
    if expected.dtype.kind != "f":
        apart = np.asarray(expected != actual)
        if expected.dtype.kind == "U" and apart.any():
            limits = choose_tolerance("float32", rtol=rtol, atol=atol)
            apart[apart] = ~np.array(agree(expected[apart], actual[apart], limits))
        wrong = int(apart.sum())
        reason = f"{wrong} of {expected.size} values differ" if wrong else ""
        return Comparison(case, name, 0.0, 0.0, reason, what="labels", first=_first(expected, actual, apart))
    row = _measure_difference(case, name, expected, actual, choose_tolerance(expected.dtype.name, rtol=rtol, atol=atol))
    nans = np.asarray(np.isnan(expected) != np.isnan(actual))
    if nans.any():
        reason, what, apart = f"NaN in {int(nans.sum())} other places", "NaN", nans
    else:
        apart = np.asarray((np.isinf(expected) | np.isinf(actual)) & (expected != actual))
        reason, what = "infinite in other places", "infinity"
    if not apart.any():
        return row
    # No tolerance holds for these, and no noise: equality was asked for.
    return replace(row, reason=reason, what=what, first=_first(expected, actual, apart), rtol=None, atol=None)


def _first(expected: Any, actual: Any, apart: Any) -> str:
    """Describe the first element that differs, as ``3 instead of 2 at [0, 5]``."""
    if not apart.any():
        return ""
    place = tuple(int(index) for index in np.argwhere(apart)[0])
    values = [array[place] for array in (expected, actual)]
    right, got = map(_format_value, _skip_common(*values) if isinstance(values[0], str) else values)
    return f"{got} instead of {right}" + (f" at [{', '.join(map(str, place))}]" if place else "")


def _skip_common(right: str, got: str) -> tuple[str, str]:
    """Leave out of two long texts what they begin with alike, so that the difference is seen."""
    pairs = enumerate(zip(right, got, strict=False))
    alike = next((place for place, (one, other) in pairs if one != other), min(len(right), len(got)))
    if alike < _SHOWN_CHARACTERS // 2:
        return right, got
    start = alike - _SHOWN_CHARACTERS // 4
    return f"…{right[start:]}", f"…{got[start:]}"


def _format_value(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:_SHOWN_CHARACTERS])
    return f"{float(value):.6g}" if isinstance(value, float | np.floating) else str(value)


def _measure_difference(case: str, name: str, expected: Any, actual: Any, tolerance: tuple[float, float]) -> Comparison:
    """Measure the elements that are finite in both."""
    rtol, atol = tolerance
    # NaN and infinities are judged apart: a difference to one of them is NaN or infinite itself.
    finite = np.isfinite(expected) & np.isfinite(actual)
    right, got = expected[finite].astype(np.float64), actual[finite].astype(np.float64)
    wrong = distances.count_outside(right, got, rtol, atol)
    absolute, relative = distances.measure_differences(right, got, atol)
    apart = np.zeros(expected.shape, bool)
    if wrong:
        apart[finite] = ~np.isclose(got, right, rtol, atol)
    return Comparison(
        case,
        name,
        absolute,
        relative,
        f"{wrong} of {expected.size} values differ" if wrong else "",
        distances.compute_cosine(right, got),
        distances.compute_sqnr(right, got),
        # NaN would win every argmax.
        distances.compute_argmax_agreement(expected, actual) if finite.all() else None,
        rtol=rtol,
        atol=atol,
        what="values",
        first=_first(expected, actual, apart),
    )


def _dtype(array: Any) -> str:
    return "string" if array.dtype.kind in "UO" else array.dtype.name


def compare_case(
    case: str,
    expected: Arrays,
    actual: Arrays,
    rtol: float | None = None,
    atol: float | None = None,
    precision: str = "float32",
) -> list[Comparison]:
    """Compare all outputs of one case; other names, or another order of names, are a difference too.

    A tolerance of None is that of each output's dtype and of the precision.
    """
    if list(expected) != list(actual):
        return [
            Comparison(
                case, ", ".join(actual), 0.0, 0.0, f"the outputs should be {', '.join(expected)}", what="outputs"
            )
        ]
    rows = []
    actual, moved = align_detections(expected, actual)
    for name, right in expected.items():
        row = compare(case, name, right, actual[name], *choose_tolerance(right.dtype.name, precision, rtol, atol))
        # Integers, booleans and strings are labels, and may differ where scores tie.
        if row.reason and right.dtype.kind in "biuU":
            ties = count_ties(expected, actual, name, lambda dtype: choose_tolerance(dtype, precision, rtol, atol))
            row = replace(row, reason="", ties=ties) if ties else row
        rows.append(replace(row, ties=moved[name]) if name in moved and not row.reason else row)
    return rows


def compare_cases(
    cases: Iterable[tuple[str, Arrays, Arrays]], tolerance: Tolerance, spreads: dict[str, float] | None = None
) -> list[Comparison]:
    """Compare all outputs of all cases, given as name, expected and actual outputs.

    Without a given tolerance, quantized precisions are judged by their noise; ``spreads`` are those of the outputs,
    left out: over these cases.
    """
    if tolerance.noise_limits is None:
        return [row for case in cases for row in _compare_rounded(*case, tolerance)]
    judge = quantization_noise.Judge(tolerance.noise_limits, spreads)
    for name, expected, actual in cases:
        aligned = align_detections(expected, actual)[0]
        for row in _compare_rounded(name, expected, aligned, tolerance):
            judge.add(row, expected.get(row.output), aligned.get(row.output))
    return judge.rows()


def _compare_rounded(case: str, expected: Arrays, actual: Arrays, tolerance: Tolerance) -> list[Comparison]:
    """Compare a case, and allow outputs that are rounded a unit of their last digit, which a tie may cost."""
    rows = []
    for row in compare_case(case, expected, actual, tolerance.rtol, tolerance.atol, tolerance.precision):
        unit = tolerance.units.get(row.output)
        if unit and row.reason and row.atol is not None and row.rtol is not None:
            row = compare(case, row.output, expected[row.output], actual[row.output], row.rtol, row.atol + unit)
        rows.append(row)
    return rows


def verify_model(model: Path, reference: Reference, tolerance: Tolerance) -> list[Comparison]:
    """Run an ONNX file on every case of a Reference with onnxruntime on the CPU, in this child process."""
    from onnxpack.graph.widen import open_cpu_session

    running = open_cpu_session(model)
    tolerance = replace(tolerance, units=reference.units)
    names = [output.name for output in running.get_outputs()]
    cases = reference.select_cases(tolerance.precision)
    failed = []

    def answer_cases() -> Iterator[tuple[str, Arrays, Arrays]]:
        for case in cases:
            inputs, expected = read_case(reference.folder, case)
            try:
                answers = running.run(None, inputs)
            except Exception as error:  # onnxruntime's exceptions share no base
                words = f"it does not run: {clean_runtime_error(error)}"
                failed.append(Comparison(case, ", ".join(names), 0.0, 0.0, words, what="error"))
                continue
            yield case, expected, dict(zip(names, answers, strict=True))

    rows = compare_cases(answer_cases(), tolerance)
    # Back in the order of the cases: those that failed to run were left out of the comparison.
    return sorted((*rows, *failed), key=lambda row: cases.index(row.case))


def clean_runtime_error(error: Exception | str) -> str:
    """Return onnxruntime's error message without the names of its own functions and files."""
    words = " ".join(str(error).split())
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |\S+/onnxruntime/core/\S+:\d+ .*?\) ", "", words)[:300]


def read_case(folder: Path, case: str) -> tuple[Arrays, Arrays]:
    """Read a case's inputs and the source model's outputs."""
    return read_arrays(folder / f"{case}.inputs.npz"), read_arrays(folder / f"{case}.outputs.npz")


def read_answers(folder: Path, case: str) -> Arrays:
    """Read what a client of an image is to get in a case: what the ONNX file is to give, if the module adds nothing."""
    answers = folder / f"{case}{ANSWERS}"
    return read_arrays(answers) if answers.exists() else read_case(folder, case)[1]


def require_parity(what: str, rows: list[Comparison], place: str = "") -> None:
    """Raise a ``ParityError`` if a comparison fails; ``place`` describes where in the model the difference begins.

    Raises:
        GateError: something differs, or nothing was compared; with a table of what differs where.
    """
    if not rows:
        raise GateError(f"{what}: nothing was compared", "make the source model return at least one output")
    failed = [row for row in rows if row.reason]
    if failed:
        problem = Problem(
            f"{what}: {len(failed)} of {text.plural(len(rows), 'comparison')} differ",
            "look at the rows below; `verify.rtol` and `verify.atol` set the tolerances",
            detail="\n".join(filter(None, (format_comparisons(failed), place))),
        )
        raise ParityError(problem, rows)


def format_comparisons(rows: list[Comparison]) -> str:
    """Return the first twenty comparisons as a table; a dash stands where there is no number."""
    cells: list[tuple[str, ...]] = [("case", "output", "max abs", "max rel", "what differs")]
    for row in rows[:_SHOWN_ROWS]:
        measured = row.rtol is not None or row.max_abs_diff > 0
        sizes = (f"{row.max_abs_diff:.3g}", f"{row.max_rel_diff:.3g}") if measured else ("-", "-")
        cells.append((row.case, row.output, *sizes, f"{row.reason}: {row.first}" if row.first else row.reason))
    lines = text.format_table(cells)
    if len(rows) > _SHOWN_ROWS:
        lines.append(f"… and {len(rows) - _SHOWN_ROWS} more")
    return "\n".join(lines)
