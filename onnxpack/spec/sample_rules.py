"""Rules on the values of samples: ranges, choices, columns, whole numbers and masks."""

import math
from collections.abc import Callable, Iterator
from functools import partial

from onnxpack.core.errors import Location, Problem
from onnxpack.core.text import plural
from onnxpack.spec.messages import shorten
from onnxpack.spec.model import Column, Input, Spec
from onnxpack.spec.served import FLOATS, make_served_inputs

Where = Callable[..., Location]

_FLOAT_MAX = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4e38, "float64": 8.9e307}
"""The largest value of a range. For float64 half of what it holds, since the difference of two must fit too."""


def check_verification(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that a spec without random inputs names samples to compare."""
    if not spec.verify.random and spec.verify.samples is None:
        hint = "set `samples` to an .npz of real inputs, or remove `random`"
        yield Problem("verify.random is false, and there are no samples to compare", hint, where("verify", "random"))


def check_samples(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check what each input that a client sends says about its samples."""
    for name, tensor in make_served_inputs(spec).items():
        yield from _check_input(tensor, lambda *path, name=name: where("inputs", name, *path))


def _check_input(tensor: Input, where: Where) -> Iterator[Problem]:
    yield from _check_values(tensor.dtype, tensor, where)
    if tensor.columns:
        yield from _check_columns(tensor, where)
    if tensor.missing and tensor.dtype not in (*FLOATS, "bfloat16"):
        hint = "remove it: only floats can be NaN"
        yield Problem(f"missing does not apply to {tensor.dtype}", hint, where("missing"))
    if tensor.at_least_one:
        yield from _check_mask(tensor, where("at_least_one"))
    if tensor.padding:
        yield from _check_padding(tensor, where("padding"))


def _check_values(dtype: str, values: Input | Column, where: Where) -> Iterator[Problem]:
    """Check a range, choices and whole numbers against each other and the dtype."""
    if values.range is not None and values.choices is not None:
        yield Problem("range and choices cannot be combined", "remove one of them", where("choices"))
    fits = True
    if values.range is not None:
        fits = False
        if len(values.range) != 2 or values.range[0] > values.range[1]:
            yield Problem("a range is two numbers, the lower one first", "use [low, high]", where("range"))
        elif dtype in ("bool", "string"):
            yield Problem(f"a range does not apply to {dtype}", "use `choices`", where("range"))
        elif not _is_in_dtype(dtype, values.range):
            yield Problem(f"the range does not fit {dtype}", "use a smaller range, or a wider dtype", where("range"))
        else:
            fits = True
    if values.choices is not None:
        yield from _check_choices(dtype, values.choices, where)
    if values.integers and dtype not in (*FLOATS, "bfloat16"):
        hint = "remove it: it is for floats that are whole numbers"
        yield Problem(f"integers does not apply to {dtype}", hint, where("integers"))
    elif values.integers and values.choices is not None:
        yield Problem("integers and choices cannot be combined", "remove one of them", where("integers"))
    elif values.integers and values.range is not None and fits:
        low, high = values.range
        if math.ceil(low) > math.floor(high):
            yield Problem(f"there is no whole number from {low:g} to {high:g}", "use a larger range", where("range"))


def _check_choices(dtype: str, choices: tuple[bool | int | float | str, ...], where: Where) -> Iterator[Problem]:
    if not choices:
        yield Problem("choices is empty", "list at least one", where("choices"))
    for index, choice in enumerate(choices):
        kind = {"bool": bool, "string": str}.get(dtype)
        fits = isinstance(choice, kind) if kind else not isinstance(choice, bool | str)
        if not fits or (not kind and not _is_in_dtype(dtype, (choice,))):  # type: ignore[arg-type] # it is a number
            shown = f"'{shorten(choice)}'" if isinstance(choice, str) else str(choice).lower()
            yield Problem(f"{shown} is no value of dtype {dtype}", "correct or remove it", where("choices", index))


def _check_columns(tensor: Input, where: Where) -> Iterator[Problem]:
    for name in ("range", "choices", "integers"):
        if getattr(tensor, name) not in (None, False):
            yield Problem(f"{name} and columns cannot be combined", "remove one of them", where(name))
    last = tensor.shape[-1] if tensor.shape else None
    if not isinstance(last, int):
        what = "the input has no axis" if last is None else f"the last axis is '{last}'"
        yield Problem(f"columns need a last axis of fixed size, and {what}", "use `range` instead", where("columns"))
    elif len(tensor.columns) != last:
        text = f"columns has {plural(len(tensor.columns), 'item')}, and the last axis has size {last}"
        yield Problem(text, f"list {plural(last, 'column')}, in their order", where("columns"))
    for index, column in enumerate(tensor.columns):
        if column.range is None and column.choices is None:
            hint = "add `range: [low, high]`"
            yield Problem("a column needs a range or choices", hint, where("columns", index))
        yield from _check_values(tensor.dtype, column, partial(where, "columns", index))


def _check_mask(tensor: Input, place: Location) -> Iterator[Problem]:
    """Check that a row can hold something other than zero."""
    if tensor.dtype == "string":
        yield Problem("at_least_one does not apply to string", "remove it", place)
    elif not tensor.shape:
        yield Problem("at_least_one is about rows, and the input has no axis", "remove it", place)
    elif not any(_has_nonzero(values) for values in tensor.columns or (tensor,)):
        yield Problem(
            "at_least_one needs a value other than 0, and none is allowed", "allow one in `range` or `choices`", place
        )


def _check_padding(tensor: Input, place: Location) -> Iterator[Problem]:
    """Check that nothing else says what a mask of padding holds."""
    others = [name for name in ("range", "choices", "columns", "integers") if getattr(tensor, name)]
    if tensor.dtype == "string":
        yield Problem("padding does not apply to string", "remove it", place)
    elif not tensor.shape:
        yield Problem("padding is about rows, and the input has no axis", "remove it", place)
    elif others:
        yield Problem(f"padding and {others[0]} cannot be combined", "remove one of them", place)


def _has_nonzero(values: Input | Column) -> bool:
    if values.choices is not None:
        return any(values.choices)
    if values.range is None or len(values.range) != 2:
        return True
    low, high = values.range
    return math.floor(high) >= 1 or math.ceil(low) <= -1 if values.integers else bool(low or high)


def _is_in_dtype(dtype: str, values: tuple[int | float, ...]) -> bool:
    if "int" not in dtype:
        return all(abs(value) <= _FLOAT_MAX[dtype] for value in values)
    bits = int(dtype.lstrip("uint"))  # strips any of these letters, so that the number is left
    low, high = (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return all(low <= value <= high and value == int(value) for value in values)
