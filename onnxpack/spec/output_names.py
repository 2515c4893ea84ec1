"""The names of the outputs that a step of ``postprocess`` takes and gives, and the place of what it gives."""

from collections.abc import Mapping
from typing import TypeVar

from onnxpack.core.errors import SpecError
from onnxpack.spec.steps import PostprocessStep

_T = TypeVar("_T")
DETECTION_PARTS = ("boxes", "scores", "classes", "count")
"""What the names of nms's outputs end with."""
_PLACES = ("indices", "labels")
"""What the names of topk's places end with: of numbers, or of labels."""


def name_values(name: str) -> str:
    """Return the name of topk's values by that of its indices or labels; empty for other names."""
    end = next((end for end in _PLACES if name.endswith(f"_{end}")), "")
    return f"{name.removesuffix(end)}values" if end else ""


def list_step_inputs(step: PostprocessStep) -> tuple[str, ...]:
    """Return the names of the outputs that a step takes, that of its ``input`` first."""
    return tuple(name for name in (step.input, step.scores, step.end) if name)


def list_step_outputs(step: PostprocessStep) -> tuple[str, ...]:
    """Return the names of a step's outputs; without ``output`` they are made from the input's or the operation's."""
    if step.op == "nms":
        return tuple(f"{step.output or 'detected'}_{part}" for part in DETECTION_PARTS)
    if step.op == "topk":
        name = step.output or step.input
        return (f"{name}_values", f"{name}_{_PLACES[bool(step.labels)]}")
    if step.op == "decode":
        return (step.output or step.kind or step.input,)
    return (step.output or (f"{step.input}_{step.op}" if step.keep else step.input),)


def list_dropped(step: PostprocessStep) -> tuple[str, ...]:
    """Return the names of the outputs that are gone behind a step."""
    return () if step.keeps else list_step_inputs(step)


def place_outputs(now: Mapping[str, _T], step: PostprocessStep, new: Mapping[str, _T]) -> dict[str, _T]:
    """Return the outputs after a step: new ones come last if the old ones stay, else in the first old one's place.

    Raises:
        SpecError: an output has one of the new names already.
    """
    dropped = list_dropped(step)
    clash = [name for name in new if name in now and name not in dropped]
    if clash:
        raise SpecError(f"postprocess: the output '{clash[0]}' exists already", "set another name in `output`")
    if not dropped:
        return {**now, **new}
    first = next(name for name in now if name in dropped)
    result: dict[str, _T] = {}
    for name, value in now.items():
        if name == first:
            result |= dict(new)
        elif name not in dropped:
            result[name] = value
    return result
