"""Calibration and evaluation data: an ``.npz`` read by rows, or the user's function. Used in child processes only.

A row is one index of the inputs' common first axis. The arrays are what a client sends: in front of ``preprocess``.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, Protocol

import numpy as np

from onnxpack.errors import Problem, SpecError
from onnxpack.npz import Head, Npz
from onnxpack.samples import Arrays, has_values, misfits
from onnxpack.spec.client import client_spec
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Spec
from onnxpack.spec.origin import is_code
from onnxpack.user_code import attribute, called

CHUNK_ROWS = 256
"""Rows that are read at once where nobody asks for fewer."""


class Rows(Protocol):
    """Where arrays come from, piece by piece."""

    def pieces(self, names: tuple[str, ...], size: int) -> Iterator[Arrays]:
        """The named arrays in pieces of equally many rows; of at most ``size`` where that can be chosen.

        Raises:
            SpecError: one of them is missing, is no plain array, or cannot be read.
        """


def open_dataset(file: SpecFile, data: str, what: str, columns: tuple[str, ...] = ()) -> "Dataset":
    """The rows of ``data``, an ``.npz`` or a function; ``what`` it is for says the error.

    ``columns`` are arrays that are wanted besides the inputs: labels. Others in it are passed over.

    Raises:
        SpecError: it is not readable, or its names, dtypes, shapes or rows do not fit. Of a function that, and
            everywhere NaN, shows when the rows are read.
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
    """Inputs, and the columns asked for, in rows."""

    def __init__(self, spec: Spec, source: Rows, label: str, columns: tuple[str, ...]) -> None:
        self._spec = client_spec(spec)
        self._source = source
        self._label = label
        self.names: tuple[str, ...] = (*self._spec.inputs, *columns)
        """The arrays of a batch: the inputs in the spec's order, then the columns."""
        first = self._spec.first_size
        if first is None:
            raise SpecError(
                f"{label} is cut along the inputs' first axis, and they have none in common",
                "give all inputs the same first axis",
            )
        if isinstance(first, str):
            axis = self._spec.dynamic_axes[first]
            self._low, self._high = max(axis.min, 1), axis.max
        else:
            self._low = self._high = first

    @cached_property
    def rows(self) -> int:
        """How many there are. A function that yields batches is run through to know."""
        return sum(_length(piece) for piece in self._checked(self.names, CHUNK_ROWS))

    def batches(self, size: int, limit: int | None = None) -> Iterator[Arrays]:
        """Pieces of ``size`` rows, or as near as the first axis' limits allow, of the first ``limit`` rows.

        The last one is smaller; where the axis is fixed, or its minimum higher than what is left, that rest is
        dropped. Where a function changes another axis' size, a new batch begins.

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
            raise SpecError(f"{self._label} has too few rows", f"the model takes {self._low} at once")

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """All of one array.

        Raises:
            SpecError: there is none of this name.
        """
        pieces = [piece[name] for piece in self._source.pieces((name,), CHUNK_ROWS)]
        return _joined(pieces, name, self._label)

    def check(self, arrays: Mapping[str, Head]) -> None:
        """Judges dtypes, shapes and rows before or after they are read.

        Raises:
            SpecError: with all that does not fit.
        """
        seen: dict[str, int] = {}
        problems = [
            Problem(f"{self._label}: '{name}' {text}", "the data is what a client sends")
            for name, tensor in self._spec.inputs.items()
            for text in misfits(self._spec, tensor, arrays[name], seen, first=1)
        ]
        lengths = {name: shape[0] if shape else None for name, (_, shape) in arrays.items()}
        if len(set(lengths.values())) > 1 or None in lengths.values():
            counted = ", ".join(f"'{name}' {'none' if rows is None else rows}" for name, rows in lengths.items())
            problems.append(Problem(f"{self._label}: arrays have different numbers of rows: {counted}", "cut them"))
        elif 0 in lengths.values():
            problems.append(Problem(f"{self._label} has zero rows", "give it some"))
        if problems:
            raise SpecError(problems)

    def _checked(self, names: tuple[str, ...], size: int) -> Iterator[Arrays]:
        for piece in self._source.pieces(names, size):
            self.check({name: (array.dtype, array.shape) for name, array in piece.items()})
            for name, array in piece.items():
                if not has_values(array):
                    problem = f"{self._label}: '{name}' has NaN or infinite values"
                    raise SpecError(problem, "remove the rows, or fill the gaps as a client would")
            yield piece

    def _cut(self, size: int, limit: int | None) -> Iterator[Arrays]:
        """Batches of ``size`` rows from pieces of any, with what is left before the shapes change and at the end."""
        left = limit
        waiting: list[Arrays] = []
        for piece in chain(self._checked(self.names, size), [{}]):
            if waiting and (not piece or left == 0 or _trailing(piece) != _trailing(waiting[0])):
                rest = _concatenated(waiting, self.names)
                if _length(rest) >= self._low:
                    yield rest
                waiting = []
            if not piece or left == 0:
                return
            piece = {name: array[:left] for name, array in piece.items()}
            left = None if left is None else left - _length(piece)
            waiting.append(piece)
            if sum(map(_length, waiting)) >= size:
                whole = _concatenated(waiting, self.names)
                full = _length(whole) // size * size
                for start in range(0, full, size):
                    yield {name: array[start : start + size] for name, array in whole.items()}
                rest = {name: array[full:] for name, array in whole.items()}
                waiting = [rest] if _length(rest) else []


class _Function:
    """A function without arguments that gives a mapping of arrays, or an iterable of them; called for each reading."""

    def __init__(self, file: SpecFile, reference: str, label: str) -> None:
        self._reference = reference
        self._label = label
        self._function = attribute(file, reference)

    def pieces(self, names: tuple[str, ...], size: int) -> Iterator[Arrays]:
        hint = "call it without arguments by hand"
        given = called(self._function, self._reference, hint)
        for mapping in _one_by_one(given, self._reference, hint):
            piece = {name: self._array(mapping, name) for name in names}
            lengths = {array.shape[:1] for array in piece.values()}
            if given is not mapping or len(lengths) > 1 or () in lengths:
                yield piece
                continue
            for start in range(0, max(_length(piece), 1), size):
                yield {name: array[start : start + size] for name, array in piece.items()}

    def _array(self, mapping: Any, name: str) -> np.ndarray[Any, Any]:
        if not isinstance(mapping, Mapping):
            kind = type(mapping).__name__
            raise SpecError(f"{self._label} gives a {kind}", "it must give or yield dicts of arrays, by input name")
        if name not in mapping:
            raise SpecError(f"{self._label}: no array named '{name}'", f"it gives {', '.join(map(str, mapping))}"[:300])
        try:
            array = np.asarray(mapping[name])
        except Exception as error:  # a tensor on a device, a ragged list: each has its own kind
            raise SpecError(f"{self._label}: '{name}' is no array: {error}", "give numpy arrays") from None
        if array.dtype.hasobject:
            raise SpecError(f"{self._label}: '{name}' has dtype object", "give numbers, or strings as dtype str")
        return array


def _one_by_one(given: Any, reference: str, hint: str) -> Iterator[Any]:
    if isinstance(given, Mapping):
        yield given
        return
    if not isinstance(given, Iterable):
        kind = type(given).__name__
        raise SpecError(f"{reference} gave a {kind}", "it must give or yield dicts of arrays, by input name")
    items = iter(given)
    end = object()
    while True:
        item = called(next, reference, hint, items, end)
        if item is end:
            return
        yield item


def _length(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _trailing(arrays: Arrays) -> list[tuple[int, ...]]:
    return [array.shape[1:] for array in arrays.values()]


def _concatenated(pieces: list[Arrays], names: tuple[str, ...]) -> Arrays:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}


def _joined(pieces: list[np.ndarray[Any, Any]], name: str, label: str) -> np.ndarray[Any, Any]:
    try:
        return np.concatenate(pieces)
    except ValueError as error:
        raise SpecError(f"{label}: '{name}' is not one array: {error}", "give it rows of one shape") from None
