"""The operations that give numbers for numbers: sigmoid, softmax, scale, mean and round."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from onnxpack.core.values import TensorInfo
from onnxpack.spec.output_names import list_step_outputs
from onnxpack.spec.served import FLOATS
from onnxpack.spec.steps import PostprocessStep
from onnxpack.transforms.operations import (
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

_SOFTMAX_OPSET = 13
"""From here on Softmax is along one axis; before, along that and all behind it."""
_REDUCE_INPUT_OPSET = 18
"""From here on the axes are an input of ReduceMean."""
_ROUND_OPSET = 11
"""The first that has Round."""
_TO_WHOLE = 1.5 * 2**52
"""Behind this float64 numbers have no fraction: adding it rounds to the nearest whole number, half to even."""


def _plan_alike(step: PostprocessStep, taken: tuple[TensorInfo, ...], _: Labels) -> PostStage:
    require_floats(step, taken[0])
    axis = resolve_axis(step, taken[0]) if step.op == "softmax" else 0
    return PostStage(step, taken, (replace(taken[0], name=list_step_outputs(step)[0]),), axis)


def _plan_mean(step: PostprocessStep, taken: tuple[TensorInfo, ...], _: Labels) -> PostStage:
    require_floats(step, taken[0])
    axis = resolve_axis(step, taken[0])
    given = TensorInfo(list_step_outputs(step)[0], taken[0].dtype, drop_axis(taken[0].shape, axis))
    return PostStage(step, taken, (given,), axis)


def _plan_round(step: PostprocessStep, taken: tuple[TensorInfo, ...], _: Labels) -> PostStage:
    require_floats(step, taken[0])
    dtype = step.dtype or taken[0].dtype
    if dtype not in FLOATS:
        raise make_refusal(
            step, f"gives floats, and its dtype is {dtype}", f"set `dtype` to one of {', '.join(FLOATS)}"
        )
    return PostStage(step, taken, (TensorInfo(list_step_outputs(step)[0], dtype, taken[0].shape),))


def _make_compute(formula: Callable[[PostStage, Array], Array]) -> Callable[..., tuple[Array, ...]]:
    """Return the numpy form of a formula in float64, rounded once to the result's dtype."""

    def compute(stage: PostStage, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):  # infinities give what IEEE 754 says
            wide = formula(stage, arrays[0].astype(np.float64))
            return (np.asarray(wide, stage.given[0].dtype),)

    return compute


def _make_express(add: Callable[[PostStage, Builder, str, str], str]) -> Callable[..., list[str]]:
    """Return the nodes of a formula, with casts around them to the dtype that they compute in."""

    def express(stage: PostStage, nodes: Builder, tensors: list[str]) -> list[str]:
        # In float32 a value times 100 may become a half that it was not, and be rounded to the other side.
        dtype = "float64" if stage.step.op == "round" else choose_compute_dtype(stage.source.dtype)
        result = add(stage, nodes, nodes.add_cast(tensors[0], dtype, stage.source.dtype), dtype)
        return [nodes.add_cast(result, stage.given[0].dtype, dtype)]

    return express


def _sigmoid(_: PostStage, x: Array) -> Array:
    shrinking: Array = np.exp(-np.abs(x))  # never overflows
    result: Array = np.where(x >= 0, 1 / (1 + shrinking), shrinking / (1 + shrinking))
    return result


def _add_sigmoid(_: PostStage, nodes: Builder, x: str, dtype: str) -> str:
    return nodes.add_node("Sigmoid", [x])


def _softmax(stage: PostStage, x: Array) -> Array:
    powers: Array = np.exp(x - x.max(axis=stage.axis, keepdims=True, initial=-np.inf))
    result: Array = powers / powers.sum(axis=stage.axis, keepdims=True)
    return result


def _add_softmax(stage: PostStage, nodes: Builder, x: str, dtype: str) -> str:
    last = len(stage.source.shape) - 1
    if nodes.opset >= _SOFTMAX_OPSET or stage.axis == last:
        return nodes.add_node("Softmax", [x], axis=stage.axis)
    # Before opset 13 Softmax joins all axes behind its own, so its axis must be the last one.
    swap = list(range(last + 1))
    swap[stage.axis], swap[last] = last, stage.axis
    x = nodes.add_node("Transpose", [x], perm=swap)
    x = nodes.add_node("Softmax", [x], axis=last)
    return nodes.add_node("Transpose", [x], perm=swap)


def _scale(stage: PostStage, x: Array) -> Array:
    result: Array = x * stage.step.factor
    return result


def _add_scale(stage: PostStage, nodes: Builder, x: str, dtype: str) -> str:
    return nodes.add_node("Mul", [x, nodes.add_constant(np.asarray(stage.step.factor, dtype), "factor")])


def _mean(stage: PostStage, x: Array) -> Array:
    result: Array = x.sum(axis=stage.axis) / max(1, x.shape[stage.axis])  # of nothing it is 0, as the operator gives it
    return result


def _add_mean(stage: PostStage, nodes: Builder, x: str, dtype: str) -> str:
    if nodes.opset >= _REDUCE_INPUT_OPSET:
        axes = nodes.add_constant(np.array([stage.axis], np.int64), "axes")
        return nodes.add_node("ReduceMean", [x, axes], keepdims=0)
    return nodes.add_node("ReduceMean", [x], axes=[stage.axis], keepdims=0)


def _round(stage: PostStage, x: Array) -> Array:
    power = 10.0 ** abs(stage.step.digits or 0)
    return np.rint(x * power) / power if (stage.step.digits or 0) >= 0 else np.rint(x / power) * power


def _add_round(stage: PostStage, nodes: Builder, x: str, dtype: str) -> str:
    digits = stage.step.digits or 0
    power = nodes.add_constant(np.asarray(10.0 ** abs(digits), dtype), "power")
    there, back = ("Mul", "Div") if digits >= 0 else ("Div", "Mul")
    x = nodes.add_node(there, [x, power])
    if nodes.opset >= _ROUND_OPSET:
        x = nodes.add_node("Round", [x])
    else:
        whole = nodes.add_constant(np.asarray(_TO_WHOLE, dtype), "to_whole")
        x = nodes.add_node("Sub", [nodes.add_node("Add", [x, whole]), whole])
    return nodes.add_node(back, [x, power])


OPERATIONS = {
    "sigmoid": Operation(_plan_alike, _make_compute(_sigmoid), _make_express(_add_sigmoid)),
    "softmax": Operation(_plan_alike, _make_compute(_softmax), _make_express(_add_softmax)),
    "scale": Operation(_plan_alike, _make_compute(_scale), _make_express(_add_scale)),
    "mean": Operation(_plan_mean, _make_compute(_mean), _make_express(_add_mean)),
    "round": Operation(_plan_round, _make_compute(_round), _make_express(_add_round)),
}
