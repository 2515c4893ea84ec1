"""Measure how far two float arrays are apart, in float64, over the values that are finite in both."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def measure_differences(expected: Array, actual: Array, atol: float) -> tuple[float, float]:
    """Return the greatest absolute and relative differences, ``|a - e|`` and ``|a - e| / |e|``.

    Relative to the expected value, as ``numpy.testing.assert_allclose`` reports it. It says nothing where the value
    itself is within ``atol`` of zero: such values are left out of it.
    """
    absolute = np.abs(actual - expected)
    size = np.abs(expected)
    # The least float32 in the divisor: np.where computes both sides, and 0 would warn.
    relative = np.where(size > atol, absolute / np.maximum(size, np.finfo(np.float32).tiny), 0.0)
    return float(absolute.max(initial=0.0)), float(relative.max(initial=0.0))


def count_outside(expected: Array, actual: Array, rtol: float, atol: float) -> int:
    """Count the values that break ``|a - e| ≤ atol + rtol · |e|``, the rule of ``numpy.isclose``."""
    return int((np.abs(actual - expected) > atol + rtol * np.abs(expected)).sum())


def compute_cosine(expected: Array, actual: Array) -> float | None:
    """Return ``e · a / (‖e‖ ‖a‖)`` over all values as one vector, as ``1 - scipy.spatial.distance.cosine`` does.

    Two zero vectors point the same way (1.0), one alone no way at all (0.0). None without values.
    """
    if not expected.size:
        return None
    right, got = _scale_to_one(expected), _scale_to_one(actual)
    if not right.any() or not got.any():
        return float(right.any() == got.any())
    product = float((right * got).sum() / np.sqrt((right * right).sum() * (got * got).sum()))
    # Rounding may lead just beyond the ends.
    return min(max(product, -1.0), 1.0)


def compute_sqnr(expected: Array, actual: Array) -> float | None:
    """Return the signal to quantization noise ratio in decibels, ``10 · log10(Σ e² / Σ (e - a)²)``.

    The definition of Widrow and Kollár, *Quantization Noise*, with the difference as the noise. None where there is
    no noise, or no signal, so that the ratio has no value.
    """
    scale = float(np.abs(expected).max(initial=0.0))
    if not scale:
        return None
    with np.errstate(over="ignore"):  # a signal that is nothing beside its noise: no ratio
        noise = float((((expected - actual) / scale) ** 2).sum())
    signal = float(((expected / scale) ** 2).sum())
    return float(10 * np.log10(signal / noise)) if noise and np.isfinite(noise) else None


def compute_argmax_agreement(expected: Array, actual: Array) -> float | None:
    """Return the share of rows (all axes but the last) whose greatest value, the first of equals, has the same place.

    What a classifier's user sees: top-1 agreement. None where there is nothing to choose among.
    """
    # A single row or column has nothing to choose among.
    if expected.ndim < 2 or expected.shape[-1] < 2 or not expected.size:
        return None
    return float((expected.argmax(axis=-1) == actual.argmax(axis=-1)).mean())


def _scale_to_one(array: Array) -> Array:
    """Divide by the greatest magnitude, so that squares neither overflow nor vanish; return it flat."""
    scale = np.abs(array).max(initial=0.0)
    scaled: Array = array / scale if scale else array
    return scaled.ravel()
