"""The names of the outputs that a step of ``postprocess`` takes and gives."""

from onnxpack.spec.steps import PostprocessStep

DETECTION_PARTS = ("boxes", "scores", "classes", "count")
"""What the names of nms's outputs end with."""


def list_step_inputs(step: PostprocessStep) -> tuple[str, ...]:
    """Return the names of the outputs that a step takes, that of its ``input`` first."""
    return tuple(name for name in (step.input, step.scores, step.end) if name)


def list_step_outputs(step: PostprocessStep) -> tuple[str, ...]:
    """Return the names of a step's outputs; without ``output`` they are made from the input's or the operation's."""
    if step.op == "nms":
        return tuple(f"{step.output or 'detected'}_{part}" for part in DETECTION_PARTS)
    if step.op == "topk":
        name = step.output or step.input
        return (f"{name}_values", f"{name}_{'labels' if step.labels else 'indices'}")
    if step.op == "decode":
        return (step.output or step.kind or step.input,)
    return (step.output or (f"{step.input}_{step.op}" if step.keep else step.input),)


def list_dropped(step: PostprocessStep) -> tuple[str, ...]:
    """Return the names of the outputs that are gone behind a step."""
    return () if step.keeps else list_step_inputs(step)
