"""The steps around a model in numpy: they feed the source model, and their ONNX nodes are compared with them.

Everything is computed in float64 by the plain formula and rounded once to the tensor's dtype.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from onnxpack.core.errors import SpecError
from onnxpack.core.values import Shape, TensorInfo
from onnxpack.data.test_inputs import Arrays, get_dtype_word
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import DEFAULT_OPSET, Spec
from onnxpack.spec.served import FLOATS, PreStage, list_stages
from onnxpack.spec.step_rules import list_step_outputs
from onnxpack.spec.steps import PostprocessStep
from onnxpack.transforms.resize import resize_array

ANTIALIAS_OPSET = 18
"""From here on ONNX's Resize can blur before it makes smaller, as Pillow and torchvision do."""
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_IMAGES = 4  # dimensions; with fewer, the first axis need not be that of rows
_PIECE = 2**22  # elements that are processed at once: 32 MiB in float64
Array = np.ndarray[Any, Any]
_T = TypeVar("_T")


def uses_antialias(spec: Spec) -> bool:
    """Return whether a resize to a smaller size blurs first, as it does in the spec's opset."""
    return (spec.opset or DEFAULT_OPSET) >= ANTIALIAS_OPSET


def apply_preprocess(spec: Spec, sent: Arrays) -> Arrays:
    """Compute the model's inputs from a client's inputs."""
    chains: dict[str, list[PreStage]] = {}
    for stage in list_stages(spec)[0]:
        chains.setdefault(stage.taken.name, []).append(stage)
    return dict(sent) | {name: _apply_stages(chain, sent[name], spec) for name, chain in chains.items()}


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
    if step.op == "cast":
        return array.astype(dtype)
    if step.op == "layout":
        return np.ascontiguousarray(array.transpose(stage.axes))
    if step.op == "resize":
        assert step.size
        return resize_array(array, stage.axes, step.size, uses_antialias(spec))
    wide = array.astype(np.float64)
    if step.op == "scale":
        assert step.scale
        return (wide / step.scale).astype(dtype)
    factor, addend = fold_normalize(stage)
    return (wide * factor + addend).astype(dtype)


@dataclass(frozen=True)
class PostStage:
    """A step of ``postprocess`` with its input ``taken`` and its outputs ``given``; ``axis`` is not negative."""

    step: PostprocessStep
    taken: TensorInfo
    given: tuple[TensorInfo, ...]
    axis: int
    labels: tuple[str, ...] = ()


def make_post_stages(file: SpecFile, outputs: tuple[TensorInfo, ...]) -> tuple[tuple[PostStage, ...], list[str]]:
    """Return the steps behind a model with these outputs, and the names of the final outputs in order.

    Raises:
        SpecError: a step cannot be applied to the output that it names, or two outputs would have one name.
    """
    now = {info.name: info for info in outputs}
    found = []
    for step in file.spec.postprocess:
        if step.input not in now:
            raise SpecError(f"postprocess: there is no output '{step.input}' here", f"known: {', '.join(now)}")
        stage = _make_post_stage(step, now[step.input], _read_labels(file, step))
        now = place_outputs(now, step, {info.name: info for info in stage.given})
        found.append(stage)
    clash = [name for name in now if name in file.spec.inputs]
    if clash:
        raise SpecError(f"postprocess: the output '{clash[0]}' has an input's name", "set another name in `output`")
    return tuple(found), list(now)


def apply_postprocess(file: SpecFile, outputs: Arrays) -> Arrays:
    """Compute a client's outputs from the model's outputs.

    Raises:
        SpecError: as ``make_post_stages``, or a class has no label.
    """
    now = dict(outputs)
    for step in file.spec.postprocess:
        array = now.get(step.input)
        infos = tuple(TensorInfo(name, get_dtype_word(array.dtype), array.shape) for name, array in now.items())
        only = replace(file, spec=replace(file.spec, postprocess=(step,)))
        ((stage,), _) = make_post_stages(only, infos)
        assert array is not None
        now = place_outputs(now, step, dict(zip(list_step_outputs(step), _apply_post_stage(stage, array), strict=True)))
    return now


def place_outputs(now: Mapping[str, _T], step: PostprocessStep, new: Mapping[str, _T]) -> dict[str, _T]:
    """Return the outputs after a step: new ones come last if ``output`` names them, else in the old one's place.

    Raises:
        SpecError: an output has one of the new names already.
    """
    beside = step.output not in (None, step.input)
    others = [name for name in now if beside or name != step.input]
    clash = [name for name in new if name in others]
    if clash:
        raise SpecError(f"postprocess: the output '{clash[0]}' exists already", "set another name in `output`")
    if beside:
        return {**now, **new}
    result: dict[str, _T] = {}
    for name, value in now.items():
        result |= dict(new) if name == step.input else {name: value}
    return result


