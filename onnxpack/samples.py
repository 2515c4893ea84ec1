"""Inputs for the source model: seeded, in the spec's ranges, at several sizes of every dynamic axis."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.drawing import draw_array, numpy_dtype
from onnxpack.errors import Problem, SpecError
from onnxpack.npz import Arrays, Head, Npz, read_arrays, write_arrays
from onnxpack.spec.model import Input, Spec
from onnxpack.values import Axis

__all__ = [
    "Arrays", "cases", "corners", "draw", "dtype_word", "has_values", "main_sizes", "misfits", "odd_sizes",
    "plain_strings", "read_arrays", "read_samples", "row_axis", "shape_at", "sizes_of", "tracing_sizes", "write_arrays",
]  # fmt: skip

_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)
_MAX_CORNERS = 8


def main_sizes(axes: tuple[Axis, ...]) -> list[dict[str, int]]:
    """Return the sizes that are verified first: all at min, odd ones that differ, all at opt, all at max."""
    low = {axis.name: axis.min for axis in axes}
    high = {axis.name: axis.max for axis in axes}
    return [low, odd_sizes(axes), {axis.name: axis.opt for axis in axes}, high]


def corners(axes: tuple[Axis, ...]) -> list[dict[str, int]]:
    """Return at most 8 mixed sizes: one axis at its maximum and the others at their minimum, and the reverse.

    Two axes that an exporter made one are told apart by them.
    """
    if len(axes) < 2:
        return []
    low = {axis.name: axis.min for axis in axes}
    high = {axis.name: axis.max for axis in axes}
    found = [low | {axis.name: axis.max} for axis in axes] + [high | {axis.name: axis.min} for axis in axes]
    return found[:_MAX_CORNERS]


def odd_sizes(axes: tuple[Axis, ...]) -> dict[str, int]:
    """A size within each axis' limits that is odd and, where the limits allow it, no other axis' and not 1."""
    chosen: dict[str, int] = {}
    for axis in axes:
        candidates = chain(_PRIMES, range(max(axis.min, 3) | 1, axis.max + 1, 2))
        fitting = (size for size in candidates if axis.min <= size <= axis.max and size not in chosen.values())
        chosen[axis.name] = next(fitting, axis.max)
    return chosen


def tracing_sizes(axes: tuple[Axis, ...]) -> dict[str, int]:
    """Sizes to trace at: at least 2 and all different, since exporters treat 0, 1 and equal sizes as special."""
    chosen: dict[str, int] = {}
    for axis in axes:
        size = max(axis.min, 2)
        while size in chosen.values():
            size += 1
        chosen[axis.name] = size
    return chosen


def shape_at(tensor: Input, at: dict[str, int]) -> tuple[int, ...]:
    """The input's shape with every axis at its size."""
    return tuple(at[size] if isinstance(size, str) else size for size in tensor.shape)


def draw(spec: Spec, at: dict[str, int], case: int) -> Arrays:
    """One array per input at the given axis sizes; the same for the same spec, sizes and case number."""
    generator = np.random.default_rng([spec.verify.seed, case])
    return {name: draw_array(tensor, shape_at(tensor, at), generator) for name, tensor in spec.inputs.items()}


def cases(
    spec: Spec, given: Path | None, chosen: Iterable[dict[str, int]]
) -> Iterator[tuple[str, dict[str, int], Arrays]]:
    """Yield every case's name, axis sizes and inputs; the user's own samples, if any, last.

    ``chosen`` are the sizes of the random ones; each is asked for when the case before has been used. Where the spec
    wants no random ones, the first rows of the samples are a case of their own: at one size alone an axis that an
    export made fixed would not show.
    """
    if spec.verify.random:
        for number, at in enumerate(chosen):
            label = "_".join(f"{name}{size}" for name, size in at.items()) or "fixed"
            yield f"{number:02}_{label}", at, draw(spec, at, number)
    if given is not None:
        arrays = read_samples(spec, given)
        yield "samples", sizes_of(spec, arrays), arrays
        first = None if spec.verify.random else _first_rows(spec, arrays)
        if first:
            yield "samples_first", sizes_of(spec, first), first


def row_axis(spec: Spec) -> str | None:
    """Return the dynamic axis that is the first of every input and nowhere else, so that inputs can be cut by rows."""
    others = {size for tensor in spec.inputs.values() for size in tensor.shape[1:]}
    name = spec.first_size
    return name if isinstance(name, str) and name not in others else None


def _first_rows(spec: Spec, arrays: Arrays) -> Arrays | None:
    name = row_axis(spec)
    rows = len(next(iter(arrays.values()))) // 2 if name else 0
    fits = name and max(spec.dynamic_axes[name].min, 1) <= rows
    return {key: array[:rows] for key, array in arrays.items()} if fits else None


def read_samples(spec: Spec, path: Path) -> Arrays:
    """The user's samples, checked against the inputs.

    Raises:
        SpecError: it is no npz, holds pickles, or its names, dtypes, shapes or values do not fit.
    """
    label = path.name
    archive = Npz(path, label)
    known = archive.names()
    heads = archive.headers(tuple(name for name in spec.inputs if name in known))
    problems = [
        *(Problem(f"{label}: no array named '{name}'", "one per input") for name in spec.inputs if name not in known),
        *(Problem(f"{label}: '{name}' is not an input", "remove it") for name in known if name not in spec.inputs),
    ]
    seen: dict[str, int] = {}
    arrays: Arrays = {}
    for name, head in heads.items():
        texts = [*misfits(spec, spec.inputs[name], head, seen)]
        if not texts:  # only now it is known to be no larger than the spec allows
            arrays[name] = archive.array(name)
            texts = [] if has_values(arrays[name]) else ["has NaN or infinite values"]
        problems += [Problem(f"{label}: '{name}' {text}") for text in texts]
    if problems:
        raise SpecError(problems)
    return arrays


def dtype_word(dtype: np.dtype[Any]) -> str:
    """The spec's word for a numpy dtype."""
    return "string" if dtype.kind == "U" else dtype.name


def misfits(spec: Spec, tensor: Input, array: Head, seen: dict[str, int], first: int = 0) -> Iterator[str]:
    """What in an array's dtype and shape is not its input's; ``seen`` has the sizes that axes had in others.

    Axes before ``first`` are left to the caller.
    """
    dtype, shape = array
    if dtype_word(dtype) != dtype_word(numpy_dtype(tensor)):
        yield f"has dtype {dtype_word(dtype)}, the input {tensor.dtype}"
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


def plain_strings(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return strings as numpy's own, all else as it is: runtimes give objects, which an npz would have to pickle."""
    return array.astype(str) if array.dtype.kind == "O" else array


def has_values(array: np.ndarray[Any, Any]) -> bool:
    """Whether every number in it is one: NaN and infinities compare with anything, or with nothing."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def sizes_of(spec: Spec, arrays: Arrays) -> dict[str, int]:
    """Return the size of every dynamic axis in one set of inputs."""
    return {
        axis: size
        for name, tensor in spec.inputs.items()
        for axis, size in zip(tensor.shape, arrays[name].shape, strict=True)
        if isinstance(axis, str)
    }
