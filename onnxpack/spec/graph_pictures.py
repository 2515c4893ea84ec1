"""The picture steps that become nodes of the ONNX file: those of inputs that clients send as tensors.

Only what is proved equal to the library that a step names becomes nodes; all else is for decoded pictures, whose steps
the module does by that library's own rules.
"""

import re
from dataclasses import replace

from onnxpack.core.values import TensorInfo
from onnxpack.spec.stages import IMAGE_RANK, PreStage, explain_rank
from onnxpack.spec.steps import PreprocessStep
from onnxpack.spec.table_stages import TABLE_OPSET

GRAPH_PICTURE_OPS = ("grayscale", "swap", "crop", "resize")
Refusal = tuple[str, str]
"""Why a step is not possible, and a hint."""

_KERNELS = {
    (None, "linear"): "linear",
    ("opencv", "linear"): "linear",
    ("opencv", "nearest"): "nearest",
    ("opencv", "area"): "area",
    ("torchvision", "nearest"): "nearest_float32",
    ("torchvision", "linear"): "linear_antialias",
    ("torchvision", "cubic"): "cubic_antialias",
}
"""How each resize of the ONNX file is computed, by the library and the method that the step names."""
ANTIALIAS = ("linear_antialias", "cubic_antialias")
"""Those that blur before they make smaller."""
RESIZE_OPSET = 11
"""From here on Resize knows half_pixel coordinates and sizes."""
ANTIALIAS_OPSET = 18
"""From here on Resize can blur before it makes smaller."""
_COLOURS = 3
_WEIGHTS = {None: (0.299, 0.587, 0.114), "opencv": (0.299, 0.587, 0.114), "torchvision": (0.2989, 0.587, 0.114)}
"""The weights of red, green and blue of ITU-R BT.601, as each library rounds them for floats."""


def choose_kernel(step: PreprocessStep, antialias: bool) -> str:
    """Return how a resize is computed; ``antialias`` says whether ONNX's own formula blurs."""
    kernel = _KERNELS[step.like, step.method or "linear"]
    return "linear_antialias" if antialias and not step.like else kernel


def get_least_opset(step: PreprocessStep) -> int:
    """Return the lowest opset that a step can be expressed in; 1 where it is of no account."""
    if step.op == "resize" and step.like and choose_kernel(step, antialias=False) in ANTIALIAS:
        return ANTIALIAS_OPSET
    return {"resize": RESIZE_OPSET, "crop": RESIZE_OPSET, "table": TABLE_OPSET}.get(step.op, 1)


def depends_on_opset(step: PreprocessStep) -> bool:
    """Return whether a step computes otherwise in another opset: ONNX's own resize, which blurs where it can."""
    return step.op == "resize" and step.like is None


def get_weights(step: PreprocessStep) -> tuple[float, ...]:
    """Return the weights of red, green and blue of a step that makes pictures grey."""
    return step.weights or _WEIGHTS[step.like]


def make_picture_stage(
    step: PreprocessStep, given: TensorInfo, layout: str | None, before: tuple[int, ...] | None = None
) -> PreStage | Refusal:
    """Return the stage whose result is ``given``, or why there is none.

    Args:
        step: one of ``GRAPH_PICTURE_OPS``.
        given: the tensor behind the step.
        layout: the order of its axes, if the spec says it.
        before: the height and width in front of the step, if another one gives them.
    """
    if len(given.shape) != IMAGE_RANK:
        return explain_rank(step.op, given)
    if step.op in ("grayscale", "swap"):
        return _make_colour_stage(step, given, layout)
    if step.size is None or len(step.size) != 2:
        words = "one number keeps the proportion, which only decoded pictures can: "
        alone = step.op == "resize" and step.size is not None and len(step.size) == 1
        return "size must be two numbers", f"{words if alone else ''}set `size: [height, width]`"
    places = {"NCHW": [(2, 3)], "NHWC": [(1, 2)]}.get(layout or "", [(2, 3), (1, 2)])
    fitting = [place for place in places if tuple(given.shape[axis] for axis in place) == step.size]
    if not fitting:
        has = ", ".join(map(str, given.shape))
        hint = "set `size` to the height and width in the input's `shape`"
        return f"the model's input has no height and width of {list(step.size)}: [{has}]", hint
    if step.op == "resize" and (refused := _refuse_resize(step)):
        return refused
    # Where it makes larger, OpenCV's area is not a mean of areas.
    shrinks = step.op == "crop" or step.method == "area"
    if shrinks and before and any(have < wanted for have, wanted in zip(before, step.size, strict=True)):
        words = f"{step.op} only makes smaller, and the picture in front of it has {before[0]} x {before[1]} pixels"
        return words, "correct the size of one of the steps"
    axes = fitting[0]
    return PreStage(step, _open_axes(given, axes, before), given, axes, step.size if shrinks else (1, 1))


