"""Test inputs for the source model: seeded, in the spec's ranges, at several sizes of every dynamic axis."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.values import Axis
from onnxpack.data.domains import draw_array, get_numpy_dtype
from onnxpack.data.npz import Arrays, Head, Npz, read_arrays, write_arrays
from onnxpack.spec.model import Input, Spec

__all__ = [
    "SAMPLES", "Arrays", "choose_odd_sizes", "choose_tracing_sizes", "convert_strings", "draw", "find_misfits",
    "get_dtype_word", "has_values", "iterate_cases", "list_corners", "list_main_sizes",
    "measure_sizes", "read_arrays", "read_samples", "resolve_shape", "write_arrays",
]  # fmt: skip

_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)
_MAX_CORNERS = 8

SAMPLES = "samples"
"""How the names of the cases begin that are the user's own samples."""


def list_main_sizes(axes: tuple[Axis, ...]) -> list[dict[str, int]]:
    """Return the main sizes to verify: all axes at min, at odd sizes that differ, at opt, and at max."""
    low = {axis.name: axis.min for axis in axes}
    high = {axis.name: axis.max for axis in axes}
    return [low, choose_odd_sizes(axes), {axis.name: axis.opt for axis in axes}, high]


def list_corners(axes: tuple[Axis, ...]) -> list[dict[str, int]]:
    """Return at most 8 mixed sizes: one axis at its maximum and the others at their minimum, and the reverse.

    They show whether an exporter made two axes one.
    """
    if len(axes) < 2:
        return []
    low = {axis.name: axis.min for axis in axes}
    high = {axis.name: axis.max for axis in axes}
    found = [low | {axis.name: axis.max} for axis in axes] + [high | {axis.name: axis.min} for axis in axes]
    return found[:_MAX_CORNERS]


def choose_odd_sizes(axes: tuple[Axis, ...]) -> dict[str, int]:
    """Choose a size for each axis that is odd and, if the limits allow it, neither 1 nor another axis' size."""
    chosen: dict[str, int] = {}
    for axis in axes:
        # "| 1" makes the first of the range odd.
        candidates = chain(_PRIMES, range(max(axis.min, 3) | 1, axis.max + 1, 2))
        fitting = (size for size in candidates if axis.min <= size <= axis.max and size not in chosen.values())
        chosen[axis.name] = next(fitting, axis.max)
    return chosen


def choose_tracing_sizes(axes: tuple[Axis, ...]) -> dict[str, int]:
    """Choose sizes to trace at: 2 or more and all different, since exporters treat 0, 1 and equal sizes specially."""
    chosen: dict[str, int] = {}
    for axis in axes:
        size = max(axis.min, 2)
        while size in chosen.values():
            size += 1
        chosen[axis.name] = size
    return chosen


def resolve_shape(tensor: Input, at: dict[str, int]) -> tuple[int, ...]:
    """Return an input's shape with the size of every dynamic axis filled in."""
    return tuple(at[size] if isinstance(size, str) else size for size in tensor.shape)


def draw(spec: Spec, at: dict[str, int], case: int) -> Arrays:
    """Draw an array for each input at the given axis sizes; the same for the same spec, sizes and case number."""
    generator = np.random.default_rng([spec.verify.seed, case])
    return {name: draw_array(tensor, resolve_shape(tensor, at), generator) for name, tensor in spec.inputs.items()}


def iterate_cases(
    spec: Spec, given: Path | None, chosen: Iterable[dict[str, int]]
) -> Iterator[tuple[str, dict[str, int], Arrays]]:
    """Yield every case's name, axis sizes and inputs; the user's own samples, if any, come last.

    ``chosen`` are the sizes of the random cases; each is taken from it after the case before was used. If the spec
    wants no random cases, the first rows of the samples are one more case: at a single size an axis that an export made
    fixed would not show.
    """
    if spec.verify.random:
        for number, at in enumerate(chosen):
            label = "_".join(f"{name}{size}" for name, size in at.items()) or "fixed"
            yield f"{number:02}_{label}", at, draw(spec, at, number)
    if given is not None:
        arrays = read_samples(spec, given)
        yield SAMPLES, measure_sizes(spec, arrays), arrays
        first = None if spec.verify.random else _take_first_rows(spec, arrays)
        if first:
            yield f"{SAMPLES}_first", measure_sizes(spec, first), first


