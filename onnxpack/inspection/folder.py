"""What ``onnxpack init`` learns from a folder that transformers saved: the whole spec, up to the words of answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core.errors import SourceError, describe_error
from onnxpack.core.regular import is_regular
from onnxpack.core.text import clean
from onnxpack.inspection.draft import Draft
from onnxpack.inspection.pictures import PROCESSORS, draft_picture_steps
from onnxpack.inspection.tokens import draft_tokenizer, find_longest
from onnxpack.sources.transformers import load, run
from onnxpack.sources.transformers.folder import Head, find_head, read_config
from onnxpack.sources.transformers.outputs import list_output_names
from onnxpack.spec.formats import EMBEDDING
from onnxpack.spec.intakes import TOKEN_FIELDS

_IDS, _MASK, _TYPES = (TOKEN_FIELDS[field] for field in ("ids", "mask", "types"))
_TEXTS = {"min": 1, "opt": 8, "max": 16}
_PICTURES = {"min": 1, "opt": 8, "max": 32}
_TOKENS_OPT = 32
_MANY_CLASSES = 20
"""The number of classes from which on a client gets the best ones, and not the scores of all."""
_BEST = 5
PIXELS = "pixel_values"


def look_at_folder(grown: Draft, destination: Path) -> Draft:
    """Draft all fields of a spec from a folder's settings, and run the model once at its largest size."""
    name = grown.fields["model"]["path"]
    folder = destination.parent / name
    config = read_config(folder)
    grown.fields["inputs"] = {}
    head = find_head(grown.file(destination).spec.model, folder, config)
    model = grown.fields["model"]
    model["task"] = head.task
    if head.task == EMBEDDING:
        model["pooling"], model["normalize"] = head.pooling, head.normalize
        if head.pooling == "none":
            words = "check: all tokens' vectors are given; for one of each text or picture use mean, cls, max or own"
            grown.note("model", "pooling", text=words)
            del model["normalize"]
    if _takes_pictures(folder, config, head):
        _draft_picture(grown, destination, folder, config)
    else:
        _draft_texts(grown, destination, folder, config, head)
    draft_outputs(grown, config, head)
    return grown


def _takes_pictures(folder: Path, config: Mapping[str, Any], head: Head) -> bool:
    """Return whether the model takes pictures: it is for them, or has settings for them and no words."""
    if head.task == "image-classification":
        return True
    return "vocab_size" not in config and any(is_regular(folder / name) for name in PROCESSORS)


def _draft_picture(grown: Draft, destination: Path, folder: Path, config: Mapping[str, Any]) -> None:
    channels = int(config.get("num_channels") or 3)
    size, steps = draft_picture_steps(grown, folder, config, PIXELS)
    grown.fields["inputs"] = {PIXELS: {"dtype": "float32", "shape": ["batch", channels, *size]}}
    grown.fields["dynamic_axes"] = {"batch": dict(_PICTURES)}
    grown.fields["preprocess"] = steps
    module = load(grown.file(destination))
    try:
        run(module, {PIXELS: np.zeros((2, channels, *size), np.float32)})
    except Exception as error:  # of another size than it was made for
        raise SourceError(
            f"the model fails on a picture of {size[0]} x {size[1]}: {describe_error(error, 300)}",
            "check the sizes in config.json and preprocessor_config.json",
        ) from None


def _draft_texts(grown: Draft, destination: Path, folder: Path, config: Mapping[str, Any], head: Head) -> None:
    words = config.get("vocab_size")
    if not isinstance(words, int) or words < 1:
        raise SourceError(
            f"a {clean(config['model_type'], 60)} takes neither texts nor pictures alone",
            "save the part that takes texts, or the one that takes pictures, as a model of its own",
        )
    shape = ["batch", "sequence"]
    inputs: dict[str, Any] = {
        _IDS: {"dtype": "int64", "shape": shape, "range": [0, words - 1]},
        _MASK: {"dtype": "int64", "shape": shape, "choices": [0, 1], "at_least_one": True},
    }
    types = config.get("type_vocab_size")
    if isinstance(types, int) and types > 1:
        inputs[_TYPES] = {"dtype": "int64", "shape": shape, "range": [0, min(types, 2) - 1]}
    grown.fields["inputs"] = inputs
    grown.fields["dynamic_axes"] = {"batch": dict(_TEXTS), "sequence": {"min": 1, "opt": 1, "max": 1}}
    model = load(grown.file(destination))
    longest, note = find_longest(model, folder, config, list(inputs))
    grown.fields["dynamic_axes"]["sequence"] = {"min": 1, "opt": min(_TOKENS_OPT, longest), "max": longest}
    grown.note("dynamic_axes", "sequence", text=note)
    step = draft_tokenizer(grown, folder)
    if step and head.task == "question-answering":
        step |= {"input": "question", "pair": "context"}
    elif step:
        step |= {"input": "text"}
    if step:
        grown.fields["preprocess"] = [step]


def draft_outputs(grown: Draft, config: Mapping[str, Any], head: Head) -> None:
    """Draft the names of outputs, and the steps from scores to words."""
    labels = _read_labels(config)
    names = list(list_output_names(head))
    grown.fields["outputs"] = names
    texts = [step for step in grown.fields.get("preprocess", ()) if step["op"] == "tokenize"]
    if head.task == "question-answering" and texts:
        grown.fields["postprocess"] = [{"op": "decode", "kind": "answer", "input": names[0], "end": names[1]}]
    if head.task not in ("text-classification", "image-classification", "token-classification") or not labels:
        return
    kind = config.get("problem_type")
    if kind == "regression" or (kind is None and len(labels) == 1):
        grown.note("outputs", text="of one number, which the model gives as it is")
        return
    names[0] = "scores"
    if kind == "multi_label_classification":
        grown.fields["postprocess"] = [{"op": "sigmoid", "input": "scores"}]
        grown.note("outputs", text=f"the scores' labels, in order: {clean(', '.join(labels), 500)}")
        return
    place = f"{grown.fields['name']}.labels.txt"
    grown.files[place] = "".join(f"{label}\n" for label in labels)
    if head.task == "image-classification" and len(labels) > _MANY_CLASSES:
        names[0] = "best"
        grown.fields["postprocess"] = [
            {"op": "softmax", "input": "best"},
            {"op": "topk", "input": "best", "k": _BEST, "labels": place},
        ]
        return
    if head.task == "token-classification" and texts:
        grown.fields["postprocess"] = [{"op": "decode", "kind": "entities", "input": "scores", "labels": place}]
        return
    grown.fields["postprocess"] = [
        {"op": "softmax", "input": "scores"},
        {"op": "labels", "input": "scores", "output": "label", "labels": place},
    ]


def _read_labels(config: Mapping[str, Any]) -> list[str]:
    """Return the labels in the order of the scores; none where the settings have none for each."""
    found = config.get("id2label")
    if not isinstance(found, dict):
        return []
    labels = {int(key): clean(str(value), 200) for key, value in found.items() if str(key).isdecimal()}
    return [labels[index] for index in range(len(labels))] if sorted(labels) == list(range(len(labels))) else []
