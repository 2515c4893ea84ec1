"""Compare the model before `model.prepare` with the one after it, wherever both can be compared."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxpack.core.errors import GateError, Problem
from onnxpack.parity.compare import Comparison, compare_case, format_comparisons
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Spec

Outputs = Sequence[np.ndarray[Any, Any]]


def drop_prepare(file: SpecFile) -> SpecFile:
    """Return the same spec without `model.prepare`."""
    return replace(file, spec=replace(file.spec, model=replace(file.spec.model, prepare=None)))


def compare_forms(before: Outputs, after: Outputs) -> str:
    """Describe how the number, dtypes or shapes of the outputs differ; empty where they agree."""
    if len(before) != len(after):
        return f"`prepare` changes the number of outputs from {len(before)} to {len(after)}"
    for index, (one, other) in enumerate(zip(before, after, strict=True), 1):
        if one.dtype.kind == other.dtype.kind == "U":  # strings of another length have another dtype in numpy
            continue
        if one.dtype != other.dtype:
            return f"`prepare` changes the dtype of output {index} from {one.dtype} to {other.dtype}"
        if one.shape != other.shape:
            return f"`prepare` changes the shape of output {index} from {one.shape} to {other.shape}"
    return ""


def compare_prepared(spec: Spec, cases: Iterable[tuple[str, Outputs, Outputs]]) -> str:
    """Compare the outputs before and after `prepare`, case by case, by the tolerances of the export.

    Returns in words why they cannot be compared; empty where they agree.

    Raises:
        GateError: some values differ; with a table of them.
    """
    rows: list[Comparison] = []
    for case, before, after in cases:
        reason = compare_forms(before, after)
        if reason:
            return reason
        named = len(spec.outputs) == len(before)
        names = spec.outputs if named else [f"output {index}" for index in range(1, len(before) + 1)]
        one, other = (dict(zip(names, outputs, strict=True)) for outputs in (before, after))
        rows += compare_case(case, one, other, spec.verify.rtol, spec.verify.atol)
    failed = [row for row in rows if row.reason]
    if failed:
        raise GateError(
            Problem(
                f"the prepared model differs from the model before `prepare: {spec.model.prepare}`: "
                f"{len(failed)} of {len(rows)} comparisons differ",
                "fold what it removes into what stays, such as a BatchNorm into the convolution before it; "
                "if the change is intended, make it in the factory",
                detail=format_comparisons(failed),
            )
        )
    return ""
