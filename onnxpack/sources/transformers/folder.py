"""What the settings in a ``save_pretrained`` folder say: the model's task, and how it makes embeddings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from onnxpack.core.errors import SourceError
from onnxpack.core.regular import is_regular, open_regular
from onnxpack.core.text import clean
from onnxpack.spec.formats import EMBEDDING
from onnxpack.spec.model import Model, Pooling, Task

_LIMIT = 64 * 2**20  # bytes of a file of settings
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
PROJECTION = "ModelWithProjection"
"""The end of the names of classes that make one vector themselves."""
_CLASSES: Mapping[str, Task] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForImageClassification": "image-classification",
    "Model": EMBEDDING,
    PROJECTION: EMBEDDING,
}
"""The ends of the names of classes, and what these are for."""
_SENTENCE_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True)
class Head:
    """The task of a model, and how it makes one vector of all tokens: ``pooling`` is ``none`` for other tasks."""

    task: Task
    pooling: Pooling = "none"
    normalize: bool = False


def read_json(path: Path) -> Any:
    """Return what a file of settings holds.

    Raises:
        SourceError: it cannot be read, is too large, or is no JSON.
    """
    try:
        with open_regular(path) as stream:
            data = stream.read(_LIMIT + 1)
        if len(data) > _LIMIT:
            raise ValueError(f"it has more than {_LIMIT} bytes")
        return json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        words = error.strerror if isinstance(error, OSError) else error
        raise SourceError(f"'{path.name}' cannot be read: {words}", "save the model again") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json, of a model that can be loaded as data alone.

    Raises:
        SourceError: it needs code of its own, an adapter's base model, other packages, or has no safetensors.
    """
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise SourceError("'config.json' names no `model_type`", "give the folder that `save_pretrained` wrote")
    if config.get("auto_map"):
        raise SourceError(
            "config.json names code of its own (`auto_map`), and no code of a folder is run",
            "if transformers itself has this class, remove `auto_map`; if not, use `framework: torch` with a `factory` "
            "that makes the model",
        )
    if is_regular(folder / "adapter_config.json"):
        raise SourceError(
            "the folder holds an adapter (adapter_config.json), not the whole model",
            "merge it, `model.merge_and_unload().save_pretrained(FOLDER)`, and give that folder",
        )
    if config.get("quantization_config"):
        raise SourceError(
            "the model was saved quantized (`quantization_config`)",
            "give the model of full precision; a target's `precision` makes it smaller",
        )
    if not any(is_regular(folder / name) for name in _WEIGHTS):
        others = next((name for name in _PICKLES if is_regular(folder / name)), None)
        has = f", only {others}" if others else ""
        raise SourceError(
            f"the folder has no model.safetensors{has}",
            "save it with `model.save_pretrained(FOLDER)`, which writes safetensors",
        )
    return config


def find_head(model: Model, folder: Path, config: Mapping[str, Any]) -> Head:
    """Return what a model is for: as the spec says, or else as its folder does.

    Raises:
        SourceError: neither does, or the folder has a part that is not known here.
    """
    task = model.task or find_task(folder, config)
    if task != EMBEDDING:
        return Head(task)
    if model.pooling is not None:
        return Head(task, model.pooling, model.pooling != "none" and bool(model.normalize))
    found = read_sentence_modules(folder)
    if found.pooling == "none" and get_architecture(config).endswith(PROJECTION):
        found = Head(task, "own")
    normalize = found.normalize if model.normalize is None else model.normalize
    if normalize and found.pooling == "none":
        raise SourceError("`normalize` needs one vector", "set `pooling` to mean, cls, max or own")
    return Head(task, found.pooling, normalize)


def find_task(folder: Path, config: Mapping[str, Any]) -> Task:
    """Return the task of the class that a folder was saved from.

    Raises:
        SourceError: it is none that is known here.
    """
    if is_regular(folder / "modules.json"):  # sentence-transformers: whatever the inner model is called
        return EMBEDDING
    name = get_architecture(config)
    for end, task in _CLASSES.items():
        if name.endswith(end):
            return task
    said = f"a {clean(name, 80)}" if name else "no class (`architectures`)"
    raise SourceError(
        f"config.json says {said}, and what it is for is not known here",
        f"set `task` in `model` to one of {', '.join(get_args(Task))}",
    )


def get_architecture(config: Mapping[str, Any]) -> str:
    """Return the name of the class that was saved; empty if the file has none."""
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


def read_sentence_modules(folder: Path) -> Head:
    """Return how sentence-transformers makes an embedding of a folder that it saved; no pooling for any other.

    Raises:
        SourceError: a module of it is not known here.
    """
    if not is_regular(folder / "modules.json"):
        return Head(EMBEDDING)
    pooling: Pooling = "none"
    normalize = False
    modules = read_json(folder / "modules.json")
    for module in modules if isinstance(modules, list) else ():
        kind, path = (str(module.get(key, "")) for key in ("type", "path")) if isinstance(module, dict) else ("", "")
        kind = kind.rpartition(".")[2]
        if kind == "Transformer" and path in ("", "."):
            continue
        if kind == "Pooling" and path == "1_Pooling":
            pooling = _read_pooling(read_json(folder / path / "config.json"))
        elif kind == "Normalize":
            normalize = True
        else:
            raise SourceError(
                f"modules.json has '{clean(kind, 80)}' at '{clean(path, 80)}', which is not known here",
                "set `pooling` and `normalize` if it changes nothing; else use `framework: torch` with a `factory`",
            )
    return Head(EMBEDDING, pooling, normalize)


def _read_pooling(config: Any) -> Pooling:
    """Return the pooling of a 1_Pooling/config.json, of an older or a newer sentence-transformers."""
    fields = config if isinstance(config, dict) else {}
    modes = [key for key, value in fields.items() if key.startswith("pooling_mode_") and value is True]
    word = fields.get("pooling_mode", modes)
    names = [_SENTENCE_MODES.get(mode, mode) for mode in ([word] if isinstance(word, str) else word)]
    for pooling in ("mean", "cls", "max"):
        if names == [pooling]:
            return pooling
    raise SourceError(
        f"1_Pooling/config.json pools by {clean(', '.join(map(str, names)), 80) or 'nothing'}, which is not known here",
        "use `framework: torch` with a `factory` that does it",
    )
