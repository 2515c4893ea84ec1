"""Rules on ``preprocess`` and ``postprocess``: what an operation needs, and the tensors that it is done to."""

from collections.abc import Callable, Iterator
from typing import Any

from onnxpack.errors import Location, Problem
from onnxpack.spec.client import stages
from onnxpack.spec.model import Spec
from onnxpack.spec.wording import meant

Where = Callable[..., Location]

RESIZE_OPSET = 11
"""From here on Resize knows half_pixel coordinates and sizes."""
_FIELDS: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    # field, op: (required, allowed besides)
    ("preprocess", "normalize"): ({"mean", "std"}, {"scale"}),
    ("preprocess", "scale"): ({"scale"}, set()),
    ("preprocess", "cast"): ({"dtype"}, set()),
    ("preprocess", "layout"): ({"layout"}, set()),
    ("preprocess", "resize"): ({"size"}, set()),
    ("postprocess", "sigmoid"): (set(), set()),
    ("postprocess", "softmax"): (set(), {"axis"}),
    ("postprocess", "argmax"): (set(), {"axis"}),
    ("postprocess", "topk"): ({"k"}, {"axis"}),
    ("postprocess", "labels"): ({"labels"}, set()),
    ("postprocess", "scale"): ({"factor"}, set()),
}
_OPTIONS = ("mean", "std", "scale", "dtype", "layout", "size", "axis", "k", "labels", "factor")
TOPK_OUTPUTS = ("values", "indices")
"""The ends of the names of what topk gives."""


def given_by(step: Any) -> tuple[str, ...]:
    """The names of the outputs that a step of ``postprocess`` gives; without ``output`` they take the input's place."""
    name = step.output or step.input
    return tuple(f"{name}_{end}" for end in TOPK_OUTPUTS) if step.op == "topk" else (name,)


def steps(spec: Spec, where: Where) -> Iterator[Problem]:
    """What a step's operation needs, and the tensors that steps name."""
    for field in ("preprocess", "postprocess"):
        for index, step in enumerate(getattr(spec, field)):
            yield from _step(field, step, lambda *path, start=(field, index): where(*start, *path))
    for index, step in enumerate(spec.preprocess):
        yield from _unknown(step.input, list(spec.inputs), where("preprocess", index, "input"))
    for misfit in stages(spec)[1]:
        if not _missing("preprocess", spec.preprocess[misfit.index]):  # that is told already
            yield Problem(misfit.message, misfit.hint, where("preprocess", misfit.index))
    yield from _outputs(spec, where)


def _given(step: Any) -> set[str]:
    return {name for name in _OPTIONS if getattr(step, name, None) is not None}


def _missing(field: str, step: Any) -> list[str]:
    return sorted(_FIELDS[field, step.op][0] - _given(step))


def _step(field: str, step: Any, where: Where) -> Iterator[Problem]:
    required, allowed = _FIELDS[field, step.op]
    given = _given(step)
    for name in _missing(field, step):
        yield Problem(f"{step.op} needs {name}", f"add `{name}: …` to the step", where())
    for name in sorted(given - required - allowed):
        yield Problem(f"{name} means nothing for {step.op}", "remove it", where(name))
    for name in ("scale", "std"):
        value = getattr(step, name, None)
        if 0 in (value if isinstance(value, tuple) else (value,)):
            yield Problem(f"{name} is divided by, and is 0", "correct it", where(name))


def _outputs(spec: Spec, where: Where) -> Iterator[Problem]:
    """The outputs' names, step by step, as far as the spec tells them."""
    if not spec.outputs:
        return
    known = list(spec.outputs)
    for index, step in enumerate(spec.postprocess):
        yield from _unknown(step.input, known, where("postprocess", index, "input"))
        if step.output in (None, step.input):
            known = [name for name in known if name != step.input]
        for name in given_by(step):
            if name in known or name in spec.inputs:
                place = where("postprocess", index, "output")
                yield Problem(f"the name '{name}' is used twice", "give every tensor its own", place)
        known += given_by(step)


def _unknown(name: str, known: list[str], place: Location) -> Iterator[Problem]:
    if name not in known:
        slip = meant(name, known)
        hint = f"did you mean '{slip}'?" if slip else f"known: {', '.join(known)}"
        yield Problem(f"no tensor '{name}' is here", hint, place)


def resizing(spec: Spec, where: Where) -> Iterator[Problem]:
    """The opset that a step of resizing needs."""
    for index, step in enumerate(spec.preprocess):
        place = where("preprocess", index)
        if step.op == "resize" and spec.opset is None and spec.model.framework == "onnx":
            yield Problem("resize depends on the opset", "write the model's own, as `opset: 18`", place)
        if step.op == "resize" and spec.opset is not None and spec.opset < RESIZE_OPSET:
            hint = f"write opset: {RESIZE_OPSET} or higher"
            yield Problem(f"resize needs opset {RESIZE_OPSET}, the spec asks for {spec.opset}", hint, place)
