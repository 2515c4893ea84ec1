"""Keras and TensorFlow: load the source model as one function of tensors, from its file or from code and weights."""

import hashlib
import inspect
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.sources.factories import call_factory
from onnxpack.sources.seeds import SEEDS, digest_values, require_same
from onnxpack.spec.load import SpecFile
from onnxpack.spec.parts import SAVED_MODEL

_SIGNATURE = "serving_default"
_UNSAFE = ("unsafe", "safe_mode", "arbitrary code", "lambda")


@dataclass(frozen=True)
class Ready:
    """A loaded model: ``call`` takes tensors in the spec's order; ``names`` are the outputs' own, where they have any.

    ``keeps`` holds what else would be freed while ``call`` still needs it: a SavedModel's variables.
    """

    call: Callable[..., Any]
    names: tuple[str, ...]
    keeps: Any


def load_model(file: SpecFile) -> Ready:
    """Load the spec's model.

    Raises:
        SourceError: it cannot be loaded or made, its weights do not fit, or its inputs are not the spec's.
    """
    spec, names = file.spec.model, list(file.spec.inputs)
    keras.backend.clear_session()  # a model that was loaded before must not change the names of layers, and of outputs
    if spec.path and spec.path.endswith(SAVED_MODEL):
        return _load_saved_model(file, names)
    if spec.path:
        model = _load_whole(file)
    else:
        assert spec.factory
        model = _make_model(file, spec.factory, **spec.kwargs)
        if spec.weights_file:
            _fill(model, file)
    if spec.prepare:
        model = _make_model(file, spec.prepare, model)
    return Ready(_function(model, names), _output_names(model), model)


def require_weights(file: SpecFile) -> None:
    """Call the factory under two seeds and compare all weights; one model at a time is in memory.

    Raises:
        SourceError: some differ, so they are random, and the spec has no weights for them.
    """
    model = file.spec.model
    assert model.factory
    one, other = (_digests(seed, file) for seed in SEEDS)
    require_same(model.factory, one, other)


def _digests(seed: int, file: SpecFile) -> dict[str, str | None]:
    spec = file.spec.model
    assert spec.factory
    keras.backend.clear_session()  # layers without a name are counted, and the counts would differ
    model = _make_model_under_seed(seed, file, spec.factory, **spec.kwargs)
    if not model.built:
        _build(model, file)
    return {getattr(weight, "path", weight.name): digest_values(np.asarray(weight)) for weight in model.weights}


def _make_model(file: SpecFile, reference: str, *args: Any, **kwargs: Any) -> Any:
    return _make_model_under_seed(
        0, file, reference, *args, **kwargs
    )  # weights that nobody loads are the same each time


def _make_model_under_seed(seed: int, file: SpecFile, reference: str, *args: Any, **kwargs: Any) -> Any:
    keras.utils.set_random_seed(seed)
    return call_factory(file, reference, keras.Model, "keras.Model", *args, **kwargs)


def _load_whole(file: SpecFile) -> Any:
    """Load a .keras or .h5 file; only with its digest in the spec may it hold code, as Lambda layers do."""
    spec = file.spec.model
    assert spec.path
    try:
        with _open_trusted(file, spec.path) as path:
            # compile=False: losses and optimizers are for training, and may need classes that are not here.
            return keras.models.load_model(path, compile=False, safe_mode=spec.sha256 is None)
    except SourceError:
        raise
    except Exception as error:  # torn archives, unknown classes, code of the file itself: anything
        words = flatten_words(error, 500)
        if spec.sha256 is None and any(sign in words.lower() for sign in _UNSAFE):
            with file.resolve(spec.path).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            raise SourceError(
                f"'{spec.path}' holds code, as Lambda layers do: {words}",
                f"if you trust the file, add below it: `sha256: {digest}`",
            ) from None
        raise SourceError(
            f"keras {keras.__version__} cannot load '{spec.path}': {words}",
            "use a `factory`, which may load the file itself, if it has classes of your own; name the version of Keras "
            "that saved it in `model.requirements`",
        ) from None


@contextmanager
def _open_trusted(file: SpecFile, path: str) -> Iterator[Path]:
    """Yield the file itself, or, where the spec has its digest, a copy of the very bytes that have it."""
    if file.spec.model.sha256 is None:
        yield file.resolve(path)
        return
    data = file.resolve(path).read_bytes()
    if hashlib.sha256(data).hexdigest() != file.spec.model.sha256:
        raise SourceError(f"'{path}' changed after its digest was checked", "run the build again")
    with tempfile.TemporaryDirectory(prefix="onnxpack-") as scratch:
        copy = Path(scratch) / Path(path).name
        copy.write_bytes(data)
        yield copy


