"""The kinds of model files, told by their names' endings, and the rules on which of them a source takes."""

from collections.abc import Callable, Iterator

from onnxpack.core.errors import Location, Problem
from onnxpack.spec.model import Model
from onnxpack.spec.origin import file_name, is_url, shown
from onnxpack.spec.traits import FrameworkTraits, frameworks

Where = Callable[..., Location]

PICKLES = (".pkl", ".pickle", ".joblib")
SAVED_MODEL = "saved_model.pb"
"""The one file of a SavedModel's folder that names it."""
_SHARDS = ".index.json"
_OF_SEVERAL = {
    _SHARDS: ("one file is fetched, not the shards of an index", "put it and its shards beside the spec"),
    SAVED_MODEL: ("one file is fetched, not the folder of a SavedModel", "put the whole folder beside the spec"),
}
"""Files that mean others beside them, which a URL cannot."""


def runs_code(model: Model) -> bool:
    """Return whether loading the file at the spec's ``path`` can run code in it, so that its digest is required."""
    safe = frameworks()[model.framework].safe_endings
    return model.path is not None and not model.path.endswith(safe)


def check_files(model: Model, traits: FrameworkTraits, where: Where) -> Iterator[Problem]:
    """Say what is missing or too much among a model's code, weights and file, and which file has a wrong ending."""
    if "factory" in traits.fields:
        yield from _code_or_file(model, where, traits.endings)
    elif model.path is None:
        yield Problem("model.path is missing", f"{model.framework} needs it", where("model"))
    elif traits.endings:
        yield from _ending(model.path, traits.endings, where("model", "path"))
    if model.weights_file is not None and traits.weights_endings:
        yield from _ending(model.weights_file, traits.weights_endings, where("model", "weights"))
    if model.weights_file is None and model.weights_key is not None and "weights_key" in traits.fields:
        yield Problem("weights_key needs weights", "remove it", where("model", "weights_key"))
    for name, file in (("path", model.path), ("weights", model.weights_file)):
        for ending, (text, hint) in _OF_SEVERAL.items():
            if file is not None and is_url(file) and file_name(file).endswith(ending):
                yield Problem(text, hint, where("model", name))


def _code_or_file(model: Model, where: Where, endings: tuple[str, ...]) -> Iterator[Problem]:
    if model.path is None:
        if model.factory is None:
            hint = f"{model.framework} needs it, or the path of a whole model"
            yield Problem("model.factory is missing", hint, where("model"))
        return
    for name in ("factory", "kwargs", "weights", "weights_key"):
        if getattr(model, name):
            hint = "a whole model's file has its code and weights in it: keep the one or the other"
            yield Problem(f"model.{name} and model.path exclude each other", hint, where("model", name))
    yield from _ending(model.path, endings, where("model", "path"))


def _ending(path: str, endings: tuple[str, ...], place: Location) -> Iterator[Problem]:
    if not file_name(path).endswith(endings):
        yield Problem(f"cannot tell the format of '{shown(path)}'", f"it must end in {', '.join(endings)}", place)
