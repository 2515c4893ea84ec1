"""Calibration and evaluation data, from an ``.npz`` or the user's function; used in child processes only.

A row is one index of the inputs' common first axis. The arrays are what a client sends: in front of ``preprocess``.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, Protocol

import numpy as np

from onnxpack.core.errors import Problem, SpecError
from onnxpack.core.text import with_article
from onnxpack.data.npz import Head, Npz
from onnxpack.data.test_inputs import Arrays, find_misfits, has_values
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Spec
from onnxpack.spec.origin import is_code
from onnxpack.spec.served import make_served_spec
from onnxpack.worker.user_code import call_function, import_attribute

_WANTED = "return or yield dicts of arrays, by input name"
CHUNK_ROWS = 256
"""The number of rows that are read at once by default."""


class Rows(Protocol):
    """A source of arrays, piece by piece."""

    def pieces(self, names: tuple[str, ...], size: int) -> Iterator[Arrays]:
        """Yield the named arrays in pieces of equally many rows, at most ``size`` if the source can choose.

        Raises:
            SpecError: one of them is missing, is no plain array, or cannot be read.
        """


def open_dataset(file: SpecFile, data: str, what: str, columns: tuple[str, ...] = ()) -> "Dataset":
    """Open ``data``, an ``.npz`` or a function; ``what`` names its purpose in errors.

    ``columns`` are arrays to read besides the inputs, such as labels; other arrays are ignored.

    Raises:
        SpecError: it is not readable, or its names, dtypes, shapes or rows do not fit. For a function this is raised
            when the rows are read, and so it is for NaN in any data.
        SourceError: the function cannot be imported.
    """
    label = f"{what} data '{data}'"
    if is_code(data):
        return Dataset(file.spec, _Function(file, data, label), label, columns)
    archive = Npz(file.resolve(data), label)
    found = Dataset(file.spec, archive, label, columns)
    headers = archive.headers(found.names)
    found.check(headers)
    found.rows = headers[found.names[0]][1][0]
    return found


class Dataset:
    """The rows of a data set: the inputs and the requested columns."""

    def __init__(self, spec: Spec, source: Rows, label: str, columns: tuple[str, ...]) -> None:
        self._spec = make_served_spec(spec)
        self._source = source
        self._label = label
        self.names: tuple[str, ...] = (*self._spec.inputs, *columns)
        """The arrays of a batch: the inputs in the spec's order, then the columns."""
        first = self._spec.first_size
        if first is None:
            raise SpecError(
                f"{label} is split along the inputs' first axis, and they have none in common",
                "give all inputs the same first axis",
            )
        if isinstance(first, str):
            axis = self._spec.dynamic_axes[first]
            self._low, self._high = max(axis.min, 1), axis.max
        else:
            self._low = self._high = first

    @cached_property
    def rows(self) -> int:
        """Return the number of rows; for a function this calls it and reads all that it yields."""
        return sum(_count_rows(piece) for piece in self._read_checked(self.names, CHUNK_ROWS))

    def batches(self, size: int, limit: int | None = None) -> Iterator[Arrays]:
        """Yield batches of ``size`` rows, or as near as the first axis allows, from the first ``limit`` rows.

        The last one is smaller; it is dropped if the axis is fixed, or its minimum higher than what is left. A new
        batch begins where a function changes the size of another axis.

        Raises:
            SpecError: there are no rows, too few for one batch, or they do not fit.
            SourceError: the function raised.
        """
        size = min(max(size, self._low), self._high)
        given = False
        for batch in self._cut(size, limit):
            given = True
            yield batch
        if not given:
            raise SpecError(
                f"{self._label} has too few rows", f"give it {self._low} or more: the model takes so many at once"
            )

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """Return all rows of one array.

        Raises:
            SpecError: there is no array of this name.
        """
        pieces = [piece[name] for piece in self._source.pieces((name,), CHUNK_ROWS)]
        return _join(pieces, name, self._label)

    def check(self, arrays: Mapping[str, Head]) -> None:
        """Check the names' dtypes and shapes against the spec, before or after the arrays are read.

        Raises:
            SpecError: with every mismatch.
        """
        seen: dict[str, int] = {}
        problems = [
            Problem(f"{self._label}: '{name}' {text}", "give the data in the form that a client sends")
            for name, tensor in self._spec.inputs.items()
            for text in find_misfits(self._spec, tensor, arrays[name], seen, first=1)
        ]
        lengths = {name: shape[0] if shape else None for name, (_, shape) in arrays.items()}
        if len(set(lengths.values())) > 1 or None in lengths.values():
            counted = ", ".join(f"'{name}' {'none' if rows is None else rows}" for name, rows in lengths.items())
            problems.append(
                Problem(
                    f"{self._label}: arrays have different numbers of rows: {counted}",
                    "give every array the same number of rows",
                )
            )
        elif 0 in lengths.values():
            problems.append(Problem(f"{self._label} has zero rows", "add at least one row"))
        if problems:
            raise SpecError(problems)

    def _read_checked(self, names: tuple[str, ...], size: int) -> Iterator[Arrays]:
        for piece in self._source.pieces(names, size):
            self.check({name: (array.dtype, array.shape) for name, array in piece.items()})
            for name, array in piece.items():
                if not has_values(array, self._spec.inputs.get(name)):
                    problem = f"{self._label}: '{name}' has NaN or infinite values"
                    raise SpecError(problem, "remove the rows, or fill the gaps as a client would")
            yield piece

    def _cut(self, size: int, limit: int | None) -> Iterator[Arrays]:
        """Yield batches of ``size`` rows from pieces of any size; smaller ones before shapes change and at the end."""
        left = limit
        waiting: list[Arrays] = []
        # The empty piece behind the last one makes the loop yield what is still waiting.
        for piece in chain(self._read_checked(self.names, size), [{}]):
            if waiting and (not piece or left == 0 or _list_row_shapes(piece) != _list_row_shapes(waiting[0])):
                rest = _concatenate(waiting, self.names)
                if _count_rows(rest) >= self._low:
                    yield rest
                waiting = []
            if not piece or left == 0:
                return
            piece = {name: array[:left] for name, array in piece.items()}
            left = None if left is None else left - _count_rows(piece)
            waiting.append(piece)
            if sum(map(_count_rows, waiting)) >= size:
                whole = _concatenate(waiting, self.names)
                full = _count_rows(whole) // size * size
                for start in range(0, full, size):
                    yield {name: array[start : start + size] for name, array in whole.items()}
                rest = {name: array[full:] for name, array in whole.items()}
                waiting = [rest] if _count_rows(rest) else []


