"""Rules on steps of ``postprocess`` that hold for single operations: nms and decode."""

from collections.abc import Callable, Iterator

from onnxpack.core.errors import Location, Problem
from onnxpack.spec.conclusions import list_texts
from onnxpack.spec.model import Spec
from onnxpack.spec.steps import NMS_OPSET

Where = Callable[..., Location]

_NEEDED = {"entities": "labels", "answer": "end"}
_FIELDS = {"entities": ("labels", "aggregation"), "answer": ("end", "max_answer")}
"""The fields that apply to each kind alone."""


def check_output_steps(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check nms and decode."""
    yield from _check_nms(spec, where)
    yield from _check_conclusions(spec, where)


def _check_nms(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that the opset is one that nms can be expressed in."""
    for index, step in enumerate(spec.postprocess):
        if step.op == "nms" and spec.opset is not None and spec.opset < NMS_OPSET:
            hint = f"set `opset: {NMS_OPSET}` or higher"
            message = f"nms needs opset {NMS_OPSET}, the spec asks for {spec.opset}"
            yield Problem(message, hint, where("postprocess", index))


def _check_conclusions(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that steps of ``decode`` have the fields of their kind, and the texts that they are about."""
    texts = list_texts(spec)
    decodes = [index for index, step in enumerate(spec.postprocess) if step.op == "decode"]
    for index in decodes:
        step, place = spec.postprocess[index], where("postprocess", index)
        if step.kind is None:
            continue  # which is told already
        needed = _NEEDED[step.kind]
        if getattr(step, needed) is None:
            yield Problem(f"decode to {step.kind} needs {needed}", f"add `{needed}: …` to the step", place)
        for kind, names in _FIELDS.items():
            for name in names if kind != step.kind else ():
                if getattr(step, name) is not None:
                    message = f"{name} does not apply to decode to {step.kind}"
                    yield Problem(message, "remove it", where("postprocess", index, name))
        if any(other not in decodes for other in range(index, len(spec.postprocess))):
            yield Problem("decode is done behind the ONNX file", "put it behind the other steps", place)
        if len(texts) != 1:
            message = f"decode needs the one text that the scores are of, and there are {len(texts)} steps of tokenize"
            yield Problem(message, "add `{op: tokenize, …}` to preprocess, once", place)
        elif step.kind == "answer" and not texts[0].pair:
            yield Problem("an answer needs a question and a text", "name the text as `pair` of tokenize", place)
        elif step.kind == "entities" and texts[0].pair:
            yield Problem("entities are found in one text, and tokenize takes pairs", "remove its `pair`", place)
