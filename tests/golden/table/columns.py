"""How the inputs and outputs of table are columns of a table.

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
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray


def list_columns(name: str, shape: Sequence[int | str]) -> list[str]:
    """List the columns of an array by its shape: its name, with a number where a row has several values."""
    count = int(shape[1]) if len(shape) == 2 else 1
    return [name] if count == 1 else [f"{name}{index}" for index in range(count)]


def write_table(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of as many rows each into a file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        format_table(file, arrays)


def format_table(file: TextIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of as many rows each as csv."""
    names = [column for name, array in arrays.items() for column in list_columns(name, array.shape)]
    columns = [column for array in arrays.values() for column in np.atleast_2d(array.T)]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*map(format_column, columns), strict=True))


def format_column(column: NDArray[Any]) -> list[str]:
    """Give a column's values as text, in as few digits as tell them apart."""
    return [str(value).lower() if column.dtype == bool else str(value) for value in column]
