"""The operations that decide: argmax, topk, labels and threshold."""

from dataclasses import replace

import numpy as np

from onnxpack.core.values import TensorInfo
from onnxpack.spec.output_names import list_step_outputs
from onnxpack.spec.served import FLOATS
from onnxpack.spec.steps import PostprocessStep
from onnxpack.transforms.operations import (
    INTEGERS,
    Array,
    Builder,
    Labels,
    Operation,
    PostStage,
    choose_compute_dtype,
    drop_axis,
    make_refusal,
    require_floats,
    resolve_axis,
)

_TOPK_INPUT_OPSET = 10
"""From here on k is an input of TopK."""
_ANSWERS = ("bool", *INTEGERS, *FLOATS)
"""The dtypes that yes and no can have."""


def _plan_argmax(step: PostprocessStep, taken: tuple[TensorInfo, ...], _: Labels) -> PostStage:
    require_floats(step, taken[0])
    axis = resolve_axis(step, taken[0])
    given = TensorInfo(list_step_outputs(step)[0], "int64", drop_axis(taken[0].shape, axis))
    return PostStage(step, taken, (given,), axis)


def _compute_argmax(stage: PostStage, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    return (_find_greatest(arrays[0], stage.axis),)


def _find_greatest(array: Array, axis: int) -> Array:
    return np.asarray(array.argmax(axis=axis), np.int64)


def _express_argmax(stage: PostStage, nodes: Builder, tensors: list[str]) -> list[str]:
    return [_add_argmax(stage, nodes, tensors[0])]


def _add_argmax(stage: PostStage, nodes: Builder, x: str) -> str:
    x = nodes.add_cast(x, choose_compute_dtype(stage.source.dtype), stage.source.dtype)
    return nodes.add_node("ArgMax", [x], axis=stage.axis, keepdims=0)


def _plan_topk(step: PostprocessStep, taken: tuple[TensorInfo, ...], labels: Labels) -> PostStage:
    require_floats(step, taken[0])
    assert step.k
    axis = resolve_axis(step, taken[0])
    source = taken[0]
    size = source.shape[axis]
    if isinstance(size, int) and step.k > size:
        raise make_refusal(step, f"takes the {step.k} greatest, and '{source.name}' has {size} along axis {axis}")
    if labels:
        _require_count(step, source, size, labels)
    names = list_step_outputs(step)
    shape = (*source.shape[:axis], step.k, *source.shape[axis + 1 :])
    places = TensorInfo(names[1], "string" if labels else "int64", shape)
    return PostStage(step, taken, (TensorInfo(names[0], source.dtype, shape), places), axis, labels)


def _compute_topk(stage: PostStage, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (array,) = arrays
    assert stage.step.k
    # Of equal values the first comes first, as ONNX defines it.
    order = np.argsort(-array, axis=stage.axis, kind="stable")
    best = np.take(order, range(stage.step.k), axis=stage.axis).astype(np.int64)
    values = np.take_along_axis(array, best, axis=stage.axis)
    return values, _look_up(stage, best) if stage.labels else best


def _express_topk(stage: PostStage, nodes: Builder, tensors: list[str]) -> list[str]:
    given = stage.source.dtype
    dtype = choose_compute_dtype(given)
    x = nodes.add_cast(tensors[0], dtype, given)
    k = stage.step.k
    if nodes.opset < _TOPK_INPUT_OPSET:
        values, places = nodes.add_nodes("TopK", [x], 2, axis=stage.axis, k=k)
    else:
        count = nodes.add_constant(np.array([k], np.int64), "k")
        values, places = nodes.add_nodes("TopK", [x, count], 2, axis=stage.axis)
    values = nodes.add_cast(values, given, dtype)
    return [values, _add_labels(stage, nodes, places) if stage.labels else places]


def _plan_labels(step: PostprocessStep, taken: tuple[TensorInfo, ...], labels: Labels) -> PostStage:
    (source,) = taken
    (name,) = list_step_outputs(step)
    if source.dtype in INTEGERS:
        return PostStage(step, taken, (TensorInfo(name, "string", source.shape),), 0, labels)
    if source.dtype not in FLOATS:
        raise make_refusal(step, f"is for class numbers or scores, and '{source.name}' is {source.dtype}")
    axis = resolve_axis(step, source)
    _require_count(step, source, source.shape[axis], labels)
    return PostStage(step, taken, (TensorInfo(name, "string", drop_axis(source.shape, axis)),), axis, labels)


def _require_count(step: PostprocessStep, source: TensorInfo, size: int | str, labels: Labels) -> None:
    if isinstance(size, int) and size != len(labels):
        raise make_refusal(step, f"has {len(labels)} labels, and '{source.name}' has {size} classes")


def _compute_labels(stage: PostStage, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (array,) = arrays
    return (_look_up(stage, array if array.dtype.kind in "iu" else _find_greatest(array, stage.axis)),)


def _look_up(stage: PostStage, classes: Array) -> Array:
    wrong = classes[(classes < 0) | (classes >= len(stage.labels))]
    if wrong.size:
        words = f"has {len(stage.labels)} labels, and '{stage.source.name}' gave {wrong.flat[0]}"
        raise make_refusal(stage.step, words)
    return np.asarray(np.array(stage.labels)[classes])


def _express_labels(stage: PostStage, nodes: Builder, tensors: list[str]) -> list[str]:
    if stage.source.dtype in INTEGERS:
        return [_add_labels(stage, nodes, nodes.add_cast(tensors[0], "int64", stage.source.dtype))]
    return [_add_labels(stage, nodes, _add_argmax(stage, nodes, tensors[0]))]


def _add_labels(stage: PostStage, nodes: Builder, classes: str) -> str:
    words = nodes.add_constant(np.array(stage.labels, object), "labels")
    return nodes.add_node("Gather", [words, classes], axis=0)


def _plan_threshold(step: PostprocessStep, taken: tuple[TensorInfo, ...], labels: Labels) -> PostStage:
    require_floats(step, taken[0])
    if step.labels and step.dtype:
        raise make_refusal(step, "gives labels or numbers, not both", "remove `dtype` or `labels`")
    if step.labels and len(labels) != 2:
        hint = "put two lines into the file: the label of values below `at`, and that of the others"
        raise make_refusal(step, f"needs two labels, and '{step.labels}' has {len(labels)}", hint)
    dtype = "string" if labels else step.dtype or "bool"
    if dtype not in (*_ANSWERS, "string") or (dtype == "string" and not labels):
        hint = "use `labels` for words, and bool, integers or floats as `dtype`"
        raise make_refusal(step, f"cannot give {dtype}", hint)
    given = replace(taken[0], name=list_step_outputs(step)[0], dtype=dtype)
    return PostStage(step, taken, (given,), 0, labels)


def _compute_threshold(stage: PostStage, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    (array,) = arrays
    above = np.asarray(array >= _round_limit(stage))
    if stage.labels:
        return (np.asarray(np.array(stage.labels)[above.astype(np.int64)]),)
    return (above.astype(stage.given[0].dtype),)


def _round_limit(stage: PostStage) -> Array:
    """Return the limit in the values' own dtype, so that a value written like it counts as yes."""
    return np.asarray(stage.step.at).astype(stage.source.dtype)


def _express_threshold(stage: PostStage, nodes: Builder, tensors: list[str]) -> list[str]:
    dtype = choose_compute_dtype(stage.source.dtype)
    # Greater is in every opset, and known to give no for NaN; "not less" would give yes.
    under = np.nextafter(_round_limit(stage).astype(dtype), np.asarray(-np.inf, dtype))
    x = nodes.add_cast(tensors[0], dtype, stage.source.dtype)
    above = nodes.add_node("Greater", [x, nodes.add_constant(np.asarray(under, dtype), "limit")])
    if stage.labels:
        return [_add_labels(stage, nodes, nodes.add_cast(above, "int64"))]
    return [nodes.add_cast(above, stage.given[0].dtype, "bool")]


OPERATIONS = {
    "argmax": Operation(_plan_argmax, _compute_argmax, _express_argmax),
    "topk": Operation(_plan_topk, _compute_topk, _express_topk),
    "labels": Operation(_plan_labels, _compute_labels, _express_labels),
    "threshold": Operation(_plan_threshold, _compute_threshold, _express_threshold),
}
