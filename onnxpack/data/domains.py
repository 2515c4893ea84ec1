"""The domains of inputs, which are the values that their elements may have, and random arrays of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpack.spec.model import Column, Input

Array = np.ndarray[Any, Any]

_WORDS = ("alpha", "beta", "gamma")
_HIGHEST_INT = 9
"""The largest integer drawn without a range: small, since most integers index something."""
_NORMAL_END = 4.0
"""The end of the domain of floats without a range: one in 16,000 normally distributed values is beyond it."""


_MISSING_SHARE = 0.2
"""The share of NaN among the values of an input that may have missing ones."""


@dataclass(frozen=True)
class Domain:
    """The values of one element: one of ``choices``, or any from ``low`` to ``high``, only whole ones if ``whole``."""

    low: float = 0
    high: float = 0
    whole: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def ends(self) -> tuple[Any, Any]:
        """Return the least and the greatest value; for words the first and the last."""
        return (self.ordered[0], self.ordered[-1]) if self.choices else (self.low, self.high)

    @property
    def ordered(self) -> tuple[Any, ...]:
        """Return the choices from the least to the greatest; words in the order in which they are given."""
        return tuple(sorted(self.choices)) if self.choices and not isinstance(self.choices[0], str) else self.choices


def get_numpy_dtype(tensor: Input) -> np.dtype[Any]:
    """Return the numpy dtype of an input's samples: numpy has no bfloat16, so it is float32, rounded when used."""
    return _to_numpy_dtype(tensor.dtype)


def _to_numpy_dtype(word: str) -> np.dtype[Any]:
    return np.dtype({"string": "str", "bfloat16": "float32"}.get(word, word))


def list_domains(tensor: Input) -> list[Domain]:
    """Return the domain of each place along the last axis, or a single one for all places."""
    return [_make_domain(tensor.dtype, values) for values in tensor.columns or (tensor,)]


def list_typical_values(tensor: Input) -> tuple[bool | int | float | str, ...]:
    """Return a value from the middle of each domain that ``list_domains`` gives."""
    domains = list_domains(tensor)
    values = [_choose_middle(domain) for domain in domains]
    if (tensor.at_least_one or tensor.padding) and not any(values):
        values = [_choose_nonzero(domain) or value for domain, value in zip(domains, values, strict=True)]
    return tuple(float(value) if "float" in tensor.dtype else value for value in values)


def _choose_middle(domain: Domain) -> Any:
    if domain.choices:
        return domain.choices[0]
    middle = (domain.low + domain.high) / 2
    short = math.floor(middle) if domain.whole else float(f"{middle:.4g}")
    return short if domain.low <= short <= domain.high else middle


def _make_domain(dtype: str, values: Input | Column) -> Domain:
    if dtype == "string":
        return Domain(choices=tuple(values.choices or _WORDS))
    if values.choices is not None:
        return Domain(choices=tuple(values.choices))
    if dtype == "bool":
        return Domain(choices=(False, True))
    if isinstance(values, Input) and values.padding:
        return Domain(0, 1, whole=True)
    whole = values.integers or "int" in dtype
    if values.range is not None:
        low, high = values.range
        return Domain(math.ceil(low), math.floor(high), True) if whole else Domain(low, high)
    return Domain(0, _HIGHEST_INT, True) if whole else Domain(-_NORMAL_END, _NORMAL_END)


def draw_array(tensor: Input, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Draw a random array of an input's samples, with dtype ``get_numpy_dtype(tensor)``."""
    if tensor.padding:
        return _draw_padding(tensor, shape, generator)
    if tensor.columns:
        parts = [_draw(tensor.dtype, column, shape[:-1], generator) for column in tensor.columns]
        array = np.stack(parts, axis=-1)
    else:
        array = _draw(tensor.dtype, tensor, shape, generator)
    if tensor.missing:
        array[generator.random(array.shape) < _MISSING_SHARE] = np.nan
    return fit_rows(array, tensor, generator)


def _draw_padding(tensor: Input, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Draw masks of padding, whose numbers of ones are all equally likely; of zeros and ones each one it would not."""
    size = shape[-1]
    lengths = generator.integers(min(1, size), size, shape[:-1], endpoint=True)
    ones = np.arange(size) < lengths[..., np.newaxis]
    return (ones if tensor.padding == "right" else ones[..., ::-1]).astype(get_numpy_dtype(tensor))


def _draw(word: str, values: Input | Column, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    drawn: Any
    dtype, domain = _to_numpy_dtype(word), _make_domain(word, values)
    if dtype.kind == "U" or values.choices is not None:
        drawn = generator.choice(np.array(domain.choices, dtype=dtype), shape)
    elif dtype.kind == "b":
        drawn = generator.random(shape) < 0.5
    elif dtype.kind == "f":
        normal = values.range is None and not values.integers
        drawn = generator.standard_normal(shape) if normal else _draw_between(domain, dtype, shape, generator)
    else:
        drawn = generator.integers(int(domain.low), int(domain.high), shape, dtype=dtype, endpoint=True)
    return np.asarray(drawn, dtype)


def _draw_between(domain: Domain, dtype: np.dtype[Any], shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    """Draw uniformly distributed floats from a domain."""
    low, high, share = domain.low, domain.high, generator.random(shape)
    if domain.whole:
        return np.clip(np.floor(low + (high - low + 1) * share), low, high)
    return np.clip((low + (high - low) * share).astype(dtype), low, high)


def fit_rows(array: Array, tensor: Input, generator: np.random.Generator) -> Array:
    """Make rows along the last axis, whose elements are in their domains, such as the input's rows must be."""
    if not (tensor.at_least_one or tensor.padding):
        return array
    filled = fill_rows(array, list_domains(tensor), generator)
    if not tensor.padding:
        return filled
    ordered = np.sort(filled, axis=-1)
    return ordered if tensor.padding == "left" else ordered[..., ::-1]


def fill_rows(array: Array, found: Sequence[Domain], generator: np.random.Generator) -> Array:
    """Put a nonzero value into each row along the last axis that has none; ``found`` has the domains of its places."""
    size = array.shape[-1]
    values = [_choose_nonzero(domain) for domain in (found if len(found) > 1 else list(found) * size)]
    places = [place for place, value in enumerate(values) if value]
    rows = array.reshape(-1, size) if size else array[:0]
    for row in np.flatnonzero(~rows.astype(bool).any(axis=-1)) if places else ():
        place = generator.choice(places)
        rows[row, place] = values[place]
    return rows.reshape(array.shape) if size else array


def _choose_nonzero(domain: Domain) -> Any:
    """Return a nonzero value of a domain, or 0 if it has none."""
    ordered = domain.choices or (min(domain.high, 1) if domain.high > 0 else domain.high, domain.low)
    return next((value for value in ordered if value), 0)
