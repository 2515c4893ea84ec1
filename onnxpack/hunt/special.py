"""Compare NaN and infinities, which no spec declares; a difference becomes a note and fails no build."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from onnxpack.data.test_inputs import draw
from onnxpack.hunt.extremes import choose_smallest_sizes
from onnxpack.hunt.trial import Trial, Trials, score_rows

VALUES = {"NaN": math.nan, "infinity": math.inf, "-infinity": -math.inf}
_MAX_INPUTS = 4


def find_special_differences(trials: Trials) -> Iterator[str]:
    """Yield a sentence for each special value that the exported model answers differently from the source."""
    spec = trials.spec
    floats = [name for name, tensor in spec.inputs.items() if tensor.dtype in ("float16", "float32", "float64")]
    for name in floats[:_MAX_INPUTS]:
        for word, value in VALUES.items():
            inputs = draw(spec, choose_smallest_sizes(spec.axes), 0)
            if not inputs[name].size:
                continue
            inputs[name].flat[0] = value
            trial = trials.run(inputs)
            if trial is not None and (not trial.actual or score_rows(spec, trial, 1).max() > 1):
                yield f"{word} in `{name}`: {_describe_answers(trial)}"


def _describe_answers(trial: Trial) -> str:
    if not trial.actual:
        return f"the source answers, the model fails: {trial.failure}"
    for name, right in trial.expected.items():
        got = trial.actual[name]
        if right.shape != got.shape:
            return f"the source gives `{name}` the shape {right.shape}, the model {got.shape}"
        with np.errstate(all="ignore"):
            # float32's default tolerances; this is only a note.
            apart = ~np.isclose(right, got, 1e-3, 1e-4, equal_nan=True) if right.dtype.kind == "f" else right != got
        if apart.any():
            place = tuple(np.argwhere(apart)[0]) if right.ndim else ()
            return f"the source gives {_format_value(right[place])} in `{name}`, the model {_format_value(got[place])}"
    return "the source and the model differ"


def _format_value(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "NaN" if math.isnan(value) else f"{float(value):.4g}"
    return repr(value.item() if hasattr(value, "item") else value)