def _read_labels(file: SpecFile, step: PostprocessStep) -> tuple[str, ...]:
    if step.labels is None:
        return ()
    try:
        lines = file.resolve(step.labels).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"labels '{step.labels}': {error}", "use a text file in UTF-8 with one label per line"
        ) from None
    if not lines:
        raise SpecError(f"labels '{step.labels}': the file is empty", "put one label on each line")
    return tuple(lines)


def _make_post_stage(step: PostprocessStep, taken: TensorInfo, labels: tuple[str, ...]) -> PostStage:
    integers = step.op == "labels" and taken.dtype in _INTEGERS
    if taken.dtype not in FLOATS and not integers:
        kinds = "class numbers or scores" if step.op == "labels" else "floats"
        raise _refusal(step, f"is for {kinds}, and '{taken.name}' is {taken.dtype}")
    axis = 0
    if not integers and step.op in ("softmax", "argmax", "topk", "labels"):
        axis = _resolve_axis(step, taken)
    size = taken.shape[axis] if taken.shape else 1
    if step.op == "topk" and isinstance(size, int) and step.k and step.k > size:
        raise _refusal(step, f"takes the {step.k} greatest, and '{taken.name}' has {size} along axis {axis}")
    if step.op == "labels" and not integers and isinstance(size, int) and size != len(labels):
        raise _refusal(step, f"has {len(labels)} labels, and '{taken.name}' has {size} classes")
    return PostStage(step, taken, _infer_outputs(step, taken, axis, integers), axis, labels)


def _resolve_axis(step: PostprocessStep, taken: TensorInfo) -> int:
    rank = len(taken.shape)
    axis = -1 if step.axis is None else step.axis
    if not -rank <= axis < rank:
        raise _refusal(step, f"is along axis {axis}, and '{taken.name}' has {rank} dimensions")
    return axis % rank


def _infer_outputs(step: PostprocessStep, taken: TensorInfo, axis: int, integers: bool) -> tuple[TensorInfo, ...]:
    names = list_step_outputs(step)
    without: Shape = (*taken.shape[:axis], *taken.shape[axis + 1 :])
    if step.op == "topk":
        assert step.k
        shape: Shape = (*taken.shape[:axis], step.k, *taken.shape[axis + 1 :])
        return TensorInfo(names[0], taken.dtype, shape), TensorInfo(names[1], "int64", shape)
    if step.op == "argmax":
        return (TensorInfo(names[0], "int64", without),)
    if step.op == "labels":
        return (TensorInfo(names[0], "string", taken.shape if integers else without),)
    return (replace(taken, name=names[0]),)


def _refusal(step: PostprocessStep, words: str) -> SpecError:
    return SpecError(f"postprocess: {step.op} {words}", "correct the step, or set its `input` to another output")


def _apply_post_stage(stage: PostStage, array: Array) -> tuple[Array, ...]:
    if stage.step.op == "topk":
        assert stage.step.k
        # Of equal values the first comes first, as ONNX defines it.
        order = np.argsort(-array, axis=stage.axis, kind="stable")
        best = np.take(order, range(stage.step.k), axis=stage.axis)
        return np.take_along_axis(array, best, axis=stage.axis), best.astype(np.int64)
    if stage.step.op == "argmax":
        return (np.asarray(array.argmax(axis=stage.axis), np.int64),)
    if stage.step.op == "labels":
        return (_apply_labels(stage, array),)
    with np.errstate(all="ignore"):  # infinities give what IEEE 754 says
        return (_FORMULAS[stage.step.op](stage, array.astype(np.float64)).astype(array.dtype),)


def _apply_labels(stage: PostStage, array: Array) -> Array:
    classes = array if array.dtype.kind in "iu" else array.argmax(axis=stage.axis)
    wrong = classes[(classes < 0) | (classes >= len(stage.labels))]
    if wrong.size:
        raise _refusal(stage.step, f"has {len(stage.labels)} labels, and '{stage.taken.name}' gave {wrong.flat[0]}")
    return np.asarray(np.array(stage.labels)[classes])


def _sigmoid(_: PostStage, x: Array) -> Array:
    shrinking: Array = np.exp(-np.abs(x))  # never overflows
    result: Array = np.where(x >= 0, 1 / (1 + shrinking), shrinking / (1 + shrinking))
    return result


def _softmax(stage: PostStage, x: Array) -> Array:
    powers: Array = np.exp(x - x.max(axis=stage.axis, keepdims=True))
    result: Array = powers / powers.sum(axis=stage.axis, keepdims=True)
    return result


def _scale(stage: PostStage, x: Array) -> Array:
    result: Array = x * stage.step.factor
    return result


_FORMULAS: dict[str, Callable[[PostStage, Array], Array]] = {
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "scale": _scale,
}
