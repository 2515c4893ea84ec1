"""Rules on ``preprocess`` and ``postprocess``: the fields of each operation, and the tensors that steps name."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from onnxpack.core.errors import Location, Problem
from onnxpack.spec.graph_pictures import ANTIALIAS_OPSET, RESIZE_OPSET, depends_on_opset, get_least_opset
from onnxpack.spec.messages import find_similar
from onnxpack.spec.model import DEFAULT_OPSET, Spec
from onnxpack.spec.module_steps import list_module_steps
from onnxpack.spec.output_names import list_dropped, list_step_outputs
from onnxpack.spec.served import list_served_axes, list_stages
from onnxpack.spec.steps import PostprocessStep, PreprocessStep

Where = Callable[..., Location]

_FIELDS: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    # field, op: (required, allowed besides)
    ("preprocess", "normalize"): ({"mean", "std"}, {"scale"}),
    ("preprocess", "scale"): ({"scale"}, set()),
    ("preprocess", "cast"): ({"dtype"}, set()),
    ("preprocess", "layout"): ({"layout"}, set()),
    ("preprocess", "decode"): (set(), {"formats", "max_pixels"}),
    ("preprocess", "orient"): (set(), set()),
    ("preprocess", "grayscale"): (set(), {"weights", "like"}),
    ("preprocess", "swap"): (set(), set()),
    ("preprocess", "crop"): ({"size"}, {"like"}),
    ("preprocess", "resize"): ({"size"}, {"method", "like", "fit", "pad"}),
    ("preprocess", "tokenize"): ({"tokenizer"}, {"max_length", "truncation", "pair", "ids", "mask", "types"}),
    ("preprocess", "table"): ({"columns"}, set()),
    ("preprocess", "date_parts"): ({"parts"}, {"range"}),
    ("postprocess", "sigmoid"): (set(), set()),
    ("postprocess", "softmax"): (set(), {"axis"}),
    ("postprocess", "argmax"): (set(), {"axis"}),
    ("postprocess", "topk"): ({"k"}, {"axis", "labels"}),
    ("postprocess", "labels"): ({"labels"}, set()),
    ("postprocess", "threshold"): ({"at"}, {"dtype", "labels"}),
    ("postprocess", "mean"): ({"axis"}, set()),
    ("postprocess", "round"): ({"digits"}, {"dtype"}),
    ("postprocess", "scale"): ({"factor"}, set()),
    ("postprocess", "nms"): ({"scores"}, {"axis", "k", "labels", "boxes", "iou", "score", "per_class"}),
    ("postprocess", "decode"): ({"kind"}, {"labels", "aggregation", "end", "max_answer"}),
}
_OPTIONS = tuple(
    dict.fromkeys(
        field.name for step in (PreprocessStep, PostprocessStep) for field in fields(step)
        if field.name not in ("op", "input", "output", "keep")
    )
)  # fmt: skip


def check_steps(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that each step has the fields of its operation and names tensors that exist."""
    for field in ("preprocess", "postprocess"):
        for index, step in enumerate(getattr(spec, field)):
            yield from _check_step(field, step, lambda *path, start=(field, index): where(*start, *path))
    for index, step in enumerate(spec.preprocess):
        if step.op == "table" and not step.input:
            continue
        if not step.input:
            yield Problem(f"{step.op} needs input", "add `input: …` to the step", where("preprocess", index))
        elif step.op != "tokenize":  # whose input is the client's alone
            yield from _check_known(step.input, list(spec.inputs), where("preprocess", index, "input"))
    for misfit in list_stages(spec)[1]:
        if not _find_missing("preprocess", spec.preprocess[misfit.index]):  # that is told already
            yield Problem(misfit.message, misfit.hint, where("preprocess", misfit.index))
    yield from _check_outputs(spec, where)


def _list_options(step: Any) -> set[str]:
    return {name for name in _OPTIONS if getattr(step, name, None) is not None}


def _find_missing(field: str, step: Any) -> list[str]:
    return sorted(_FIELDS[field, step.op][0] - _list_options(step))


def _check_step(field: str, step: Any, where: Where) -> Iterator[Problem]:
    required, allowed = _FIELDS[field, step.op]
    given = _list_options(step)
    for name in _find_missing(field, step):
        yield Problem(f"{step.op} needs {name}", f"add `{name}: …` to the step", where())
    for name in sorted(given - required - allowed):
        yield Problem(f"{name} does not apply to {step.op}", "remove it", where(name))
    like = getattr(step, "like", None)
    if like in ("pillow", "opencv") if step.op == "crop" else like == "transformers":
        libraries = "torchvision or transformers" if step.op == "crop" else "pillow, opencv or torchvision"
        yield Problem(f"{step.op} is not known like {like}", f"set `like` to {libraries}, or remove it", where("like"))
    for name in ("scale", "std"):
        value = getattr(step, name, None)
        if 0 in (value if isinstance(value, tuple) else (value,)):
            yield Problem(f"{name} must not be 0, since it is divided by", "set it to another number", where(name))


def _check_outputs(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check the names of outputs step by step, if the spec names the model's outputs."""
    if not spec.outputs:
        return
    known = list(spec.outputs)
    for index, step in enumerate(spec.postprocess):
        for field in ("input", "scores", "end"):
            if getattr(step, field):
                yield from _check_known(getattr(step, field), known, where("postprocess", index, field))
        known = [name for name in known if name not in list_dropped(step)]
        for name in list_step_outputs(step):
            if name in known or name in spec.inputs:
                place = where("postprocess", index, "output")
                yield Problem(f"the name '{name}' is used twice", "give every tensor a name of its own", place)
        known += list_step_outputs(step)


def _check_known(name: str, known: list[str], place: Location) -> Iterator[Problem]:
    if name not in known:
        slip = find_similar(name, known)
        hint = f"did you mean '{slip}'?" if slip else f"known: {', '.join(known)}"
        yield Problem(f"there is no tensor '{name}' here", hint, place)


def check_opset(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that the opset is one that the ONNX file's steps can be expressed in."""
    unfit = {misfit.index for misfit in list_stages(spec)[1]}
    for index, step in enumerate(spec.preprocess):
        if index in unfit or index in list_module_steps(spec):
            continue
        place, least = where("preprocess", index), get_least_opset(step)
        if spec.opset is None and spec.model.framework == "onnx" and (depends_on_opset(step) or least > RESIZE_OPSET):
            hint = f"set `opset` to the model's own, such as `opset: {ANTIALIAS_OPSET}`"
            yield Problem(f"{step.op} depends on the opset", hint, place)
        elif least > (opset := spec.opset or DEFAULT_OPSET):
            by = f" like {step.like}" if step.like else ""
            hint = f"set `opset: {least}` or higher"
            yield Problem(f"{step.op}{by} needs opset {least}, the spec asks for {opset}", hint, place)


def check_least_sizes(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that no axis of a client's pictures may have fewer pixels than a step can take."""
    for name, sizes in list_served_axes(spec).items():
        own = spec.dynamic_axes.get(name)
        if own and own.min < sizes.min:
            hint = f"set `min: {sizes.min}`"
            yield Problem(f"the steps only make smaller, to {sizes.min}", hint, where("dynamic_axes", name))
