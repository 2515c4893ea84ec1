"""How the outputs of iris are columns of a table.

output  columns
colour  colour0 to colour2
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
    # As text, numbers have as few digits as tell them apart in their own dtype.
    writer.writerows(zip(*(map(str, column) for column in columns), strict=True))
