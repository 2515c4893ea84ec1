"""Rows for iris: JSON records, or csv in UTF-8 with commas and a first line of names.

columns.py says what the columns are called; they may come in any order.
Whatever is wrong is a ValueError whose message is for the sender; it counts rows from 1.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from columns import list_columns
from inference import INPUTS

MAX_ROWS = 8
MAX_LENGTH = 2**20  # characters of a row of csv
MAX_TEXTS = 64 * 2**20  # characters of all words of a table
MAX_EMPTY = 10_000  # lines without anything in a csv: reading them takes time
MAX_ERRORS = 5  # that are told at once
MAX_SEARCHED = 1000  # columns, among which the one is looked for that was meant
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # JSON has no numbers for them


class Kind(NamedTuple):
    """How a cell of csv becomes a value of JSON, that what it means, and such values an array.

    With the array come the places of values that do not fit its dtype.
    """

    read: Callable[[str], Any]
    parse: Callable[[Any], Any]
    make: Callable[[list[Any], Any], tuple[NDArray[Any], list[int]]]


class Column(NamedTuple):
    """A column, and the input that has its values."""

    name: str
    input: str
    kind: Kind


class Rows:
    """The values of a table, gathered row by row, and what is wrong with them."""

    def __init__(self, texts: bool = False) -> None:
        self.texts = texts  # whether values are cells of csv
        self.count = 0
        self.values: list[list[Any]] = [[] for _ in COLUMNS]
        self.errors: list[str] = []
        self.room = MAX_TEXTS

    def add(self, row: Iterable[Any], where: str) -> None:
        """Add a row, which has a value for each of COLUMNS; None for one that is missing."""
        self.count += 1
        if self.count > MAX_ROWS:
            raise ValueError(f"{where}: the model takes no more than {MAX_ROWS} rows at once")
        for column, value, values in zip(COLUMNS, row, self.values, strict=True):
            try:
                if self.texts and value is not None:
                    value = column.kind.read(value)
                values.append(fill_gap() if value is None else column.kind.parse(value))
            except ValueError as error:
                self.complain(f"{where}, column {column.name!r}: {error}")
            else:
                if isinstance(values[-1], str):
                    self.room -= len(values[-1])
        if self.room < 0:
            raise ValueError(f"{where}: all words until here have more than {MAX_TEXTS} characters")

    def complain(self, error: str) -> None:
        """Note an error; raise ValueError with all of them if there are many."""
        self.errors.append(error)
        if len(self.errors) == MAX_ERRORS:
            raise ValueError("; ".join([*self.errors, "and maybe more"]))

    def make_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the inputs; raise ValueError if anything is wrong."""
        if not self.errors:
            parts: dict[str, list[NDArray[Any]]] = {name: [] for name in INPUTS}
            for column, values in zip(COLUMNS, self.values, strict=True):
                parts[column.input].append(self.make_array(column, values))
        if self.errors:
            raise ValueError("; ".join(self.errors))
        return {
            name: np.stack(arrays, axis=1).reshape([self.count, *map(int, INPUTS[name].shape[1:])])
            for name, arrays in parts.items()
        }

    def make_array(self, column: Column, values: list[Any]) -> NDArray[Any]:
        """Return a column as an array of its input's dtype, and note numbers that do not fit it."""
        dtype = INPUTS[column.input].dtype
        array, outside = column.kind.make(values, dtype)
        for row in outside:
            shown = show(values[row])
            self.complain(f"row {row + 1}, column {column.name!r}: {shown} does not fit {dtype.__name__}")
        return array


