"""Judge quantized models by their noise over all cases together, where the spec gives no tolerance.

A value of a quantized model may be far off where it is small or where it is one of many: no tolerance of single values
tells such a model from a destroyed one. Its noise does: the RMS of the difference in each case, as a share of how much
the output varies, which is its standard deviation over the Reference; ``10^(-SQNR/20)`` of an output around zero. A
model of random weights, of zeros, or of one answer for all inputs has 100 % or more; 8 bits give 1 to 10 %.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxpack.data.test_inputs import read_arrays
from onnxpack.spec.traits import precisions

if TYPE_CHECKING:
    from onnxpack.parity.compare import Comparison


@dataclass(frozen=True)
class NoiseLimits:
    """What a precision may change.

    Attributes:
        noise: the greatest noise, as a share of an output's spread.
        labels: the greatest share of integers, booleans and strings that may differ.
        singly: whether values within their tolerance are right whatever their noise: an output that hardly varies.
    """

    noise: float
    labels: float
    singly: bool = False


def limits_of(precision: str) -> NoiseLimits | None:
    """Return the limits that a precision's traits give; None for float32."""
    traits = precisions().get(precision)
    return NoiseLimits(*traits.noise, traits.judged_singly) if traits else None


class Judge:
    """Collects every comparison of a Reference, then decides which of them fail."""

    def __init__(self, limits: NoiseLimits, spreads: dict[str, float] | None = None) -> None:
        self._limits = limits
        self._spreads = spreads
        self._rows: list[tuple[Comparison, float | None]] = []
        self._sums: dict[str, np.ndarray[Any, Any]] = {}
        self._wrong: dict[str, np.ndarray[Any, Any]] = {}

    def add(self, row: "Comparison", expected: Any, actual: Any) -> None:
        """Add one comparison and the arrays compared; an array is None where an output is missing."""
        rms = None
        same = expected is not None and actual is not None and expected.shape == actual.shape
        if same and row.rtol is not None:
            finite = np.isfinite(expected)
            right, got = expected[finite].astype(np.float64), actual[finite].astype(np.float64)
            rms = float(np.sqrt(np.mean((right - got) ** 2))) if right.size else 0.0
            # Sums, which add up over cases, so that no arrays are kept.
            self._sums[row.output] = self._sums.get(row.output, 0) + compute_moments(right)
        elif same and expected.dtype.kind != "f" and _family(expected) == _family(actual):
            wrong = 0 if row.ties else int((expected != actual).sum())
            self._wrong[row.output] = self._wrong.get(row.output, 0) + np.array([wrong, expected.size])
        self._rows.append((row, rms))

    def rows(self) -> "list[Comparison]":
        """Return the comparisons with the reasons of those that fail; other dtypes, shapes and NaN always fail."""
        return [self._judge_row(row, rms) for row, rms in self._rows]

    def _judge_row(self, row: "Comparison", rms: float | None) -> "Comparison":
        # float16 that keeps to its tolerance passes by it: an output that hardly varies would fail by its noise.
        if rms is not None and (row.reason or not self._limits.singly):
            spread = self._spreads[row.output] if self._spreads else compute_spread(self._sums[row.output])
            share = rms / spread if spread else (0.0 if not rms else float("inf"))
            most = self._limits.noise
            reason = f"noise of {share:.0%} of its spread; {most:.0%} is allowed" if share > most else ""
            return replace(row, reason=reason, rtol=0.0, atol=most * spread, noise=share)
        wrong, size = self._wrong.get(row.output, (0, 0))
        if row.reason and size and wrong <= self._limits.labels * size:
            return replace(row, reason="")
        return row


def compute_moments(values: Any) -> Any:
    """Return count, sum and sum of squares of the finite values, float64 [3]; those of several arrays add up."""
    finite = values[np.isfinite(values)].astype(np.float64)
    return np.array([finite.size, finite.sum(), (finite**2).sum()])


def compute_spreads(folder: Path, cases: Iterable[str]) -> dict[str, float]:
    """Return how much each float output of a Reference varies, by name."""
    sums: dict[str, Any] = {}
    for case in cases:
        for name, array in read_arrays(folder / f"{case}.outputs.npz").items():
            if array.dtype.kind == "f":
                sums[name] = sums.get(name, 0) + compute_moments(array)
    return {name: compute_spread(found) for name, found in sums.items()}


def compute_spread(sums: Any) -> float:
    """Return the standard deviation from ``compute_moments``; for a constant its magnitude."""
    count, total, squares = map(float, sums)
    if not count:
        return 0.0
    mean = total / count
    deviation = float(np.sqrt(max(squares / count - mean**2, 0.0)))
    # Below 1e-6 of the mean the deviation may be rounding alone, and the output counts as a constant.
    return deviation if deviation > 1e-6 * abs(mean) else abs(mean)


def _family(array: Any) -> str:
    return "string" if array.dtype.kind in "UO" else str(array.dtype.name)
