"""Rules on the steps of pictures that the module does: their order, their fields, and what the ONNX file takes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from onnxpack.core.errors import Location, Problem
from onnxpack.core.text import plural
from onnxpack.core.values import TensorInfo
from onnxpack.spec.intakes import Intake, list_intakes
from onnxpack.spec.model import Spec
from onnxpack.spec.module_steps import list_module_steps
from onnxpack.spec.steps import PreprocessStep

Where = Callable[..., Location]
Size = tuple[int, int] | None
"""The height and width that a step gives; None where they are the client's."""

DEFAULT_FORMATS = ("jpeg", "png")
MAX_PIXELS = 32_000_000
"""The most pixels of a picture where `decode` says nothing: what good telephones make."""
_RANK = 4
_GIVEN = ("uint8", "float32")
"""The dtypes that the module gives pictures in."""


@dataclass(frozen=True)
class Picture:
    """What a picture is like behind a step."""

    size: Size = None
    channels: int = 3
    is_rounded: bool = True
    is_scaled: bool = False
    """Whether the shorter side alone has a known size."""


def check_pictures(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check the steps of each input whose first one is ``decode``."""
    done = list_module_steps(spec)
    for intake in list_intakes(spec):
        if intake.kind != "picture":
            continue
        places = [index for index in done if spec.preprocess[index].input == intake.name]
        picture = Picture()
        for index, step, before in zip(places, intake.steps, (None, *intake.steps), strict=False):
            for message, hint in (*_check_fields(step, picture), *_check_order(step, before, picture)):
                yield Problem(message, hint, where("preprocess", index))
            picture = _follow(step, picture)
        for message, hint in _check_given(spec, intake, picture):
            yield Problem(message, hint, where("preprocess", places[-1]))


def _check_fields(step: PreprocessStep, picture: Picture) -> Iterator[tuple[str, str]]:
    if step.op == "decode" and step.formats is not None:
        if not step.formats:
            yield "formats is empty", "name at least one of jpeg, png, webp and bmp, or remove it"
        elif len(set(step.formats)) < len(step.formats):
            yield "formats names one twice", "name each once"
    if step.op == "crop" and step.size and len(step.size) != 2:
        yield "size of crop must be two numbers", "set `size: [height, width]`"
    if step.op == "grayscale" and step.weights is not None:
        if len(step.weights) != 3:
            yield f"weights has {plural(len(step.weights), 'value')}", "give one each for red, green and blue"
        if step.like:
            yield "like does not apply where weights are given", "remove one of them: with weights nothing is rounded"
    if step.op == "resize":
        yield from _check_resize(step, picture)


def _check_resize(step: PreprocessStep, picture: Picture) -> Iterator[tuple[str, str]]:
    if step.size and len(step.size) > 2:
        yield "size of resize must be one number or two", "set `size: [height, width]`, or `size: [shorter]`"
    if step.size and len(step.size) == 1 and step.fit:
        yield "fit needs a height and a width", "set `size: [height, width]`, or remove fit"
    if step.pad is not None and step.fit != "contain":
        yield "pad applies to `fit: contain` alone", "set `fit: contain`, or remove pad"
    elif step.pad is not None and len(step.pad) not in (1, picture.channels):
        channels = "one value" if picture.channels == 1 else f"one value, or {picture.channels}"
        yield (
            f"pad has {plural(len(step.pad), 'value')}, and the picture {picture.channels} channels",
            f"give {channels}",
        )
    if step.like == "torchvision" and step.method in ("area", "lanczos"):
        hint = "set method to nearest, linear or cubic, or `like: opencv` or `like: pillow`"
        yield f"torchvision has no {step.method} for tensors", hint


def _check_order(step: PreprocessStep, before: PreprocessStep | None, picture: Picture) -> Iterator[tuple[str, str]]:
    if step.op == "orient" and before and before.op != "decode":
        yield "orient must come right behind decode", "move it there: a changed picture has no EXIF"
    if step.op in ("grayscale", "swap") and picture.channels == 1:
        yield f"{step.op} changes nothing: the picture is grey already", "remove the step"
    if step.op == "grayscale" and before and before.op == "swap":
        yield "swap in front of grayscale changes nothing: weights go by colour", "remove the swap"


def _follow(step: PreprocessStep, picture: Picture) -> Picture:
    if step.op == "grayscale":
        return Picture(picture.size, 1, step.weights is None, picture.is_scaled)
    if step.op in ("resize", "crop") and step.size:
        size = (step.size[0], step.size[1]) if len(step.size) == 2 else None
        return Picture(size, picture.channels, picture.is_rounded, is_scaled=size is None)
    return picture


def _check_given(spec: Spec, intake: Intake, picture: Picture) -> Iterator[tuple[str, str]]:
    """Compare what the last step gives with what the ONNX file takes."""
    (given,) = intake.given
    name = intake.name
    yield from _check_dtype(name, given, picture)
    shape = f"[{', '.join(map(str, given.shape))}]"
    if len(given.shape) != _RANK:
        hint = "give the model an input of [batch, height, width, channels], or of [batch, channels, height, width]"
        yield f"behind the picture steps a tensor of {_RANK} dimensions follows, and this one is {shape}", hint
        return
    _, height, width, channels = given.shape
    if channels != picture.channels:
        yield _explain_channels(name, given, picture)
        if given.shape[1] != picture.channels:
            return
        height, width = given.shape[2:]  # as they are behind the layout step that is missing
        given = replace(given, shape=(given.shape[0], height, width, picture.channels))
    if picture.size is None:
        if isinstance(height, int) or isinstance(width, int):
            yield _explain_size(name, given, picture)
        return
    if any(not _fits(spec, have, wanted) for have, wanted in zip(picture.size, (height, width), strict=True)):
        made = f"{picture.size[0]} x {picture.size[1]}"
        hint = f"set `size: [{height}, {width}]`, or correct the input's `shape`"
        yield f"the picture steps give {made} pixels, and the ONNX file takes {height} x {width}", hint


def _fits(spec: Spec, have: int, wanted: int | str) -> bool:
    if isinstance(wanted, int):
        return have == wanted
    axis = spec.dynamic_axes.get(wanted)
    return axis is None or axis.min <= have <= axis.max


def _check_dtype(name: str, given: TensorInfo, picture: Picture) -> Iterator[tuple[str, str]]:
    made = "uint8" if picture.is_rounded else "float32"
    add = f"add `{{op: cast, input: {name}, dtype: {made}}}` behind the picture steps"
    if given.dtype not in _GIVEN:
        yield f"the picture steps give {made}, and the ONNX file takes {given.dtype}", add
    elif given.dtype == "uint8" and not picture.is_rounded:
        hint = f"set `dtype: float32` in the cast behind the picture steps (or {add}), or remove weights"
        yield "grayscale with weights gives numbers that are not whole, and the ONNX file takes uint8", hint


def _explain_channels(name: str, given: TensorInfo, picture: Picture) -> tuple[str, str]:
    shape = f"[{', '.join(map(str, given.shape))}]"
    message = f"the picture steps give [batch, height, width, {picture.channels}], and the ONNX file takes {shape}"
    first, last = given.shape[1], given.shape[3]
    if first == picture.channels:
        return message, f"add `{{op: layout, input: {name}, layout: NHWC}}` behind the picture steps"
    if 1 in (first, last) and picture.channels == 3:
        return message, f"add `{{op: grayscale, input: {name}}}` to the picture steps"
    if 3 in (first, last) and picture.channels == 1:
        return message, "remove the grayscale step: the model takes three channels"
    return message, f"give the model's input {picture.channels} channels"


def _explain_size(name: str, given: TensorInfo, picture: Picture) -> tuple[str, str]:
    _, height, width, _ = given.shape
    size = f"[{height}, {width}]"
    if picture.is_scaled:
        message = f"pictures keep their proportion behind the last resize, and the ONNX file takes {height} x {width}"
        return message, f"add `{{op: crop, input: {name}, size: {size}}}` behind it"
    message = f"pictures of any size come in, and the ONNX file takes {height} x {width}"
    return message, f"add `{{op: resize, input: {name}, size: {size}}}` to the picture steps"
