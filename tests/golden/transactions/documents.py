"""Strict JSON: no NaN, no Infinity, no key twice. Large documents are read in pieces.

Python's own reader keeps all other threads waiting until it has read its whole text, and makes each number an
object. So a large array of scalars is read in pieces, and each is packed into a numpy array: see `Column`.
"""

import json
import re
import threading
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

SMALL = 128 * 2**10  # bytes of a text that is read in one go, in a few milliseconds
PIECE = 32 * 2**10  # bytes of a large array that are read at a time
DEPTH = 32  # of a large document; the protocol needs no more than a tensor has dimensions
MAX_OBJECTS = 10_000  # values of a large document, packed arrays aside
TOP = object()  # the name of the whole document, which nothing in it can have

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR = re.compile(rb"[-+.\w]+")
_LONG = re.compile(rb"\d{19}")
_MARK = re.compile(rb'[\[\]{"]')
_OPEN = re.compile(rb"[\[ \t\r\n]*")
_SCALARS = {bool, int, float, str, type(None)}
_one_at_a_time = threading.Lock()  # so that the memory of large documents does not add up


@dataclass
class Column:
    """The elements of a large array, row by row, and the sizes of its levels if it was nested."""

    parts: list[list[Any] | NDArray[Any]] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    size: int = 0