def _fill(model: Any, file: SpecFile) -> None:
    weights = file.spec.model.weights_file
    assert weights
    try:
        if not model.built:
            _build(model, file)
        with _open_trusted(file, weights) as path:
            model.load_weights(path)
    except SourceError:
        raise
    except Exception as error:  # h5py's and Keras' own are of many kinds
        raise SourceError(
            f"'{weights}' does not fit the model: {flatten_words(error, 500)}",
            "let the factory make the layers whose weights were saved, in the same order",
        ) from None


def _build(model: Any, file: SpecFile) -> None:
    """Call the model once with zeros, so that a class of the user's own makes its weights."""
    tensors = [tf.zeros([1 if isinstance(size, str) else size for size in one.shape], one.dtype)
               for one in file.spec.inputs.values()]  # fmt: skip
    _function(model, list(file.spec.inputs))(*tensors)


def _load_saved_model(file: SpecFile, names: list[str]) -> Ready:
    path = file.spec.model.path
    assert path
    folder = file.resolve(path).parent
    for part in sorted(folder.rglob("*")):
        if part.is_file():
            part.open("rb").close()  # TensorFlow reads natively, unseen by the record of what an export reads
    if hashlib.sha256(file.resolve(path).read_bytes()).hexdigest() != file.spec.model.sha256:
        raise SourceError(f"'{path}' changed after its digest was checked", "run the build again")
    try:
        loaded = tf.saved_model.load(str(folder))
        signatures = dict(loaded.signatures)
    except Exception as error:  # missing variables, torn files, operators of another TensorFlow
        raise SourceError(
            f"TensorFlow {tf.__version__} cannot load '{path}': {flatten_words(error, 500)}",
            "check that its variables/ folder lies beside it",
        ) from None
    if not signatures:
        raise SourceError(f"'{path}' has no signature", "save it with `model.export`, or pass `signatures=`")
    function = signatures.get(_SIGNATURE) or next(iter(signatures.values()))
    keys = list(function.structured_input_signature[1])
    order = _match_inputs(names, keys)
    return Ready(
        lambda *tensors: function(**{keys[at]: one for at, one in zip(order, tensors, strict=True)}), (), loaded
    )


def _function(model: Any, names: list[str]) -> Callable[..., Any]:
    """Return the model as a function of tensors in the spec's order, in inference mode."""
    parameters = inspect.signature(model.call).parameters
    mode = {"training": False} if "training" in parameters else {}
    structure = _structure(model)
    if structure is not None:
        order = _match_inputs(names, [tensor.name for tensor in tf.nest.flatten(structure)], _keys(structure))

        def functional(*tensors: Any) -> Any:
            placed = [tensor for _, tensor in sorted(zip(order, tensors, strict=True), key=lambda pair: pair[0])]
            return model(tf.nest.pack_sequence_as(structure, placed), **mode)

        return functional
    if set(names) <= set(parameters) and (len(names) > 1 or names != list(parameters)[:1]):
        return lambda *tensors: model(**dict(zip(names, tensors, strict=True)), **mode)
    return lambda *tensors: model(tensors[0] if len(tensors) == 1 else list(tensors), **mode)


def _structure(model: Any) -> Any:
    """Return a functional model's inputs as they are nested; None for a class of the user's own."""
    try:
        return model.input
    except (AttributeError, ValueError, RuntimeError):  # which one, depends on the version
        return None


def _keys(structure: Any) -> list[str] | None:
    """Return the names that the inputs have in a dict, in the order in which TensorFlow flattens it."""
    return sorted(structure) if isinstance(structure, dict) else None


def _match_inputs(names: Sequence[str], own: Sequence[str], keys: Sequence[str] | None = None) -> list[int]:
    """Return each spec input's place among the model's inputs: by name where all names match, else by position.

    Raises:
        SourceError: another number of them, or some names of the model at places that are not theirs.
    """
    for known in (own, keys):
        if known and set(names) == set(known):
            return [list(known).index(name) for name in names]
    moved = [name for place, name in enumerate(names) if name in own and own.index(name) != place]
    if len(names) != len(own) or moved:
        raise SourceError(
            f"the model's inputs are {', '.join(keys or own)}; the spec's {', '.join(names)}",
            "name the inputs as the model does, or list as many as it takes, in its order",
        )
    return list(range(len(names)))


def _output_names(model: Any) -> tuple[str, ...]:
    try:
        return tuple(model.output_names)
    except (AttributeError, TypeError, ValueError):  # a class of one's own has none
        return ()
