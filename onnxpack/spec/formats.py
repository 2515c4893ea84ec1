"""The formats of model files, recognised by their names' endings, and which of them each framework takes."""

from collections.abc import Callable, Iterator

from onnxpack.core.errors import Location, Problem
from onnxpack.spec.model import Model
from onnxpack.spec.origin import file_name, is_url, shown

Where = Callable[..., Location]

PICKLES = (".pkl", ".pickle", ".joblib")
NATIVE = {"xgboost": (".json", ".ubj"), "lightgbm": (".txt",), "catboost": (".cbm",)}
"""The boosting libraries' own model formats, which run no code when they are loaded."""
SKOPS = ".skops"
_SHARDS = ".index.json"
STATE_DICTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", _SHARDS)
SAVED_MODEL = "saved_model.pb"
"""The file by which a spec names the folder of a SavedModel."""
_H5 = (".h5", ".hdf5")
_WHOLE_TORCH_MODELS = (".pt", ".pth", ".pt2")


def runs_code(model: Model) -> bool:
    """Return whether loading the file at the spec's ``path`` can run code in it, so that its digest is required."""
    if model.path is None:
        return False
    if model.framework in NATIVE:
        return model.path.endswith(PICKLES)
    if model.framework == "keras":
        # of a .keras file Keras itself refuses the code; of an .h5 only its latest versions do
        return model.path.endswith((*_H5, SAVED_MODEL))
    # skops' loader itself asks for a digest where one is needed
    return model.framework in ("torch", "sklearn") and not model.path.endswith(SKOPS)


def boosted(model: Model, where: Where) -> Iterator[Problem]:
    """Check the ending of a boosting library's model file: its own format or a pickle."""
    if model.path is not None and model.framework in NATIVE:
        yield from _ending(model.path, (*NATIVE[model.framework], *PICKLES), where("model", "path"))


def torch(model: Model, where: Where) -> Iterator[Problem]:
    """Check the files of a torch model: code and weights, or one file with both."""
    yield from _code_or_file(model, where, _WHOLE_TORCH_MODELS)
    weights = model.weights_file
    if weights is None:
        if model.weights_key is not None:
            yield Problem(
                "weights_key needs weights", "set `weights` too, or remove `weights_key`", where("model", "weights_key")
            )
        return
    place = where("model", "weights")
    yield from _ending(weights, STATE_DICTS, place)
    if is_url(weights) and file_name(weights).endswith(_SHARDS):
        yield Problem(
            "one file is fetched, not the shards of an index",
            "copy it and its shards into the spec's folder, and name the copy",
            place,
        )


def keras(model: Model, where: Where) -> Iterator[Problem]:
    """Check the files of a Keras model: code and weights, one file with both, or the folder of a SavedModel."""
    yield from _code_or_file(model, where, (".keras", *_H5, SAVED_MODEL))
    if model.path is not None and is_url(model.path) and model.path.endswith(SAVED_MODEL):
        hint = "copy the whole folder into the spec's folder, and name the copy"
        yield Problem("one file is fetched, not the folder of a SavedModel", hint, where("model", "path"))
    if model.weights_file is not None:
        yield from _ending(model.weights_file, _H5, where("model", "weights"))


def _code_or_file(model: Model, where: Where, endings: tuple[str, ...]) -> Iterator[Problem]:
    if model.path is None:
        if model.factory is None:
            hint = "set `factory` to the code that makes the model, or `path` to the file of a whole model"
            yield Problem("model.factory is missing", hint, where("model"))
        return
    for name in ("factory", "kwargs", "weights", "weights_key"):
        if getattr(model, name):
            hint = f"the file of a whole model has code and weights in it: remove `{name}` or `path`"
            yield Problem(f"model.{name} and model.path cannot be combined", hint, where("model", name))
    yield from _ending(model.path, endings, where("model", "path"))


def _ending(path: str, endings: tuple[str, ...], place: Location) -> Iterator[Problem]:
    if not file_name(path).endswith(endings):
        yield Problem(
            f"cannot tell the format of '{shown(path)}'", f"its name must end in {' or '.join(endings)}", place
        )
