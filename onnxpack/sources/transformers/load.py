"""Load a ``save_pretrained`` folder as a module of transformers, from safetensors alone."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.core.text import plural
from onnxpack.sources.transformers.folder import PROJECTION, Head, find_head, get_architecture, read_config
from onnxpack.sources.transformers.library import transformers
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Task
from onnxpack.spec.parts import list_folder_parts

_AUTO: Mapping[Task, str] = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "feature-extraction": "AutoModel",
    "image-classification": "AutoModelForImageClassification",
}
_FILES = ("config.json", "model.safetensors", "model.safetensors.index.json")
_SHOWN_KEYS = 8
_ATTENTION = "eager"
"""The one kind of attention that all models have, and whose masks the exporters follow at every size."""


def load_model(file: SpecFile) -> tuple[torch.nn.Module, Head]:
    """Return the model in float32, and what it is for.

    Raises:
        SourceError: the folder is not such a one, its class is unknown, or its weights do not fill the model.
    """
    assert file.spec.model.path
    folder = file.resolve(file.spec.model.path)
    config = read_config(folder)
    head = find_head(file.spec.model, folder, config)
    # Of its own files alone: transformers also looks for others, as checkpoints of training, which are pickles.
    with make_temporary_folder() as clean:
        for part in list_folder_parts(folder, _FILES):
            if part.is_file():
                part.open("rb").close()  # safetensors reads natively, unseen by the record of what an export reads
                (clean / part.name).symlink_to(part.resolve())
        model = _load(clean, folder.name, _find_class(head, config), head)
    _require_inputs(model, list(file.spec.inputs))
    return model, head


def _find_class(head: Head, config: Mapping[str, Any]) -> Any:
    """Return the class to load: for a task's auto class, or the saved one where it has a projection of its own."""
    name = get_architecture(config)
    if head.task == "feature-extraction" and name.endswith(PROJECTION):
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    return getattr(transformers, _AUTO[head.task])


def _load(folder: Path, name: str, kind: Any, head: Head) -> torch.nn.Module:
    # Before 4.56 it had another name, which later versions warn of.
    dtype = "dtype" if _get_version() >= (4, 56) else "torch_dtype"
    try:
        model, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation=_ATTENTION,
            **{dtype: torch.float32},
        )
    except SourceError:
        raise
    except Exception as error:  # unknown classes, torn files, shapes that differ, packages that miss: anything
        words = flatten_words(error, 500).replace(str(folder), name)
        raise SourceError(
            f"transformers {transformers.__version__} cannot load '{name}': {words}",
            "check that `task` is what the model was saved for, and name the version of transformers that saved it in "
            "`model.requirements` if this one does not know it",
        ) from None
    _require_weights(report, head, type(model).__name__)
    for setting in ("use_cache", "output_attentions", "output_hidden_states"):
        if hasattr(model.config, setting):
            setattr(model.config, setting, False)
    module: torch.nn.Module = model.eval()
    return module


def _get_version() -> tuple[int, ...]:
    return tuple(int(part) for part in transformers.__version__.split(".")[:2])


def _require_weights(report: Mapping[str, Any], head: Head, name: str) -> None:
    """Require that no parameter that an answer depends on was left at random, and that no adapter was left out."""
    missing = sorted(map(str, report.get("missing_keys") or ()))
    if head.task == "feature-extraction" and head.pooling != "own":  # the pooler's answer is not used
        missing = [key for key in missing if ".pooler." not in f".{key}"]
    if missing:
        shown = ", ".join(missing[:_SHOWN_KEYS]) + (" …" if len(missing) > _SHOWN_KEYS else "")
        raise SourceError(
            f"the folder has no weights for {plural(len(missing), 'tensor')} of {name}: {shown}",
            "set `task` to what the model was trained for, or save it again after training",
        )
    adapters = [key for key in sorted(map(str, report.get("unexpected_keys") or ())) if "lora_" in key]
    if adapters:
        raise SourceError(
            f"the weights hold an adapter that {name} would leave out: {adapters[0]}",
            "merge it before saving: `model.merge_and_unload().save_pretrained(FOLDER)`",
        )


def _require_inputs(model: torch.nn.Module, names: list[str]) -> None:
    """Require that ``forward`` has parameters of these names."""
    known = [name for name in inspect.signature(model.forward).parameters if name != "kwargs"]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SourceError(
            f"{type(model).__name__} has no input '{unknown[0]}'", f"name the inputs as it does: {', '.join(known)}"
        )
