"""Rules on ``tokenize``: its file, the names that a client sends texts under, and the inputs that take the tokens."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Location, Problem
from onnxpack.core.text import plural
from onnxpack.spec.intakes import name_tokens
from onnxpack.spec.messages import shorten, suggest_closest
from onnxpack.spec.model import Input, Spec
from onnxpack.spec.served import make_served_inputs
from onnxpack.spec.steps import PreprocessStep
from onnxpack.spec.tokenizer_file import TokenizerFile, read_tokenizer

Where = Callable[..., Location]

_DTYPES = ("int64", "int32")
_EXAMPLES = {"input": "text", "pair": "context"}


def check_texts(spec: Spec, folder: Path, where: Where) -> Iterator[Problem]:
    """Check each step that makes tokens of texts, and that no two steps share a name or an input."""
    served = make_served_inputs(spec)
    known = {**dict.fromkeys(spec.inputs, "an input of the model"), **dict.fromkeys(spec.outputs, "an output")}
    fed: set[str] = set()
    sizes: dict[str | int, str] = {}
    for index, step in enumerate(spec.preprocess):
        if step.op != "tokenize":
            continue
        place = partial(where, "preprocess", index)
        yield from _check_names(step, known, place)
        yield from _check_inputs(step, served, fed, place)
        ids = served.get(name_tokens(step)["ids"])
        limits = _find_limits(spec, ids) if ids else None
        if ids and len(ids.shape) == 2:
            yield from _check_axis(step, ids.shape[1], sizes, place)
        if limits:
            yield from _check_length(step, *limits, place)
        try:
            tokenizer = read_tokenizer(folder / step.tokenizer) if step.tokenizer else None
        except OSError:
            continue  # that the file cannot be read is told with all others
        except ValueError as error:
            hint = "give the tokenizer.json that the model was trained with"
            yield Problem(f"'{shorten(str(step.tokenizer))}' is no tokenizer: {error}", hint, place("tokenizer"))
            continue
        if tokenizer and limits:
            yield from _check_tokenizer(step, tokenizer, limits[1], place)
            yield from _check_range(spec, name_tokens(step)["ids"], tokenizer, where)


def _check_names(step: PreprocessStep, known: dict[str, str], place: Where) -> Iterator[Problem]:
    """Check the names that a client uses, and add them to those that are ``known``, each with what it is."""
    for field, example in _EXAMPLES.items():
        name = getattr(step, field)
        if name in known:
            hint = f"give the texts a name of their own, such as `{field}: {example}`"
            yield Problem(f"'{name}' is {known[name]}", hint, place(field))
        elif name:
            known[name] = "what other texts are sent under"


def _check_inputs(step: PreprocessStep, served: dict[str, Input], fed: set[str], place: Where) -> Iterator[Problem]:
    """Check the inputs that take tokens, and add them to those that are ``fed``."""
    names = name_tokens(step)
    shape = served[names["ids"]].shape if names["ids"] in served else None
    for field, name in names.items():
        if name not in served:
            if field == "ids" or getattr(step, field):
                problem = f"the model has no input '{name}' for {_describe(field)}"
                yield Problem(problem, f"set `{field}`; {suggest_closest(name, served)}", place(field))
            continue
        tensor = served[name]
        if name in fed:
            yield Problem(f"'{name}' takes the tokens of two texts", "give each step inputs of its own", place(field))
        fed.add(name)
        if tensor.dtype not in _DTYPES:
            hint = f"set the dtype that the model takes, {' or '.join(_DTYPES)}"
            yield Problem(f"'{name}' takes {_describe(field)}, and is {tensor.dtype}", hint, place(field))
        if field == "ids" and len(tensor.shape) != 2:
            hint, shown = "set its shape to [batch, sequence]", ", ".join(map(str, tensor.shape))
            yield Problem(f"'{name}' takes tokens, and is [{shown}]", hint, place(field))
        elif shape is not None and tensor.shape != shape:
            hint = f"set its shape to [{', '.join(map(str, shape))}]"
            yield Problem(f"'{name}' must have the axes of '{names['ids']}'", hint, place(field))


def _check_axis(step: PreprocessStep, size: str | int, sizes: dict[str | int, str], place: Where) -> Iterator[Problem]:
    """Check that no other texts decide the axis of tokens: they seldom have as many."""
    owner = sizes.setdefault(size, step.input)
    if isinstance(size, str) and owner != step.input:
        hint = f"give the tokens of '{step.input}' an axis of their own"
        yield Problem(f"the axis '{size}' is as long as the texts of '{owner}'", hint, place())


def _describe(field: str) -> str:
    return {"ids": "tokens", "mask": "the mask of tokens", "types": "the texts of tokens"}[field]


def _find_limits(spec: Spec, ids: Input) -> tuple[int, int] | None:
    """Return the fewest and the most tokens that the model takes, if that is known."""
    size = ids.shape[1] if len(ids.shape) == 2 else None
    if isinstance(size, int):
        return size, size
    axis = spec.dynamic_axes.get(size or "")
    return (axis.min, axis.max) if axis else None


def _check_length(step: PreprocessStep, least: int, most: int, place: Where) -> Iterator[Problem]:
    length = step.max_length
    if length is not None and length > most:
        hint = f"set `max_length: {most}` or lower, or raise the axis' maximum to what the model can take"
        yield Problem(f"max_length is {length}, and the model takes {plural(most, 'token')}", hint, place("max_length"))
    elif length is not None and length < least:
        hint = f"set `max_length: {least}` or higher, or lower the axis' minimum"
        yield Problem(f"max_length is {length}, and the model takes at least {least} tokens", hint, place("max_length"))


def _check_tokenizer(step: PreprocessStep, tokenizer: TokenizerFile, most: int, place: Where) -> Iterator[Problem]:
    special, length = tokenizer.special[step.pair is not None], min(step.max_length or most, most)
    if length <= special:
        hint = f"set `max_length` and the axis' maximum to {special + 1} or higher"
        problem = f"a row has {plural(length, 'token')}, and {special} are special ones"
        yield Problem(problem, hint, place("tokenizer" if step.max_length is None else "max_length"))
    if tokenizer.random:
        problem = "the tokenizer leaves out merges by chance, as in training, so that no two answers need be the same"
        yield Problem(problem, "remove `dropout` from its `model`", place("tokenizer"))


def _check_range(spec: Spec, name: str, tokenizer: TokenizerFile, where: Where) -> Iterator[Problem]:
    """Check that a range that the spec gives has all ids: a model of fewer tokens belongs to another tokenizer."""
    given = spec.inputs[name].range
    if given is not None and len(given) == 2 and given[1] < tokenizer.size - 1:
        problem = f"the range of '{name}' ends at {given[1]}, and the tokenizer gives ids up to {tokenizer.size - 1}"
        hint = "remove `range`, or give the tokenizer that the model was trained with"
        yield Problem(problem, hint, where("inputs", name, "range"))


def fill_token_inputs(spec: Spec, folder: Path) -> Spec:
    """Return a valid spec in which inputs of tokens say what their samples are like, as far as it does not itself.

    Ids are of the vocabulary, masks have ones and then zeros, and so have the numbers of texts zeros and then ones.
    """
    inputs = dict(spec.inputs)
    for step in spec.preprocess:
        if step.op != "tokenize" or step.tokenizer is None:
            continue
        tokenizer = read_tokenizer(folder / step.tokenizer)
        other = "left" if tokenizer.side == "right" else "right"
        values: dict[str, dict[str, Any]] = {
            "ids": {"range": (0, tokenizer.size - 1)},
            "mask": {"padding": tokenizer.side},
            "types": {"padding": other} if step.pair else {"choices": (0,)},
        }
        for field, name in name_tokens(step).items():
            tensor = inputs.get(name)
            if tensor and not (tensor.range or tensor.choices or tensor.columns or tensor.padding):
                inputs[name] = replace(tensor, **values[field])
    return replace(spec, inputs=inputs) if inputs != spec.inputs else spec
