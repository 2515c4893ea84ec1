"""The steps in front of a model in numpy: they feed the source model, and their ONNX nodes are compared with them.

Everything is computed in float64 by the plain formula and rounded once to the tensor's dtype.
"""

from typing import Any

import numpy as np

from onnxpack.data.test_inputs import Arrays
from onnxpack.spec.graph_pictures import ANTIALIAS_OPSET
from onnxpack.spec.model import DEFAULT_OPSET, Spec
from onnxpack.spec.served import PreStage, list_stages
from onnxpack.spec.table_stages import TableStage
from onnxpack.transforms.dates import compute_date_parts
from onnxpack.transforms.pictures import PICTURES
from onnxpack.transforms.table_columns import compute_table

_IMAGES = 4  # dimensions; with fewer, the first axis need not be that of rows
_PIECE = 2**22  # elements that are processed at once: 32 MiB in float64
Array = np.ndarray[Any, Any]


def uses_antialias(spec: Spec) -> bool:
    """Return whether a resize to a smaller size blurs first, as it does in the spec's opset."""
    return (spec.opset or DEFAULT_OPSET) >= ANTIALIAS_OPSET


def apply_preprocess(spec: Spec, sent: Arrays) -> Arrays:
    """Compute the model's inputs from a client's inputs."""
    chains: dict[str, list[PreStage]] = {}
    now = dict(sent)
    for stage in list_stages(spec)[0]:
        if isinstance(stage, TableStage):  # is the first step of all inputs that it makes
            made, taken = compute_table(stage, now), {info.name for info in stage.taken}
            now = {name: array for name, array in now.items() if name not in taken} | made
        else:
            chains.setdefault(stage.taken.name, []).append(stage)
    now |= {name: _apply_stages(chain, now[name], spec) for name, chain in chains.items()}
    return {name: now[name] for name in (*spec.inputs, *now) if name in now}  # in the order of the model's arguments


def _apply_stages(chain: list[PreStage], array: Array, spec: Spec) -> Array:
    """Apply all steps to an input; to a few images at once, since intermediate results are many times as large."""
    rows = max(1, _PIECE // max(1, array[:1].size)) if array.ndim == _IMAGES else 0
    if 0 < rows < len(array):
        pieces = range(0, len(array), rows)
        return np.concatenate([_apply_stages(chain, array[start : start + rows], spec) for start in pieces])
    for stage in chain:
        array = _apply_stage(stage, array, spec)
    return array


def fold_normalize(stage: PreStage) -> tuple[Array, Array]:
    """Return factor and addend of ``(x / scale - mean) / std``, in float64 and shaped to broadcast over channels."""
    step = stage.step
    mean, std = np.asarray(step.mean, np.float64), np.asarray(step.std, np.float64)
    # Axes of size 1 behind the channels let the values broadcast over height and width.
    behind = len(stage.taken.shape) - stage.axes[0] - 1 if stage.axes else 0
    shape = (-1, *[1] * behind) if stage.axes else ()
    factor, addend = 1 / ((step.scale or 1.0) * std), -mean / std
    return (factor.reshape(shape), addend.reshape(shape)) if stage.axes else (factor[0], addend[0])


def _apply_stage(stage: PreStage, array: Array, spec: Spec) -> Array:
    step, dtype = stage.step, np.dtype(stage.given.dtype)
    if step.op == "date_parts":
        return compute_date_parts(array, step.parts or (), stage.given.dtype)
    if step.op == "cast":
        return array.astype(dtype)
    if step.op == "layout":
        return np.ascontiguousarray(array.transpose(stage.axes))
    if step.op in PICTURES:
        return PICTURES[step.op].compute(stage, array, uses_antialias(spec))
    wide = array.astype(np.float64)
    if step.op == "scale":
        assert step.scale
        return (wide / step.scale).astype(dtype)
    factor, addend = fold_normalize(stage)
    return (wide * factor + addend).astype(dtype)
