"""What is between clients of declared and its ONNX file: columns are checked.

Whatever is wrong with them is a ValueError whose message is for the request's sender.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from checks import check_columns

Arrays = dict[str, NDArray[Any]]


@dataclass
class Context:
    """What of a request's inputs its outputs are made with."""


def prepare(arrays: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Context]:
    """Make the ONNX file's inputs of a client's, which are checked."""
    check_columns(arrays)
    fed, context = dict(arrays), Context()
    return fed, context


def conclude(results: Arrays, context: Context) -> Arrays:
    """Make a client's outputs of what the ONNX file gives."""
    return results