def _take_first_rows(spec: Spec, arrays: Arrays) -> Arrays | None:
    name = spec.row_axis
    rows = len(next(iter(arrays.values()))) // 2 if name else 0
    fits = name and max(spec.dynamic_axes[name].min, 1) <= rows
    return {key: array[:rows] for key, array in arrays.items()} if fits else None


def read_samples(spec: Spec, path: Path) -> Arrays:
    """Read the user's samples and check them against the inputs.

    Raises:
        SpecError: it is no npz, holds pickles, or its names, dtypes, shapes or values do not fit.
    """
    label = path.name
    archive = Npz(path, label)
    known = archive.names()
    heads = archive.headers(tuple(name for name in spec.inputs if name in known))
    problems = [
        *(
            Problem(f"{label}: no array named '{name}'", "save one array for each input")
            for name in spec.inputs
            if name not in known
        ),
        *(Problem(f"{label}: '{name}' is not an input", "remove it") for name in known if name not in spec.inputs),
    ]
    seen: dict[str, int] = {}
    arrays: Arrays = {}
    for name, head in heads.items():
        texts = [*find_misfits(spec, spec.inputs[name], head, seen)]
        if not texts:  # only now it is known to be no larger than the spec allows
            arrays[name] = archive.array(name)
            texts = [] if has_values(arrays[name], spec.inputs[name]) else ["has NaN or infinite values"]
        problems += [Problem(f"{label}: '{name}' {text}") for text in texts]
    if problems:
        raise SpecError(problems)
    return arrays


def get_dtype_word(dtype: np.dtype[Any]) -> str:
    """Return the spec's word for a numpy dtype."""
    return "string" if dtype.kind == "U" else dtype.name


def find_misfits(spec: Spec, tensor: Input, array: Head, seen: dict[str, int], first: int = 0) -> Iterator[str]:
    """Yield how an array's dtype and shape differ from its input's; ``seen`` holds the axis sizes of other arrays.

    Axes before ``first`` are not checked.
    """
    dtype, shape = array
    if get_dtype_word(dtype) != get_dtype_word(get_numpy_dtype(tensor)):
        yield f"has dtype {get_dtype_word(dtype)}, the input {tensor.dtype}"
    if len(shape) != len(tensor.shape):
        yield f"has {len(shape)} dimensions, the input {len(tensor.shape)}"
        return
    for size, expected in list(zip(shape, tensor.shape, strict=True))[first:]:
        if isinstance(expected, int):
            if size != expected:
                yield f"has a dimension of {size} where the input has {expected}"
            continue
        axis = spec.dynamic_axes[expected]
        if not axis.min <= size <= axis.max:
            yield f"has {size} along '{expected}', which goes from {axis.min} to {axis.max}"
        elif seen.setdefault(expected, size) != size:
            yield f"has {size} along '{expected}', another input {seen[expected]}"


def convert_strings(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert an array of objects, as runtimes return strings, to numpy's strings, since an npz would pickle it."""
    return array.astype(str) if array.dtype.kind == "O" else array


def has_values(array: np.ndarray[Any, Any], tensor: Input | None = None) -> bool:
    """Return whether an array has neither NaN nor infinite values, which cannot be compared within a tolerance.

    NaN are allowed in an input ``tensor`` that may have missing values.
    """
    if array.dtype.kind != "f":
        return True
    return not np.isinf(array).any() if tensor and tensor.missing else bool(np.isfinite(array).all())


def measure_sizes(spec: Spec, arrays: Arrays) -> dict[str, int]:
    """Return the size of every dynamic axis in the arrays of one case."""
    return {
        axis: size
        for name, tensor in spec.inputs.items()
        for axis, size in zip(tensor.shape, arrays[name].shape, strict=True)
        if isinstance(axis, str)
    }
