"""Reads environment variables that hold values with units."""

import os

from onnxpack.core.errors import SpecError
from onnxpack.spec.messages import shorten
from onnxpack.spec.units import read_size


def read_size_variable(name: str, default: int, example: str) -> int:
    """Return the bytes that an environment variable gives, or the default if it is not set.

    Raises:
        SpecError: it is not a size; the hint shows the ``example``.
    """
    text = os.environ.get(name)
    if not text:
        return default
    size = read_size(text)
    if size is None:
        raise SpecError(f"{name} must be a size, not '{shorten(text)}'", f"use a number with a unit, such as {example}")
    return size
