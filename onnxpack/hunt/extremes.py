"""Make inputs at the ends of the declared ranges: all low, all high, in between, one element apart, tiny values."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from onnxpack.core.values import Axis
from onnxpack.data.domains import Domain, draw_array, fit_rows, get_numpy_dtype, list_domains
from onnxpack.data.test_inputs import Arrays, choose_odd_sizes, resolve_shape
from onnxpack.spec.model import Input, Spec

Array = np.ndarray[Any, Any]

_TINY_SHARE = 0.25
"""How many elements of a row are tiny: some, for a row of nothing else has no direction and no variance."""
_CORNERS = 8
"""How many rows have every element at one end or the other."""
_APART = 24
"""How many rows have one element apart; more would be found by the search."""


def choose_smallest_sizes(axes: tuple[Axis, ...]) -> dict[str, int]:
    """Return the least size of each axis that is not empty."""
    return {axis.name: min(max(axis.min, 1), axis.max) for axis in axes}


def choose_search_sizes(spec: Spec) -> dict[str, int]:
    """Return the sizes for one row: odd ones that differ, so that no two axes can be mistaken for each other."""
    rows = spec.row_axis
    at = {name: max(size, 1) for name, size in choose_odd_sizes(spec.axes).items()}
    return at | {rows: max(spec.dynamic_axes[rows].min, 1)} if rows else at


def fill(tensor: Input, shape: tuple[int, ...], share: float) -> Array:
    """Return an array whose elements lie at ``share`` of their domains: 0 is the lowest value, 1 the highest."""
    found = [_at(domain, share) for domain in list_domains(tensor)]
    # At once in their dtype: 0 beside the greatest uint64 would become a float that is greater still.
    row = np.array(found if len(found) > 1 or tensor.columns else found[0], get_numpy_dtype(tensor))
    # A copy, as broadcast arrays are read-only.
    array = np.broadcast_to(row, shape).copy()
    return fit_rows(array, tensor, np.random.default_rng(0))


def _at(domain: Domain, share: float) -> Any:
    if domain.choices:
        return domain.ordered[round(share * (len(domain.choices) - 1))]
    if share in (0.0, 1.0):  # exactly: as a float the end of a 64-bit integer would be another
        return domain.high if share else domain.low
    middle = share * (domain.high - domain.low)
    return domain.low + (round(middle) if domain.whole else middle)


def make_corner_cases(spec: Spec) -> Iterator[tuple[str, Arrays]]:
    """Yield inputs at the least sizes: all low, all high, all in the middle, and one element high among low ones.

    They stand alone because a branch of the source may look at all rows together.
    """
    at = choose_smallest_sizes(spec.axes)
    shapes = {name: resolve_shape(tensor, at) for name, tensor in spec.inputs.items()}
    for word, share in (("low", 0.0), ("high", 1.0), ("middle", 0.5)):
        yield word, {name: fill(tensor, shapes[name], share) for name, tensor in spec.inputs.items()}
    outlier = {name: fill(tensor, shapes[name], 0.5) for name, tensor in spec.inputs.items()}
    for name, tensor in spec.inputs.items():
        if outlier[name].size:
            outlier[name].flat[0] = fill(tensor, shapes[name], 1.0).flat[0]
            outlier[name] = fit_rows(outlier[name], tensor, np.random.default_rng(0))
    yield "outlier", outlier


def draw_mixed_rows(spec: Spec, generator: np.random.Generator) -> Iterator[Arrays]:
    """Yield rows at ``choose_search_sizes``: random ends of the domains, then one element apart from all others."""
    at = choose_search_sizes(spec)
    shapes = {name: resolve_shape(tensor, at) for name, tensor in spec.inputs.items()}
    ends = {
        name: [fill(tensor, shapes[name], share) for share in (0.0, 1.0, 0.5)] for name, tensor in spec.inputs.items()
    }
    for _ in range(_CORNERS):
        mixed = {
            name: np.where(generator.random(shapes[name]) < 0.5, low, high) for name, (low, high, _) in ends.items()
        }
        yield {name: fit_rows(array, spec.inputs[name], generator) for name, array in mixed.items()}
    sizes = [(name, int(np.prod(shape))) for name, shape in shapes.items()]
    places = [(name, index) for name, size in sizes for index in range(size)]
    for number in generator.permutation(len(places))[:_APART]:
        name, index = places[number]
        base, end = generator.integers(0, 2, 2)
        row = {key: [low, middle][base].copy() for key, (low, _, middle) in ends.items()}
        row[name].flat[index] = ends[name][end].flat[index]
        row[name] = fit_rows(row[name], spec.inputs[name], generator)
        yield row


def make_tiny_case(spec: Spec) -> Arrays | None:
    """Return ordinary inputs with -0.0, the smallest floats and denormals; None where no input may hold 0."""
    # The second number keeps this stream apart from those of the search (0) and the trees (2).
    generator = np.random.default_rng([spec.verify.seed, 1])
    at = choose_search_sizes(spec)
    rows = spec.row_axis
    if rows:
        at[rows] = min(spec.dynamic_axes[rows].max, max(at[rows], 8))
    inputs, changed = {}, False
    for name, tensor in spec.inputs.items():
        shape = resolve_shape(tensor, at)
        array = draw_array(tensor, shape, generator)
        if tensor.dtype in ("float32", "float64") and _holds_zero(tensor):
            about = np.finfo(array.dtype)
            low, high = fill(tensor, shape, 0.0), fill(tensor, shape, 1.0)
            least = [-0.0, about.smallest_subnormal, about.tiny, about.tiny / 8, -about.tiny, -about.tiny / 8]
            tiny = np.clip(generator.choice(np.array(least, array.dtype), shape), low, high)
            array = np.where(generator.random(shape) < _TINY_SHARE, tiny, array).astype(array.dtype)
            changed = True
        inputs[name] = array
    return inputs if changed else None


def _holds_zero(tensor: Input) -> bool:
    return all(not found.choices and not found.whole and found.low <= 0 <= found.high for found in list_domains(tensor))
