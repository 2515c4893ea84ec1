"""Asks a second runtime, onnx's reference evaluator, which of two answers an exported file gives by definition."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from onnxpack.data.test_inputs import Arrays, convert_strings
from onnxpack.graph.check import open_session
from onnxpack.hunt.cost import estimate_run_cost

MAX_BYTES = 2**26
"""The largest file in bytes that is run: the evaluator reads it into Python's objects."""
MAX_COST = 2_000_000_000
"""The most work, as ``estimate_run_cost`` counts it: the evaluator's loops are numpy's, and some of them Python's."""

Agree = Callable[[Arrays, list[Any]], bool]


def vote(model: Path, inputs: Arrays, expected: Arrays, agree: Agree) -> list[str]:
    """Return a line on whose answers to ``inputs`` the evaluator's equal: the source's, onnxruntime's or neither's.

    A model that is too large for it, or of operators that are not onnx's own, gives no line.

    Raises:
        Exception: the evaluator fails; of any kind.
    """
    proto = onnx.load(model, load_external_data=False)
    own = all(node.domain in ("", "ai.onnx", "ai.onnx.ml") for node in proto.graph.node)
    if not own or model.stat().st_size > MAX_BYTES or estimate_run_cost(model, inputs) > MAX_COST:
        return []
    with np.errstate(all="ignore"):
        answers = ReferenceEvaluator(str(model)).run(None, inputs)
    second = [convert_strings(np.asarray(answer)) for answer in answers]
    source = agree(expected, second)
    runtime = agree(dict(zip(expected, second, strict=True)), _run_shipped(model, inputs))
    if source and not runtime:
        return ["onnxruntime stands alone: onnx's reference evaluator gives what the source gives"]
    if runtime and not source:
        return ["the source stands alone: onnx's reference evaluator gives what onnxruntime gives"]
    return [] if source else ["onnx's reference evaluator agrees with neither: all three answers differ"]


def _run_shipped(model: Path, inputs: Arrays) -> list[Any]:
    """Return onnxruntime's answers, with the options that the served model has; none if it fails."""
    running = open_session(model)
    try:
        return list(running.run(None, inputs))
    except Exception:  # onnxruntime's exceptions share no base; a failure agrees with nothing
        return []
