"""The inputs that the served ONNX file takes, computed from the model's by following ``preprocess`` backwards."""

from dataclasses import dataclass, replace
from typing import TypeAlias, cast

from onnxpack.core.text import plural
from onnxpack.core.values import TensorInfo
from onnxpack.spec.columns import ClientColumn, choose_unit
from onnxpack.spec.field_types import Dtype
from onnxpack.spec.graph_pictures import GRAPH_PICTURE_OPS, make_picture_stage, needs_floats
from onnxpack.spec.model import AxisRange, Input, Spec
from onnxpack.spec.module_steps import list_module_steps
from onnxpack.spec.stages import FLOATS, IMAGE_RANK, PreStage, explain_rank
from onnxpack.spec.steps import PreprocessStep
from onnxpack.spec.table_stages import (
    NUMBERS,
    TableStage,
    Trouble,
    check_date_range,
    make_client_column,
    make_date_input,
    make_table_stage,
)

__all__ = [
    "FLOATS", "Misfit", "PreStage", "Stage", "list_client_columns", "list_served_axes", "list_stages",
    "make_served_inputs", "make_served_spec",
]  # fmt: skip

_CAST_FROM = (*NUMBERS, "bool")
_UINT8_RANGE = (0, 255)
_LARGEST_IMAGE = 4
"""How many times the model's height or width a client may send, where dynamic_axes says nothing else."""
_OTHER = {"NHWC": "NCHW", "NCHW": "NHWC"}
_PERMUTATION = {"NHWC": (0, 3, 1, 2), "NCHW": (0, 2, 3, 1)}
"""For each layout that is sent: the sent axis of each axis behind the step."""


@dataclass(frozen=True)
class Misfit:
    """A step that cannot be applied to its tensor; ``index`` is its place among the steps."""

    index: int
    message: str
    hint: str


Stage: TypeAlias = PreStage | TableStage
"""A step of ``preprocess`` that the ONNX file does, with the tensors in front of it and behind it."""


def list_stages(spec: Spec) -> tuple[tuple[Stage, ...], tuple[Misfit, ...]]:
    """Return the steps in order, from client to model, and those that cannot be applied."""
    now = {info.name: info for info in spec.input_infos}
    layouts = {step.input: _OTHER.get(step.layout or "") for step in spec.preprocess if step.op == "layout"}
    found: list[Stage] = []
    tabled: set[str] = set()
    misfits: list[Misfit] = []
    unsized: set[str] = set()
    # The spec declares what the model takes, so the tensors are known from the last step to the first.
    done = set(list_module_steps(spec))
    for index, step in reversed(list(enumerate(spec.preprocess))):
        if step.op == "table":
            table = make_table_stage(step, {name: info for name, info in now.items() if name not in tabled})
            if isinstance(table, TableStage):
                found.append(table)
                now = {name: info for name, info in now.items() if name not in {info.name for info in table.given}}
                now |= {info.name: info for info in table.taken}
                tabled |= {info.name for info in (*table.taken, *table.given)}
            else:
                misfits += [Misfit(index, *trouble) for trouble in reversed(table)]
            continue
        if step.input in tabled and step.input in spec.inputs:
            hint = "move it behind the table, where the input is made"
            misfits.append(Misfit(index, f"{step.op} changes '{step.input}' in front of the table that makes it", hint))
            continue
        if step.input not in now or index in done:
            continue
        given, layout = now[step.input], layouts.get(step.input)
        if step.op in GRAPH_PICTURE_OPS and (given.dtype in FLOATS or not needs_floats(step)):
            stage = make_picture_stage(step, given, layout, _find_size(spec.preprocess[:index], step.input))
        else:
            stage = _make_stage(step, given, layout)
        if isinstance(stage, tuple):
            sized = step.op in ("resize", "crop")
            if not (sized and step.input in unsized):  # of what is in front of one the size is not known
                misfits.append(Misfit(index, *stage))  # for the others it changes nothing
            unsized |= {step.input} if sized else set()
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
        if isinstance(stage, TableStage):
            inputs = stage.replace_inputs(inputs)
        else:
            inputs[stage.taken.name] = _make_client_input(inputs[stage.taken.name], stage)
    return inputs


def make_served_spec(spec: Spec) -> Spec:
    """Return the spec with the served ONNX file's inputs and axes and without steps; the same spec if it has no steps.

    Samples, calibration and evaluation data have the form of these inputs.
    """
    if not spec.preprocess and not spec.postprocess:
        return spec
    axes = dict(spec.dynamic_axes)
    for name, sizes in list_served_axes(spec).items():
        axes.setdefault(name, sizes)
    return replace(spec, inputs=make_served_inputs(spec), dynamic_axes=axes, preprocess=(), postprocess=())