def _make_colour_stage(step: PreprocessStep, given: TensorInfo, layout: str | None) -> PreStage | Refusal:
    count = 1 if step.op == "grayscale" else _COLOURS
    places = {"NCHW": (1,), "NHWC": (3,)}.get(layout or "", (1, 3))
    fitting = [axis for axis in places if given.shape[axis] == count]
    shape = f"[{', '.join(map(str, given.shape))}]"
    if len(fitting) != 1:
        hint = f"add a layout step, or correct the input's `shape`: it has {count} behind {step.op}"
        return f"it cannot be told which axis of {shape} are the channels", hint
    if step.op == "swap":
        return PreStage(step, given, given, tuple(fitting))
    if step.weights and step.like:
        return "like does not apply where weights are given", "remove one of them"
    if step.like == "pillow":
        return "grayscale like pillow rounds to whole numbers, and tensors of floats are not", _hint_decode(step)
    if len(get_weights(step)) != _COLOURS:
        return f"weights has {len(get_weights(step))} values", "give one each for red, green and blue"
    taken = tuple(_COLOURS if axis == fitting[0] else size for axis, size in enumerate(given.shape))
    return PreStage(step, replace(given, shape=taken), given, tuple(fitting))


def _refuse_resize(step: PreprocessStep) -> Refusal | None:
    method = step.method or "linear"
    if step.fit not in (None, "stretch"):
        return f"`fit: {step.fit}` is for decoded pictures alone", _hint_decode(step)
    if step.pad is not None:
        return "pad applies to `fit: contain` alone", "remove it"
    if (step.like, method) in _KERNELS:
        return None
    others = [like for like, one in _KERNELS if like and one == method]
    if step.like is None and others:
        ways = " or ".join(f"`like: {like}`" for like in others)
        return f"resize by {method} differs from library to library", f"set {ways}"
    hint = f"{_hint_decode(step)}, or set {' or '.join(f'`like: {like}`' for like in others)}" if others else ""
    text = f"no ONNX operator is proved to resize by {method}" + (f" like {step.like}" if step.like else "")
    return text, hint or _hint_decode(step)


def _hint_decode(step: PreprocessStep) -> str:
    return f"add `{{op: decode, input: {step.input}}}` in front, so that clients send pictures"


def _open_axes(given: TensorInfo, axes: tuple[int, ...], known: tuple[int, ...] | None) -> TensorInfo:
    """Return a tensor whose height and width are known, or are the client's: axes of their own."""
    shape: list[int | str] = list(given.shape)
    # An axis' name has at most 63 characters, so an input's long name is cut to leave room for the suffix.
    prefix = re.sub(r"\W", "_", f"_{given.name}" if given.name[:1].isdigit() else given.name, flags=re.ASCII)[:50]
    for index, (axis, word) in enumerate(zip(axes, ("height", "width"), strict=True)):
        shape[axis] = known[index] if known else f"{prefix}_{word}"
    return replace(given, shape=tuple(shape))


def needs_floats(step: PreprocessStep) -> bool:
    """Return whether a step computes with the values, instead of moving them."""
    return step.op not in ("swap", "crop")
