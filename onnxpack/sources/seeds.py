"""Detect forgotten weights: a factory whose parameters depend on random numbers gives an untrained model."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpack.core.errors import SourceError

SEEDS = (1, 2)
"""Of the two calls that are compared; any two that differ will do."""
_SHOWN = 5


def digest_values(array: np.ndarray[Any, Any]) -> str:
    """Return a digest of an array's dtype, shape and bytes."""
    found = hashlib.blake2b(f"{array.dtype}{array.shape}".encode())
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # some dtypes have no buffers
    return found.hexdigest()


def require_same(factory: str, one: Mapping[str, str | None], other: Mapping[str, str | None]) -> None:
    """Compare the digests of all parameters after two calls; a digest of None is of one that has no values yet.

    Raises:
        SourceError: some differ, or have no values.
    """
    # In the factory's order, and names that only one of the calls gave among them.
    names = [name for name in {**one, **other} if one.get(name) is None or one.get(name) != other.get(name)]
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise SourceError(
            f"{factory} gives random parameters: {', '.join(names[:_SHOWN])}{more} differ between two random seeds, "
            "and the spec names no weights",
            "name the file of trained weights in `model.weights`, or set `weights: none` if random ones are intended",
        )
