"""Compare strings that hold JSON documents by what they say: numbers within tolerance, all else exactly."""

import json
import math
from collections.abc import Sequence
from typing import Any

Tolerance = tuple[float, float]
"""Relative and absolute."""


def agree(expected: Sequence[str], actual: Sequence[str], tolerance: Tolerance) -> list[bool]:
    """Return for each pair of strings whether they say the same."""
    return [
        right == got or _read_and_compare(str(right), str(got), tolerance)
        for right, got in zip(expected, actual, strict=True)
    ]


def _read_and_compare(right: str, got: str, tolerance: Tolerance) -> bool:
    if not right.startswith(("{", "[")):
        return False
    try:
        return _says_the_same(json.loads(right), json.loads(got), tolerance)
    except (ValueError, RecursionError):
        return False


def _says_the_same(right: Any, got: Any, tolerance: Tolerance) -> bool:
    if isinstance(right, float) and isinstance(got, float):
        return math.isclose(right, got, rel_tol=0, abs_tol=tolerance[1] + tolerance[0] * abs(right))
    if isinstance(right, dict) and isinstance(got, dict):
        return list(right) == list(got) and all(_says_the_same(right[key], got[key], tolerance) for key in right)
    if isinstance(right, list) and isinstance(got, list):
        pairs = zip(right, got, strict=False)
        return len(right) == len(got) and all(_says_the_same(one, other, tolerance) for one, other in pairs)
    return type(right) is type(got) and bool(right == got)