def read_records(records: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Read the inputs from objects of JSON, each with the values of a row by column."""
    if len(records) > MAX_ROWS:
        raise ValueError(f"the model takes no more than {MAX_ROWS} rows at once")
    rows = Rows()
    for number, record in enumerate(records, 1):
        where = f"row {number}"
        if not isinstance(record, dict):
            rows.complain(f"{where}: expected an object with a value for each column, got {show(record)}")
            continue
        for name in [name for name in record if name not in NAMES]:
            rows.complain(f"{where}: {tell_unknown(name)}")
        rows.add(map(record.get, NAMES), where)
    return rows.make_arrays()


def read_csv(body: bytes | bytearray) -> dict[str, NDArray[Any]]:
    """Read the inputs from a text of csv."""
    return read_lines(io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline=""))


def read_table(path: Path) -> dict[str, NDArray[Any]]:
    """Read the inputs from a file of csv."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return read_lines(file)


class Lines:
    """The lines of a file, of which a row of the table may not take all memory."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.used = 0  # characters of the row that is read

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self.file.readline(MAX_LENGTH)
        self.used += len(line)
        if self.used >= MAX_LENGTH:
            raise ValueError(f"behind it is a row of {MAX_LENGTH} characters or more")
        if not line:
            raise StopIteration
        return line


def read_lines(file: IO[str]) -> dict[str, NDArray[Any]]:
    """Read the inputs from the lines of csv."""
    found = iterate_rows(file)
    line, header = next(found, (1, []))
    try:
        places = find_columns(header)
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error
    rows = Rows(texts=True)
    for number, (line, row) in enumerate(found, 1):
        where = f"row {number} (line {line})"
        if len(row) == len(header):
            rows.add([row[place] for place in places], where)
        else:
            rows.complain(f"{where}: {len(row)} values, and the first line has {len(header)} names")
    return rows.make_arrays()


def iterate_rows(file: IO[str]) -> Iterator[tuple[int, list[str]]]:
    """Give the rows of csv, each with the line that it ends in; an empty line is no row."""
    lines = Lines(file)
    cells = csv.reader(lines, strict=True)
    empty = 0
    while empty <= MAX_EMPTY:
        lines.used = 0
        try:
            row = next(cells, None)
        except UnicodeDecodeError as error:
            raise ValueError(f"line {cells.line_num + 1}: not a text in UTF-8: {error.reason}") from error
        except (csv.Error, ValueError) as error:
            raise ValueError(f"line {max(cells.line_num, 1)}: {error}") from error
        if row is None:
            return
        if row:
            yield cells.line_num, row
        else:
            empty += 1
    raise ValueError(f"line {cells.line_num}: more than {MAX_EMPTY} lines are empty")


def find_columns(header: list[str]) -> list[int]:
    """Return the place of each of COLUMNS in the first line."""
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ValueError("commas must be between the names and values of columns")
    for name in header:
        if name not in NAMES:
            raise ValueError(tell_unknown(name))
    places = {name: place for place, name in enumerate(header)}
    if len(places) < len(header):
        twice = next(name for place, name in enumerate(header) if places[name] != place)
        raise ValueError(f"the column {twice!r} is there twice")
    for name in NAMES:
        if name not in places:
            raise ValueError(f"the column {name!r} is missing")
    return [places[name] for name in NAMES]


def tell_unknown(name: object) -> str:
    """Say that there is no column of a name, and which one may be meant."""
    near: list[str] = []
    if isinstance(name, str) and len(NAMES) <= MAX_SEARCHED:
        import difflib

        near = difflib.get_close_matches(name[:60], NAMES, 1)
    return f"there is no column {show(name)}" + (f"; did you mean {near[0]!r}?" if near else "")


def show(value: object) -> str:
    """Show a value of JSON in few characters."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    return f"{value[:60]!r:.60}" if isinstance(value, str) else repr(value)


def fill_gap() -> Any:
    """Refuse that a value is missing: there is no rule for it."""
    raise ValueError("a value is missing")


def read_number(text: str) -> float | str | None:
    """Read a number or nan from a cell, or inf, for which JSON has a word."""
    if not text:
        return None
    try:
        number = float(text.replace("_", "?"))  # Python would take 1_000
    except ValueError:
        raise ValueError(f"expected a number, got {show(text)}") from None
    if not math.isinf(number):
        return number
    if "inf" not in text.lower():
        raise ValueError(f"{text:.60} fits no floating point number")
    return "Infinity" if number > 0 else "-Infinity"


def parse_number(value: Any) -> float:
    """Return a number, or what its word stands for."""
    if isinstance(value, str) and value in NOT_FINITE:
        return NOT_FINITE[value]
    if type(value) not in (int, float):
        raise ValueError(f"expected a number, got {show(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):  # 1e999 is, as soon as JSON was read
        raise ValueError(f"{show(value)} fits no floating point number")
    return number


def make_numbers(values: list[Any], dtype: type[np.floating[Any]]) -> tuple[NDArray[Any], list[int]]:
    """Make an array of numbers."""
    exact = np.array(values, np.float64)
    with np.errstate(over="ignore"):
        array = exact.astype(dtype)
    return array, np.flatnonzero(np.isfinite(array) != np.isfinite(exact)).tolist()


def parse_text(value: Any) -> str:
    """Return a text, which no half of a character may be in: JSON can escape one, and no model takes it."""
    if type(value) is not str:
        raise ValueError(f"expected a text, got {show(value)}")
    value.encode()
    return value


def make_texts(values: list[Any], _: object) -> tuple[NDArray[Any], list[int]]:
    """Make an array of texts."""
    return np.array(values, object), []


KINDS: dict[type[np.generic], Kind] = {
    np.str_: Kind(str, parse_text, make_texts),
    np.float32: Kind(read_number, parse_number, make_numbers),
}


def gather_columns() -> list[Column]:
    """Return the columns of all inputs."""
    return [
        Column(column, name, KINDS[tensor.dtype])
        for name, tensor in INPUTS.items()
        for column in list_columns(name, tensor.shape)
    ]


COLUMNS = gather_columns()
NAMES = {column.name: column for column in COLUMNS}
