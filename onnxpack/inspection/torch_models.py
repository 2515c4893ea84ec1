"""What ``onnxpack init`` learns from torch code and from files of weights."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.inspection.code import find_class, list_parameters
from onnxpack.inspection.draft import Draft
from onnxpack.inspection.learned import finish, list_answers
from onnxpack.inspection.weights import Guess, Weights, first_layer, read_weights
from onnxpack.spec.load import find_work_tree

_IDS = re.compile("id|tok|idx|index")
"""What the names of inputs have in them that an embedding looks up."""
_NO_CODE = "check: no class that fits these weights was found nearby; name what makes the module, as model.py:Net"
_UNKNOWN = "check: the weights do not tell its dtype and shape; this is a placeholder"


def look_at_code(grown: Draft, destination: Path) -> Draft:
    """Learn the outputs of a factory's module, with weights or without, by running it."""
    from onnxpack.sources import torch as source

    model = grown.fields["model"]
    if "weights" in model:
        weights = read_weights(destination.parent / model["weights"])
        _note_weights(weights, grown)
        code, _, name = model["factory"].rpartition(":")
        _take_settings(weights, list_parameters(destination.parent / code, name), grown)
    known = "inputs" in grown.fields
    if not known:
        grown.fields["inputs"] = {}
    file = grown.file(destination)
    module = source.load(file)
    if "weights" not in model:
        try:
            source.require_weights(file)
        except SourceError as error:  # the build would refuse it, and only the user knows what is meant
            grown.note("model", "factory", text=f"check: {error.problems[0]}")
    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    guess = first_layer(shapes, in_order=True)
    if not known:
        names = [name for name, one in inspect.signature(module.forward).parameters.items() if one.default is one.empty]
        raise SpecError(
            "the inputs' dtypes and shapes are not known",
            f"give them in the order of forward's arguments: {_show_example(guess, names)}",
        )
    _take_range(guess, grown)
    finish(grown, list_answers(source, module, grown.file(destination), lambda at: source.name_answers(module, at)))
    return grown


def _show_example(guess: Guess, names: list[str]) -> str:
    """Return options that give the inputs; one is as the first layer seems to take it."""
    guessed = _find_guessed(guess, names)
    shapes = {name: guess.shape if name == guessed else ("batch", 4) for name in names}
    dtypes = {name: guess.dtype if name == guessed else "float32" for name in names}
    return " ".join(f"--input {name}:{dtypes[name]}:{','.join(map(str, shapes[name]))}" for name in names)


def _take_range(guess: Guess, draft: Draft) -> None:
    """Give the input that the first layer, an embedding, looks up the range of its rows."""
    whole = [name for name, one in draft.fields["inputs"].items() if one["dtype"].startswith(("int", "uint"))]
    if guess.range is None or not whole:
        return
    name = _find_guessed(guess, whole)
    draft.fields["inputs"][name]["range"] = list(guess.range)
    draft.note("inputs", name, text=guess.words)


def _find_guessed(guess: Guess, names: list[str]) -> str:
    """Return the input that the first layer seems to take."""
    return next((name for name in names if guess.range and _IDS.search(name)), names[0]) if names else ""


def look_at_weights(grown: Draft, destination: Path) -> Draft:
    """Learn from weights where they are in the file, which code may fit, and what the first layer seems to take."""
    model = grown.fields["model"]
    path = destination.parent / model["weights"]
    weights = read_weights(path)
    _note_weights(weights, grown)
    code = find_class(list(weights.shapes), path, destination.parent, find_work_tree(destination.parent))
    fields = {"framework": "torch", "factory": code.reference if code else "package.module:Name"}
    grown.fields["model"] = fields | {key: value for key, value in model.items() if key != "framework"}
    given = _take_settings(weights, code.parameters if code else None, grown)
    for text in code.explain(given) if code else [_NO_CODE]:
        grown.note("model", "factory", text=text)
    if "inputs" not in grown.fields:
        guess = first_layer(weights.shapes, in_order=weights.in_order)
        names = list(code.arguments if code and code.arguments else ["x"])
        guessed = _find_guessed(guess, names)
        blank = {"dtype": "float32", "shape": ["batch", 1]}
        grown.fields["inputs"] = {name: guess.input() if name == guessed else blank for name in names}
        for name in names:
            grown.note("inputs", name, text=guess.words if name == guessed else _UNKNOWN)
    finish(grown, [])
    return grown


def _note_weights(weights: Weights, draft: Draft) -> None:
    """Note where in the file the state dict is, and what else the file holds."""
    if weights.key:
        draft.fields["model"]["weights_key"] = weights.key
    for text in weights.notes:
        draft.note("model", "weights", text=text)


def _take_settings(weights: Weights, parameters: tuple[str, ...] | None, draft: Draft) -> Mapping[str, Any]:
    """Call the factory with what the checkpoint says it was called with, but for what the user gave; return it all.

    ``parameters`` are those of the factory; None where it takes any, or nothing is known.
    """
    model = draft.fields["model"]
    given = dict(model.get("kwargs", {}))
    found = {
        name: value
        for name, value in weights.settings.items()
        if name not in given and (parameters is None or name in parameters)
    }
    if found:
        model["kwargs"] = found | given
        draft.note("model", "kwargs", text="the hyperparameters that the checkpoint was saved with")
    return found | given
