"""Decide which precisions are worth trying on a device, and which of those that passed is the best; nothing is run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from onnxpack.core import text
from onnxpack.spec.traits import precisions

Objective = Literal["latency", "size", "throughput"]

NOISE = 0.03
"""Two measurements that are this near are equal: then the one that changed the numbers less is better."""


@dataclass(frozen=True)
class Candidate:
    """One precision of a model, and its measurements.

    ``speedup`` and ``throughput_gain`` are ratios to float32 in the same run, over 1 where it is faster. ``score`` is
    the evaluation metric, ``degradation`` its loss against the source model. What was not measured is None.
    """

    precision: str
    reason: str = ""
    """Why it was passed over; empty where it passed."""
    excluded: tuple[str, ...] = ()
    """Nodes that were left in float32 because they lose the most."""
    ops: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """How many nodes of an operator type there were in float32, and how many there are: those whose number changed."""
    model_digest: str | None = None
    """Of the file that was judged, with its external data."""
    size_bytes: int | None = None
    sqnr_db: float | None = None
    cosine: float | None = None
    argmax_agreement: float | None = None
    score: float | None = None
    degradation: float | None = None
    latency_p50_seconds: float | None = None
    latency_p99_seconds: float | None = None
    speedup: float | None = None
    rows_per_second: float | None = None
    throughput_gain: float | None = None
    peak_rss_bytes: int | None = None
    load_seconds: float | None = None
    notes: tuple[str, ...] = ()
    pareto: bool = False
    """No other one that passed is both smaller and faster."""
    chosen: bool = False

    @property
    def passed(self) -> bool:
        """Return whether it may ship."""
        return not self.reason


def list_candidates(device: str, calibrated: bool) -> tuple[str, ...]:
    """Return the reduced precisions that may help on a device, the likeliest first.

    Those that need calibration data are among them where there is some: ``calibrated``.
    """
    able = {
        name: traits.tried_on[device]
        for name, traits in precisions().items()
        if device in traits.tried_on and (calibrated or not traits.calibrated)
    }
    return tuple(sorted(able, key=able.__getitem__))


def mark_best(rows: Iterable[Candidate], objective: Objective) -> tuple[Candidate, ...]:
    """Mark the Pareto front of size and latency, and the best candidate that passed.

    Raises:
        ValueError: none passed.
    """
    found = list(rows)
    passed = [row for row in found if row.passed]
    best = _choose_best(passed, objective)
    return tuple(
        replace(row, chosen=row is best, pareto=row.passed and not any(_beats(other, row) for other in passed))
        for row in found
    )


def _choose_best(passed: Sequence[Candidate], objective: Objective) -> Candidate:
    gain = max(_gain(row, objective) for row in passed)
    near = [row for row in passed if _gain(row, objective) >= gain * (1 - NOISE)]
    # Among equals the one nearest to float32's numbers.
    return max(near, key=lambda row: (_faith(row), _gain(row, objective)))


def _gain(row: Candidate, objective: Objective) -> float:
    """Return how good a candidate is by the objective; the higher the better."""
    if objective == "size":
        return 1 / (row.size_bytes or 1)
    value = row.speedup if objective == "latency" else row.throughput_gain
    return value or 0.0


def _faith(row: Candidate) -> float:
    """Return how near the numbers are to float32's, in decibels; float32 itself has no noise."""
    return float("inf") if row.sqnr_db is None else row.sqnr_db


def _beats(other: Candidate, row: Candidate) -> bool:
    """Return whether ``other`` is at least as small and as fast as ``row``, and better in one of these."""
    if None in (other.size_bytes, row.size_bytes, other.speedup, row.speedup):
        return False
    left = (-(other.size_bytes or 0), other.speedup or 0.0)
    right = (-(row.size_bytes or 0), row.speedup or 0.0)
    # Not worse in either, and different: better in one.
    return left != right and left[0] >= right[0] and left[1] >= right[1]


def format_candidates(rows: Sequence[Candidate]) -> str:
    """Return the candidates as a table, and below it why some were passed over."""
    head = ("precision", "size", "p50", "speed", "SQNR", "cosine", "argmax", "score", "loss", "peak", "")
    cells: list[tuple[str, ...]] = [head]
    for row in rows:
        mark = "chosen" if row.chosen else "passed over" if row.reason else "pareto" if row.pareto else ""
        cells.append((
            row.precision + (f" - {text.plural(len(row.excluded), 'layer')}" if row.excluded else ""),
            _or_dash(row.size_bytes, text.format_bytes),
            _or_dash(row.latency_p50_seconds, text.format_time),
            _or_dash(row.speedup, lambda value: f"{value:.2f}x"),
            _or_dash(row.sqnr_db, lambda value: f"{value:.1f} dB"),
            _or_dash(row.cosine, lambda value: f"{value:.6f}"),
            _or_dash(row.argmax_agreement, lambda value: f"{value:.1%}"),
            _or_dash(row.score, lambda value: f"{value:.4f}"),
            _or_dash(row.degradation, lambda value: f"{value:+.4f}"),
            _or_dash(row.peak_rss_bytes, text.format_bytes),
            mark,
        ))  # fmt: skip
    reasons = [f"{row.precision}: {row.reason}" for row in rows if row.reason]
    return "\n".join([*text.format_table(cells), *reasons])


def _or_dash(value: float | None, shown: Callable[[float], str]) -> str:
    return "-" if value is None else shown(value)
