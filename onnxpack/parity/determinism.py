"""Check the source model itself: its outputs must be numbers, and the same at each run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpack.core.errors import GateError, Problem
from onnxpack.core.text import plural
from onnxpack.parity.compare import Comparison, compare
from onnxpack.spec.model import Spec

STEADY_CASES = 2
"""How many cases the source runs twice: the smallest, and the one of odd sizes."""

Outputs = Sequence[np.ndarray[Any, Any]]


def require_steady(spec: Spec, case: str, once: Outputs, again: Outputs) -> None:
    """Compare two runs on the same inputs by the default tolerances of the dtypes, whatever the spec's are.

    Raises:
        GateError: an output differs between them; it names each and how far apart they are.
    """
    if len(once) != len(again):
        raise GateError(
            f"the source model gives {plural(len(once), 'output')}, and {len(again)} when it runs again",
            "return the same number of outputs at each call",
        )
    pairs = enumerate(zip(once, again, strict=True))
    rows = [compare(case, _name_output(spec, index), first, second, None, None) for index, (first, second) in pairs]
    problems = [
        Problem(
            f"the source model is not deterministic: output {row.output} differs between two runs on the same inputs "
            f"(case {case}): {_describe_difference(row)}",
            "turn off dropout and random numbers outside training, and keep no state between calls",
        )
        for row in rows
        if row.reason
    ]
    if problems:
        raise GateError(problems)


def require_values(spec: Spec, answers: Sequence[Outputs]) -> None:
    """Require that every output has a value other than NaN: NaN agrees with NaN, which would prove nothing.

    The user's own samples are taken as they are.

    Raises:
        GateError: an output has no value but NaN in all cases.
    """
    if spec.verify.samples:
        return
    problems = []
    for index, arrays in enumerate(zip(*answers, strict=True)):
        values = [array for array in arrays if array.dtype.kind == "f" and array.size]
        if values and all(np.isnan(array).all() for array in values):
            problems.append(
                Problem(
                    f"the source model gives nothing but NaN in output {_name_output(spec, index)}: nothing to compare",
                    "set the inputs' `range` to values that the model was made for, or give real inputs in "
                    "`verify.samples`",
                )
            )
    if problems:
        raise GateError(problems)


def _name_output(spec: Spec, index: int) -> str:
    """Return the spec's name of an output, else its number."""
    return f"'{spec.outputs[index]}'" if index < len(spec.outputs) else f"number {index + 1}"


def _describe_difference(row: Comparison) -> str:
    far = f", up to {row.max_abs_diff:.3g} apart" if row.max_abs_diff else ""
    return f"{row.reason}{far}"
