"""Tables for table: csv in UTF-8 with commas; the first line has the names of the columns.

input   columns
age     age
income  income
visits  visits
code    code
member  member
city    city

output  columns
total   total
ages    ages0 to ages1
guest   guest
place   place

Columns may come in any order. Whatever is wrong with a file is a ValueError whose message is for a person.
"""

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from inference import AXES, INPUTS

MAX_LINE = 2**20  # characters


def list_columns(name: str, shape: Sequence[int | str]) -> list[str]:
    """List the columns of an array by its shape: its name, with a number where a row has several values."""
    count = int(shape[1]) if len(shape) == 2 else 1
    return [name] if count == 1 else [f"{name}{index}" for index in range(count)]


def read_table(path: Path) -> tuple[dict[str, list[Any]], int]:
    """Read the values of each input, row by row, and the number of rows."""
    values: dict[str, list[Any]] = {name: [] for name in INPUTS}
    count = 0
    most = AXES["batch"][1]
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(iterate_lines(file), strict=True)
        try:
            header = next(lines, [])
            places = find_columns(header)
            for row in filter(None, lines):  # an empty line is no row
                count += 1
                if count > most:
                    raise ValueError(f"the model takes no more than {most} rows at once")
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} values, and the first line has {len(header)} names")
                for name, parse, place in places:
                    try:
                        values[name].append(parse(row[place]))
                    except ValueError as error:
                        raise ValueError(f"column {header[place]!r}: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"not a text in UTF-8: {error.reason}") from error
        except (csv.Error, ValueError) as error:
            raise ValueError(f"line {max(lines.line_num, 1)}: {error}") from error
    return values, count


def iterate_lines(file: IO[str]) -> Iterator[str]:
    """Give the lines of a file, none of which may take all memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise ValueError(f"behind it is a line of {MAX_LINE} characters or more")
        yield line


def find_columns(header: list[str]) -> list[tuple[str, Callable[[str], Any], int]]:
    """Give for each column its input, what reads its cells, and its place in a row."""
    columns = {column: name for name, tensor in INPUTS.items() for column in list_columns(name, tensor.shape)}
    for column in columns:
        if header.count(column) != 1:
            found = "is there twice" if column in header else "is missing"
            raise ValueError(f"the column {column!r} {found} among the names of the columns")
    for column in header:
        if column not in columns:
            raise ValueError(f"there is no column {column!r}")
    return [(name, PARSERS[INPUTS[name].dtype], header.index(column)) for column, name in columns.items()]


def parse_number(text: str) -> float:
    """Parse a number, nan or inf."""
    try:
        number = float(text.replace("_", "?"))  # Python would take 1_000
    except ValueError:
        raise ValueError(f"expected a number, got {text!r:.60}") from None
    if math.isinf(number) and "inf" not in text.lower():
        raise ValueError(f"{text:.60} fits no floating point number")
    return number


def parse_integer(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text.replace("_", "?"))  # Python would take 1_000
    except ValueError:
        raise ValueError(f"expected a whole number, got {text!r:.60}") from None


def parse_truth(text: str) -> bool:
    """Parse true or false, in any case, or 1 or 0."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"expected true or false, got {text!r:.60}")
    return text.lower() in ("true", "1")


PARSERS: dict[type[np.generic], Callable[[str], Any]] = {
    np.float32: parse_number,
    np.float64: parse_number,
    np.int64: parse_integer,
    np.uint8: parse_integer,
    np.bool_: parse_truth,
    np.str_: str,
}


def write_table(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of as many rows each."""
    names = [column for name, array in arrays.items() for column in list_columns(name, array.shape)]
    columns = [column for array in arrays.values() for column in np.atleast_2d(array.T)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*map(format_column, columns), strict=True))


def format_column(column: NDArray[Any]) -> list[str]:
    """Give a column's values as text, in as few digits as tell them apart."""
    return [str(value).lower() if column.dtype == bool else str(value) for value in column]
