"""The formats of model files, recognised by their names' endings, and which of them each framework takes."""

from collections.abc import Callable, Iterator

from onnxpack.core.errors import Location, Problem
from onnxpack.spec.model import Model, Task
from onnxpack.spec.origin import format_source, get_file_name, is_url
from onnxpack.spec.parts import SAVED_MODEL, SHARDS
from onnxpack.spec.traits import FrameworkTraits, frameworks

Where = Callable[..., Location]

EMBEDDING: Task = "feature-extraction"
"""The task whose answer is a vector, of each token or of all."""
PICKLES = (".pkl", ".pickle", ".joblib")
_OF_SEVERAL = {
    SHARDS: ("one file is fetched, not the shards of an index", "copy it and its shards beside the spec"),
    SAVED_MODEL: ("one file is fetched, not the folder of a SavedModel", "copy the whole folder beside the spec"),
}
"""Files that need others beside them, which one URL cannot give: what to say, and what to do."""


def runs_code(model: Model) -> bool:
    """Return whether loading the file at the spec's ``path`` can run code in it, so that its digest is required."""
    traits = frameworks()[model.framework]
    # Of a folder only files that are data are read.
    return model.path is not None and not traits.folder and not model.path.endswith(traits.safe_endings)


def check_files(model: Model, traits: FrameworkTraits, where: Where) -> Iterator[Problem]:
    """Check that a model has the code, weights and files that its framework needs, with the right endings."""
    if "factory" in traits.fields:
        yield from _check_code_or_file(model, where, traits.endings)
    elif model.path is None:
        what = "folder" if traits.folder else "file"
        yield Problem("model.path is missing", f"set `path` to the model's {what}", where("model"))
    elif traits.folder and is_url(model.path):
        hint = "copy the folder beside the spec: `hf download OWNER/NAME --local-dir FOLDER`"
        yield Problem("one file is fetched, not a folder", hint, where("model", "path"))
    elif traits.endings:
        yield from _check_ending(model.path, traits.endings, where("model", "path"))
    if model.weights_file is not None and traits.weights_endings:
        yield from _check_ending(model.weights_file, traits.weights_endings, where("model", "weights"))
    if model.weights_file is None and model.weights_key is not None and "weights_key" in traits.fields:
        yield Problem("weights_key needs weights", "set `weights` too, or remove it", where("model", "weights_key"))
    for name, file in (("path", model.path), ("weights", model.weights_file)):
        for ending, (text, hint) in _OF_SEVERAL.items():
            if file is not None and is_url(file) and get_file_name(file).endswith(ending):
                yield Problem(text, hint, where("model", name))


def check_task(model: Model, where: Where) -> Iterator[Problem]:
    """Check that what makes one vector of tokens is asked of a model that gives some."""
    for name in ("pooling", "normalize"):
        if getattr(model, name) is not None and model.task not in (None, EMBEDDING):
            hint = f"remove it: it is for `task: {EMBEDDING}`"
            yield Problem(f"model.{name} does not apply to {model.task}", hint, where("model", name))
    if model.normalize and model.pooling == "none":
        yield Problem(
            "normalize needs one vector", "set `pooling` to mean, cls, max or own", where("model", "normalize")
        )


def _check_code_or_file(model: Model, where: Where, endings: tuple[str, ...]) -> Iterator[Problem]:
    if model.path is None:
        if model.factory is None:
            hint = "set `factory` to the code that makes the model, or `path` to the file of a whole model"
            yield Problem("model.factory is missing", hint, where("model"))
        return
    for name in ("factory", "kwargs", "weights", "weights_key"):
        if getattr(model, name):
            hint = f"the file of a whole model has code and weights in it: remove `{name}` or `path`"
            yield Problem(f"model.{name} and model.path cannot be combined", hint, where("model", name))
    yield from _check_ending(model.path, endings, where("model", "path"))


def _check_ending(path: str, endings: tuple[str, ...], place: Location) -> Iterator[Problem]:
    if not get_file_name(path).endswith(endings):
        yield Problem(
            f"cannot tell the format of '{format_source(path)}'", f"its name must end in {' or '.join(endings)}", place
        )
