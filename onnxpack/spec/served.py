"""The inputs that the served ONNX file takes, computed from the model's by following ``preprocess`` backwards."""

import re
from dataclasses import dataclass, replace
from typing import cast

from onnxpack.core.text import plural
from onnxpack.core.values import TensorInfo
from onnxpack.spec.field_types import Dtype
from onnxpack.spec.model import AxisRange, Input, Spec
from onnxpack.spec.module_steps import list_module_steps
from onnxpack.spec.steps import PreprocessStep

FLOATS = ("float16", "float32", "float64")
_CAST_FROM = (*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
_UINT8_RANGE = (0, 255)
_LARGEST_IMAGE = 4
"""How many times the model's height or width a client may send, where dynamic_axes says nothing else."""
_IMAGE_RANK = 4  # of a batch of images, the only tensors that have a layout
_OTHER = {"NHWC": "NCHW", "NCHW": "NHWC"}
_PERMUTATION = {"NHWC": (0, 3, 1, 2), "NCHW": (0, 2, 3, 1)}
"""For each layout that is sent: the sent axis of each axis behind the step."""


@dataclass(frozen=True)
class PreStage:
    """A step of ``preprocess`` with the tensor ``taken`` in front of it and the tensor ``given`` behind it.

    ``axes`` are the channels (normalize; empty if one value is for all), height and width (resize), or the axis of
    ``taken`` for each axis of ``given`` (layout).
    """

    step: PreprocessStep
    taken: TensorInfo
    given: TensorInfo
    axes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Misfit:
    """A step that cannot be applied to its tensor; ``index`` is its place among the steps."""

    index: int
    message: str
    hint: str


def list_stages(spec: Spec) -> tuple[tuple[PreStage, ...], tuple[Misfit, ...]]:
    """Return the steps in order, from client to model, and those that cannot be applied."""
    now = {info.name: info for info in spec.input_infos}
    layouts = {step.input: _OTHER.get(step.layout or "") for step in spec.preprocess if step.op == "layout"}
    found: list[PreStage] = []
    misfits: list[Misfit] = []
    # The spec declares what the model takes, so the tensors are known from the last step to the first.
    done = set(list_module_steps(spec))
    for index, step in reversed(list(enumerate(spec.preprocess))):
        if step.input not in now or index in done:
            continue
        stage = _make_stage(step, now[step.input], layouts.get(step.input))
        if isinstance(stage, tuple):
            misfits.append(Misfit(index, *stage))  # for the others it changes nothing
            continue
        found.append(stage)
        now[step.input] = stage.taken
        if step.op == "layout":
            layouts[step.input] = step.layout
    return tuple(reversed(found)), tuple(reversed(misfits))


def make_served_inputs(spec: Spec) -> dict[str, Input]:
    """Return the inputs that the served ONNX file takes; uint8 ones without a range get that of all uint8 values."""
    inputs = dict(spec.inputs)
    for stage in reversed(list_stages(spec)[0]):
        inputs[stage.taken.name] = _make_client_input(inputs[stage.taken.name], stage.taken)
    return inputs


def make_served_spec(spec: Spec) -> Spec:
    """Return the spec with the served ONNX file's inputs and axes and without steps; the same spec if it has no steps.

    Samples, calibration and evaluation data have the form of these inputs.
    """
    if not spec.preprocess and not spec.postprocess:
        return spec
    axes = dict(spec.dynamic_axes)
    for name, size in list_served_axes(spec).items():
        axes.setdefault(name, AxisRange(max=size * _LARGEST_IMAGE, min=1, opt=size))
    return replace(spec, inputs=make_served_inputs(spec), dynamic_axes=axes, preprocess=(), postprocess=())


def list_served_axes(spec: Spec) -> dict[str, int]:
    """Map the axes that only a client has, height and width in front of a resize, to the model's sizes."""
    return {
        str(stage.taken.shape[axis]): cast(int, stage.given.shape[axis])
        for stage in list_stages(spec)[0]
        if stage.step.op == "resize"
        for axis in stage.axes
    }


def _make_client_input(behind: Input, taken: TensorInfo) -> Input:
    changed = replace(behind, dtype=cast(Dtype, taken.dtype), shape=taken.shape)
    if taken.dtype == "uint8" and behind.dtype != "uint8" and behind.range is None and behind.choices is None:
        return replace(changed, range=_UINT8_RANGE)
    return changed


def _make_stage(step: PreprocessStep, given: TensorInfo, layout: str | None) -> PreStage | tuple[str, str]:
    """Return the stage whose result is ``given``, or why there is none, with a hint."""
    if step.op == "cast":
        if step.dtype not in _CAST_FROM or given.dtype not in _CAST_FROM:
            return (
                f"cast from {step.dtype} to {given.dtype} is not possible",
                "cast converts numbers and booleans only: correct `dtype`, or remove the step",
            )
        return PreStage(step, replace(given, dtype=step.dtype), given)
    if step.op == "layout":
        return _make_layout_stage(step, given, layout)
    if given.dtype not in FLOATS:
        hint = f"add `{{op: cast, input: {step.input}, dtype: float32}}` after it"
        return f"{step.op} computes with floats, and its result is {given.dtype} here", hint
    if step.op in ("decode", "tokenize", "orient", "grayscale", "swap", "crop", "table", "date_parts"):
        return f"{step.op} is not possible here", "remove the step"
    if step.op == "normalize":
        return _make_normalize_stage(step, given, layout)
    return _make_resize_stage(step, given, layout) if step.op == "resize" else PreStage(step, given, given)


def _explain_rank(op: str, given: TensorInfo) -> tuple[str, str]:
    return f"{op} needs a tensor of {_IMAGE_RANK} dimensions, and this one has {len(given.shape)}", "remove the step"


def _make_layout_stage(step: PreprocessStep, given: TensorInfo, layout: str | None) -> PreStage | tuple[str, str]:
    if len(given.shape) != _IMAGE_RANK:
        return _explain_rank("layout", given)
    if step.layout is None or layout != _OTHER[step.layout]:
        return f"the tensor is {layout} behind this step too, so it changes nothing", "remove one of the layout steps"
    order = _PERMUTATION[step.layout]
    shape = tuple(given.shape[order.index(axis)] for axis in range(4))
    return PreStage(step, replace(given, shape=shape), given, order)


def _make_normalize_stage(step: PreprocessStep, given: TensorInfo, layout: str | None) -> PreStage | tuple[str, str]:
    mean, std = step.mean or (), step.std or ()
    count = max(len(mean), len(std))
    if not mean or not std or len({len(mean), len(std)} - {1}) > 1:
        return f"mean has {plural(len(mean), 'value')} and std {len(std)}", "give both one value for each channel"
    if count == 1:
        return PreStage(step, given, given)
    rank = len(given.shape)
    # Without a layout step channels may be first or last; of 3 dimensions the first need not be that of rows.
    places = {"NCHW": (1,), "NHWC": (rank - 1,)}.get(layout or "", (0, 1, rank - 1) if rank == 3 else (1, rank - 1))
    fitting = sorted({axis for axis in places if 0 <= axis < rank and given.shape[axis] == count})
    if len(fitting) != 1:
        shape = f"[{', '.join(map(str, given.shape))}]"
        if fitting:
            layout_step = ", or add a layout step, which says where they are" if rank == _IMAGE_RANK else ""
            hint = f"give one value for all channels{layout_step}"
            return f"several axes of shape {shape} could be the {count} channels", hint
        return f"no axis of shape {shape} has {count} channels", "give one value for each channel of the shape"
    return PreStage(step, given, given, tuple(fitting))


def _make_resize_stage(step: PreprocessStep, given: TensorInfo, layout: str | None) -> PreStage | tuple[str, str]:
    if step.size is None or len(step.size) != 2:
        return "size must be two numbers", "set `size: [height, width]`"
    if len(given.shape) != _IMAGE_RANK:
        return _explain_rank("resize", given)
    places = {"NCHW": [(2, 3)], "NHWC": [(1, 2)]}.get(layout or "", [(2, 3), (1, 2)])
    fitting = [place for place in places if tuple(given.shape[axis] for axis in place) == step.size]
    if not fitting:
        has = ", ".join(map(str, given.shape))
        hint = "set `size` to the height and width in the input's `shape`"
        return f"the model's input has no height and width of {list(step.size)}: [{has}]", hint
    shape: list[int | str] = list(given.shape)
    # An axis' name has at most 63 characters, so an input's long name is cut to leave room for the suffix.
    prefix = re.sub(r"\W", "_", f"_{given.name}" if given.name[:1].isdigit() else given.name, flags=re.ASCII)[:50]
    for axis, word in zip(fitting[0], ("height", "width"), strict=True):
        shape[axis] = f"{prefix}_{word}"
    return PreStage(step, replace(given, shape=tuple(shape)), given, fitting[0])