def list_served_axes(spec: Spec) -> dict[str, AxisRange]:
    """Map the axes that only a client has, height and width in front of a resize or crop, to the sizes they may have.

    The usual one is the model's. ``dynamic_axes`` may say others, but none below the least.
    """
    return {
        str(stage.taken.shape[axis]): AxisRange(size * _LARGEST_IMAGE, least, size)
        for stage in list_stages(spec)[0]
        if isinstance(stage, PreStage)
        for axis, least in zip(stage.axes, stage.least, strict=False)
        if isinstance(stage.taken.shape[axis], str) and (size := cast(int, stage.given.shape[axis]))
    }


def _find_size(before: tuple[PreprocessStep, ...], name: str) -> tuple[int, ...] | None:
    """Return the height and width that the last of the steps in front gives an input, if one does."""
    sizes = [step.size for step in before if step.input == name and step.op in ("resize", "crop") and step.size]
    return sizes[-1] if sizes and len(sizes[-1]) == 2 else None


def list_client_columns(spec: Spec) -> tuple[ClientColumn, ...]:
    """Return the inputs of a client that are declared columns or dates."""
    found: list[ClientColumn] = []
    for stage in list_stages(spec)[0]:
        if isinstance(stage, TableStage):
            found += map(make_client_column, stage.columns)
        elif stage.step.op == "date_parts":
            found.append(ClientColumn(stage.taken.name, "date", unit=choose_unit(stage.step.parts or ())))
    return tuple(found)


def _make_client_input(behind: Input, stage: PreStage) -> Input:
    taken = stage.taken
    if stage.step.op == "date_parts":
        return make_date_input(taken.shape, stage.step.parts or (), stage.step.range)
    changed = replace(behind, dtype=cast(Dtype, taken.dtype), shape=taken.shape)
    if taken.dtype == "uint8" and behind.dtype != "uint8" and behind.range is None and behind.choices is None:
        return replace(changed, range=_UINT8_RANGE)
    return changed


def _make_stage(step: PreprocessStep, given: TensorInfo, layout: str | None) -> PreStage | Trouble:
    """Return the stage whose result is ``given``, or why there is none, with a hint."""
    if step.op == "date_parts":
        return _make_date_stage(step, given)
    if step.op == "cast":
        if step.dtype not in _CAST_FROM or given.dtype not in _CAST_FROM:
            return (
                f"cast from {step.dtype} to {given.dtype} is not possible",
                "cast converts numbers and booleans only: correct `dtype`, or remove the step",
            )
        return PreStage(step, replace(given, dtype=step.dtype), given)
    if step.op == "layout":
        return _make_layout_stage(step, given, layout)
    if step.op == "decode":
        hint = f"move it in front of the other steps of '{step.input}'"
        return "decode is not the first step of its input: a client's file is decoded before all else", hint
    if step.op == "orient":
        hint = f"put it right behind `{{op: decode, input: {step.input}}}`, as the second step"
        return "orient turns a picture that was just decoded, and there is none here", hint
    if given.dtype not in FLOATS:
        hint = f"add `{{op: cast, input: {step.input}, dtype: float32}}` after it"
        return f"{step.op} computes with floats, and its result is {given.dtype} here", hint
    if step.op == "normalize":
        return _make_normalize_stage(step, given, layout)
    return PreStage(step, given, given)


def _make_date_stage(step: PreprocessStep, given: TensorInfo) -> PreStage | Trouble:
    parts = step.parts or ()
    if given.dtype not in NUMBERS:
        return f"the parts of dates are numbers, and '{given.name}' is {given.dtype}", "remove the step"
    if not given.shape or given.shape[-1] != len(parts):
        shape = f"[{', '.join(map(str, given.shape))}]"
        hint = "list one part for each place of the input's last axis"
        made = plural(len(parts), "value")
        return f"date_parts makes {made} of each date, and '{given.name}' is {shape}", hint
    trouble = next(check_date_range(step.range or ()), None)
    return trouble or PreStage(step, TensorInfo(given.name, "int64", given.shape[:-1]), given)


def _make_layout_stage(step: PreprocessStep, given: TensorInfo, layout: str | None) -> PreStage | Trouble:
    if len(given.shape) != IMAGE_RANK:
        return explain_rank("layout", given)
    if step.layout is None or layout != _OTHER[step.layout]:
        return f"the tensor is {layout} behind this step too, so it changes nothing", "remove one of the layout steps"
    order = _PERMUTATION[step.layout]
    shape = tuple(given.shape[order.index(axis)] for axis in range(4))
    return PreStage(step, replace(given, shape=shape), given, order)


def _make_normalize_stage(step: PreprocessStep, given: TensorInfo, layout: str | None) -> PreStage | Trouble:
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
            layout_step = ", or add a layout step, which says where they are" if rank == IMAGE_RANK else ""
            hint = f"give one value for all channels{layout_step}"
            return f"several axes of shape {shape} could be the {count} channels", hint
        return f"no axis of shape {shape} has {count} channels", "give one value for each channel of the shape"
    return PreStage(step, given, given, tuple(fitting))
