"""What the generated module makes of the ONNX file's outputs, since it needs a client's texts: entities and answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from onnxpack.core.values import TensorInfo
from onnxpack.spec.model import Spec
from onnxpack.spec.output_names import list_step_inputs, list_step_outputs, place_outputs
from onnxpack.spec.served import FLOATS
from onnxpack.spec.steps import PostprocessStep, PreprocessStep

MOST_TOKENS = 15
"""How many tokens an answer has at most, where the step says nothing."""


@dataclass(frozen=True)
class Conclusion:
    """A step of ``decode``: the outputs ``taken`` and ``given``, and the name of the text that it is about.

    ``tokens`` is the name of the input whose tokens the scores are of: for an answer that of the question, while the
    text is its pair.
    """

    step: PostprocessStep
    taken: tuple[str, ...]
    given: str
    tokens: str
    text: str


def list_conclusions(spec: Spec) -> tuple[Conclusion, ...]:
    """Return the steps that the module does, in order; those that do not fit are left out."""
    texts = list_texts(spec)
    if len(texts) != 1:
        return ()
    return tuple(
        Conclusion(step, list_step_inputs(step), list_step_outputs(step)[0], texts[0].input, text)
        for step in spec.postprocess
        if step.op == "decode" and (text := texts[0].pair if step.kind == "answer" else texts[0].input)
    )


def conclude_outputs(spec: Spec, computed: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
    """Return a client's outputs, by those of the ONNX file."""
    now = {info.name: info for info in computed}
    for one in list_conclusions(spec):
        if any(name not in now for name in one.taken):
            continue  # a model without the steps that give them
        now = place_outputs(now, one.step, {one.given: TensorInfo(one.given, "string", now[one.taken[0]].shape[:1])})
    return tuple(now.values())


def explain_misfit(conclusion: Conclusion, computed: Iterable[TensorInfo], labels: int) -> str:
    """Return why a step cannot be done on the ONNX file's outputs, with its number of labels; empty if it can."""
    infos = {info.name: info for info in computed}
    rank, form = (3, "[batch, tokens, classes]") if conclusion.step.kind == "entities" else (2, "[batch, tokens]")
    for name in conclusion.taken:
        if name not in infos:
            return f"there is no output '{name}' here"
        shape = infos[name].shape
        if len(shape) != rank or infos[name].dtype not in FLOATS:
            shown = f"{infos[name].dtype} [{', '.join(map(str, shape))}]"
            return f"decode needs scores {form}, and '{name}' is {shown}"
        if rank == 3 and isinstance(shape[2], int) and shape[2] != labels:
            return f"decode has {labels} labels, and '{name}' has {shape[2]} classes"
    return ""


def list_output_names(spec: Spec) -> tuple[str, ...]:
    """Return the names of a client's outputs, by the model's; empty where the spec does not name those."""
    now = {name: name for name in spec.outputs}
    for step in spec.postprocess if now else ():
        now = place_outputs(now, step, {name: name for name in list_step_outputs(step)})
    return tuple(now)


def list_texts(spec: Spec) -> list[PreprocessStep]:
    """Return the steps that make tokens of texts."""
    return [step for step in spec.preprocess if step.op == "tokenize"]
