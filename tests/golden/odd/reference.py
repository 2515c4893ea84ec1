"""The answers of odd's source model, to compare its answers here with."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
                found._asdict()[part][name] = archive[key]
        except Exception as error:  # a damaged archive fails in a dozen ways
            raise ValueError(f"not a reference: {one_line(error)}") from error
    names = [(set(case.inputs), set(case.outputs)) for case in cases.values()]
    if not names or any(pair != (set(INPUTS), set(OUTPUTS)) for pair in names):
        raise ValueError("not a reference of this model")
    return cases


def compare(expected: NDArray[Any], actual: NDArray[Any], limits: NDArray[Any] | None) -> tuple[float, str]:
    """Give the worst difference and, unless the values agree, what is wrong in words.

    They must be equal.
    """
    if actual.dtype == object:
        actual = actual.astype(str)
    if (actual.dtype.kind, actual.shape) != (expected.dtype.kind, expected.shape):
        words = [f"{array.dtype} {show(array.shape)}" for array in (actual, expected)]
        return float("inf"), " instead of ".join(words)
    wrong = int((actual != expected).sum())
    return (1.0, f"{wrong} of {expected.size} values differ") if wrong else (0.0, "")