def read(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object that a body holds. Only in a large one, what is called "data" is a Column."""
    document = load(body, ("data",), MAX_OBJECTS)
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")
    return document


def load(body: bytes | bytearray, packed: Container[object], most: int) -> Any:
    """The JSON that a body holds. Only a large one has Columns, by these names, and a limit."""
    try:
        if len(body) <= SMALL:
            return parse(body)
        with _one_at_a_time:
            return _Reader(body, packed, most).document()
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    except _RefusedError:
        raise
    except ValueError as error:
        raise ValueError(f"the body is not JSON in UTF-8: {error}") from error


class _RefusedError(ValueError):
    """JSON, but not of the kind that is served."""


def parse(text: bytes | bytearray) -> Any:
    """Read a small text."""
    if not _LONG.search(text):  # orjson makes floats of whole numbers that no dtype holds
        with suppress(orjson.JSONDecodeError):  # the other decoder says more about what is wrong
            document = orjson.loads(text)
            # orjson takes the last of two equal keys; a text has at least one colon for each key.
            if count_keys(document) == text.count(b":"):
                return document
    return _DECODER.decode(text.decode())


def count_keys(document: Any) -> int:
    """Count the keys of all objects."""
    if isinstance(document, dict):
        return len(document) + sum(map(count_keys, document.values()))
    if isinstance(document, list):
        return sum(count_keys(item) for item in document if isinstance(item, (dict, list)))
    return 0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice in one object")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f'{word} is no JSON: write the string "{word}"')


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


class _Reader:
    """Reads a large document. It holds the body, and never a second copy of it."""

    def __init__(self, body: bytes | bytearray, packed: Container[object], most: int) -> None:
        self._body = body
        self._packed = packed
        self._most = most
        self._at = 0
        self._objects = 0
        self._what = ""  # the column that is read

    def document(self) -> Any:
        value = self._value(0, TOP)
        if self._peek():
            self._fail("extra data")
        return value

    def _peek(self) -> bytes:
        match = _SPACE.match(self._body, self._at)
        self._at = match.end() if match else self._at
        return bytes(self._body[self._at : self._at + 1])

    def _fail(self, what: str) -> NoReturn:
        raise ValueError(f"{what}, at or before byte {self._at}")

    def _take(self, pattern: re.Pattern[bytes], what: str) -> Any:
        self._peek()
        match = pattern.match(self._body, self._at)
        if not match:
            self._fail(f"{what} is missing")
        self._at = match.end()
        return self._parse(match.group())

    def _parse(self, text: bytes) -> Any:
        """Read what was just passed."""
        try:
            return parse(text)
        except json.JSONDecodeError as error:  # its position is one in the text
            self._fail(error.msg)

    def _value(self, depth: int, name: object = None) -> Any:
        self._objects += 1
        if depth > DEPTH or self._objects > self._most:
            what = "is nested too deeply" if depth > DEPTH else "has too many parts"
            raise _RefusedError(f"the body {what}")
        start = self._peek()
        if start == b"[":
            return self._column(name) if self._packs(name) else self._list(depth)
        if start == b"{":
            return self._object(depth)
        return self._take(_STRING if start == b'"' else _SCALAR, "a value")

    def _packs(self, name: object) -> bool:
        """Say whether an array is a column; a whole document may be a list of objects, too."""
        if name not in self._packed:
            return False
        match = _OPEN.match(self._body, self._at)
        return name is not TOP or match is None or self._body[match.end() : match.end() + 1] != b"{"

    def _object(self, depth: int) -> dict[str, Any]:
        pairs: list[tuple[str, Any]] = []
        self._at += 1
        while self._peek() != b"}" or pairs:
            key = self._take(_STRING, "a key")
            if self._peek() != b":":
                self._fail("a colon is missing")
            self._at += 1
            pairs.append((key, self._value(depth + 1, key)))
            if self._ends(b"}"):
                return _unique(pairs)
        self._at += 1
        return {}

    def _list(self, depth: int) -> list[Any]:
        items: list[Any] = []
        self._at += 1
        while self._peek() != b"]" or items:
            items.append(self._value(depth + 1))
            if self._ends(b"]"):
                return items
        self._at += 1
        return []

    def _ends(self, bracket: bytes) -> bool:
        """Pass the comma or the bracket behind an item; say whether it was the bracket."""
        found = self._peek()
        if found not in (b",", bracket):
            self._fail("a comma or the end is missing")
        self._at += 1
        return found == bracket

    def _column(self, name: object) -> Column:
        """Read an array of scalars, or of arrays of them, into parts that are about as large as a piece."""
        column = Column()
        self._what = "the list" if name is TOP else repr(name)
        pending: list[Any] = []
        counts: list[int] = []  # the items seen so far, in each array that is open
        depth = 0  # of the arrays that hold scalars
        sizes: dict[int, int] = {}  # of the arrays at each level: all must have the same
        while True:
            if self._peek() == b"[":
                if len(counts) == DEPTH:
                    raise _RefusedError("the body is nested too deeply")
                counts.append(0)
                self._at += 1
                if self._peek() == b"[":
                    continue
                items = self._scalars(column, pending)
                if depth not in (0, len(counts)):
                    raise _RefusedError(f"{self._what} is ragged: its arrays differ in depth")
                depth = len(counts)
                if sizes.setdefault(depth - 1, items) != items:
                    raise _RefusedError(f"{self._what} is ragged: its arrays differ in length")
                counts.pop()
            elif counts:
                self._fail("an array is missing")
            while counts:  # behind an array that ended
                counts[-1] += 1
                if not self._ends(b"]"):
                    break
                level = len(counts) - 1
                if sizes.setdefault(level, counts[-1]) != counts[-1]:
                    raise _RefusedError(f"{self._what} is ragged: its arrays differ in length")
                counts.pop()
            if not counts:
                column.parts.append(_pack(pending))
                column.size += len(pending)
                column.shape = [sizes[level] for level in sorted(sizes)]
                return column

    def _scalars(self, column: Column, pending: list[Any]) -> int:
        """Read up to the bracket that ends an array of scalars, and pass it; say how many there were."""
        count, more = 0, True
        while more:
            piece, more = self._piece()
            values = self._parse(b"[" + piece + b"]")
            if not values and (more or count):
                self._fail("a value is missing")
            if not set(map(type, values)) <= _SCALARS:
                raise _RefusedError(f"{self._what} is ragged: its arrays differ in depth")
            count += len(values)
            pending += values
            if len(pending) * 4 > PIECE:
                column.parts.append(_pack(pending))
                column.size += len(pending)
                pending.clear()
        return count

    def _piece(self) -> tuple[bytes, bool]:
        """Pass some whole items of an array, and the comma or the bracket behind them; say which it was."""
        end = at = self._at
        while True:
            mark = _MARK.search(self._body, at, min(len(self._body), self._at + PIECE))
            if mark is None:
                break
            if mark.group() == b"]":
                end = mark.start()
                self._at, start = mark.end(), self._at
                return bytes(self._body[start:end]), False
            if mark.group() != b'"':
                raise _RefusedError(f"{self._what} is ragged: its arrays differ in depth")
            string = _STRING.match(self._body, mark.start())
            if string is None:
                self._fail("a string does not end")
            at = string.end()
            if at > self._at + PIECE:
                break
        comma = self._body.rfind(b",", at, max(at, self._at + PIECE))
        if comma < 0:  # one long string, or what is no number
            comma = self._body.find(b",", at, at + PIECE)
            bracket = self._body.find(b"]", at, at + PIECE if comma < 0 else comma)
            if bracket >= 0:
                self._at, start = bracket + 1, self._at
                return bytes(self._body[start:bracket]), False
            if comma < 0:
                self._fail("a comma or the end is missing")
        self._at, start = comma + 1, self._at
        return bytes(self._body[start:comma]), True


def _pack(values: list[Any]) -> list[Any] | NDArray[Any]:
    """The values as an array, if that changes none of them."""
    types = set(map(type, values))
    if types == {float}:
        return np.array(values, np.float64)
    if types == {bool}:
        return np.array(values, np.bool_)
    if types == {int} and min(values) >= -(2**63) and max(values) < 2**63:
        return np.array(values, np.int64)
    return values.copy()