class _Function:
    """A user's function that returns a mapping of arrays, or an iterable of them; each reading calls it again."""

    def __init__(self, file: SpecFile, reference: str, label: str) -> None:
        self._reference = reference
        self._label = label
        self._function = import_attribute(file, reference)

    def pieces(self, names: tuple[str, ...], size: int) -> Iterator[Arrays]:
        hint = "call it by hand, without arguments, to see the cause"
        given = call_function(self._function, self._reference, hint)
        for mapping in _iterate_results(given, self._reference, hint):
            piece = {name: self._array(mapping, name) for name in names}
            lengths = {array.shape[:1] for array in piece.values()}
            if given is not mapping or len(lengths) > 1 or () in lengths:
                yield piece
                continue
            for start in range(0, max(_count_rows(piece), 1), size):
                yield {name: array[start : start + size] for name, array in piece.items()}

    def _array(self, mapping: Any, name: str) -> np.ndarray[Any, Any]:
        if not isinstance(mapping, Mapping):
            kind = type(mapping).__name__
            raise SpecError(f"{self._label} gives {with_article(kind)}", _WANTED)
        if name not in mapping:
            raise SpecError(f"{self._label}: no array named '{name}'", f"it gives {', '.join(map(str, mapping))}"[:300])
        try:
            array = np.asarray(mapping[name])
        except Exception as error:  # a tensor on a device, a ragged list: each has its own kind
            raise SpecError(f"{self._label}: '{name}' is no array: {error}", "return numpy arrays") from None
        if array.dtype.hasobject:
            raise SpecError(f"{self._label}: '{name}' has dtype object", "return numbers, or strings as dtype str")
        return array


def _iterate_results(given: Any, reference: str, hint: str) -> Iterator[Any]:
    if isinstance(given, Mapping):
        yield given
        return
    if not isinstance(given, Iterable):
        kind = type(given).__name__
        raise SpecError(f"{reference} returned {with_article(kind)}", _WANTED)
    items = iter(given)
    end = object()
    while True:
        item = call_function(next, reference, hint, items, end)
        if item is end:
            return
        yield item


def _count_rows(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _list_row_shapes(arrays: Arrays) -> list[tuple[int, ...]]:
    return [array.shape[1:] for array in arrays.values()]


def _concatenate(pieces: list[Arrays], names: tuple[str, ...]) -> Arrays:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}


def _join(pieces: list[np.ndarray[Any, Any]], name: str, label: str) -> np.ndarray[Any, Any]:
    try:
        return np.concatenate(pieces)
    except ValueError as error:
        raise SpecError(f"{label}: '{name}' is not one array: {error}", "give all its rows one shape") from None
