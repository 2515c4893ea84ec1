"""The answers of iris's source model, to compare its answers here with."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from files import decode
from inference import INPUTS, OUTPUTS, one_line, show

Arrays = dict[str, NDArray[Any]]


class Case(NamedTuple):
    """Inputs, the source model's outputs for them, and how far those may be missed."""

    inputs: Arrays
    outputs: Arrays
    limits: Arrays  # of each output of floats: rtol, atol, and the RMS that makes up for single values


def read_reference(path: Path) -> dict[str, Case]:
    """Read an npz whose arrays are named CASE/inputs/NAME, CASE/outputs/NAME and CASE/limits/NAME."""
    cases: dict[str, Case] = {}
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            for key in archive.files:
                case, part, name = key.split("/", 2)
                found = cases.setdefault(case, Case({}, {}, {}))
                array = archive[key]
                is_file = part == "inputs" and name in INPUTS and INPUTS[name].dtype is np.bytes_
                found._asdict()[part][name] = decode(name, array) if is_file else array
        except Exception as error:  # a damaged archive fails in a dozen ways
            raise ValueError(f"not a reference: {one_line(error)}") from error
    names = [(set(case.inputs), set(case.outputs)) for case in cases.values()]
    if not names or any(pair != (set(INPUTS), set(OUTPUTS)) for pair in names):
        raise ValueError("not a reference of this model")
    return cases


def compare(expected: NDArray[Any], actual: NDArray[Any], limits: NDArray[Any] | None) -> tuple[float, str]:
    """Give the worst difference and, unless the values agree, what is wrong in words.

    They agree if |actual - expected| is at most atol + rtol * |expected| for each, or its RMS in its limit.
    """
    if (actual.dtype.kind, actual.shape) != (expected.dtype.kind, expected.shape):
        words = [f"{array.dtype} {show(array.shape)}" for array in (actual, expected)]
        return float("inf"), " instead of ".join(words)
    finite = np.isfinite(expected)
    same = np.array_equal(expected[~finite], actual[~finite], equal_nan=True)
    if not same or not np.isfinite(actual[finite]).all():
        return float("inf"), "NaN or infinite in other places"
    right = expected[finite].astype(np.float64)
    difference = np.abs(actual[finite].astype(np.float64) - right)
    rtol, atol, rms = (0.0, 0.0, 0.0) if limits is None else limits
    outside = int((difference > atol + rtol * np.abs(right)).sum())
    worst = float(difference.max(initial=0.0))
    if not outside or np.sqrt((difference**2).mean()) <= rms:
        return worst, ""
    return worst, f"{outside} of {expected.size} values differ"
