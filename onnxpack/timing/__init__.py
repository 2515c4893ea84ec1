"""Hold what is measured of a model's speed and size on this machine; ``models`` and ``contest`` measure it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Measured:
    """The measurements of one model among those that were timed together.

    ``speedup`` and ``throughput_gain`` are medians of ratios to the first of them, over 1 where this one is faster.
    """

    latency_p50_seconds: float
    latency_p99_seconds: float
    speedup: float
    rows_per_second: float | None
    """At the largest batch; None where none was given."""
    throughput_gain: float | None
    peak_rss_bytes: int
    """Of a process that loads it and runs it, the runtime included."""
    load_seconds: float
    runs: int


@dataclass(frozen=True)
class BatchGain:
    """The rows per second of one model, for one request at a time and for requests that run as one batch."""

    request_rows: int
    batch_rows: int
    request_rows_per_second: float
    batch_rows_per_second: float
    gain: float
    """The median of the ratios of both, over 1 where batches are faster."""


def compute_paired_gain(base: Sequence[float], own: Sequence[float]) -> float:
    """Return how many times faster ``own`` is than ``base``, round by round: the median of the ratios.

    A noisy neighbour slows both halves of a pair, so ratios are steadier than the medians' own ratio.
    """
    return median(first / second for first, second in zip(base, own, strict=True))
