"""Predict how long a server's answers take at any rate of requests, from what it showed to a few clients.

The server is taken for a queue in front of ``c`` places that work at the same time (M/G/c): requests come at random
moments, and each needs the time that a single client saw. How many places there are follows from the rate that the
server reached: ``c = capacity * mean time``, as Little's law says, and not from the number of its CPUs. That a request
waits has the probability of Erlang's C formula; how long it then waits is taken for exponential, with the mean of
Allen and Cunneen, ``(1 + v) / 2 / (capacity - rate)``, where ``v`` is the variance of the times by their squared mean
(A. O. Allen, Probability, Statistics and Queueing Theory, 2nd edition, 1990, section 5.3). An answer takes the sum of
both. Nothing is fitted to measurements at random moments, so that these can judge it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_TRIMMED = 0.995
"""The share of the times that counts: the slowest are what else the machine did at that moment."""
_HALVINGS = 40


@dataclass(frozen=True)
class LoadPoint:
    """The answers to so many clients that ask again as soon as they are answered; times are in seconds."""

    clients: int
    rate: float
    """Answers per second."""
    p50_seconds: float
    p90_seconds: float
    p99_seconds: float
    slowest_seconds: float
    requests: int
    errors: int
    """Answers with another status than 200, or none."""
    rss_bytes: int
    """What the server held then."""


@dataclass(frozen=True)
class Histogram:
    """How many requests of a single client took how long; there is one edge more than there are counts."""

    edges_seconds: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class HeldOut:
    """Random requests at a rate that the prediction has not seen."""

    rate: float
    predicted_p99_seconds: float
    measured_p99_seconds: float
    requests: int


@dataclass(frozen=True)
class Load:
    """What a server showed under load, at the axes' opt sizes; the clients shared its CPUs."""

    cores: int
    """The CPUs that the server could use."""
    seconds: float
    """How long all of it took."""
    points: tuple[LoadPoint, ...]
    histogram: Histogram
    held_out: HeldOut | None
    """None where too few requests fit into the time."""
    idle_rss_bytes: int
    """What the server held before."""
    cpu_seconds: float
    """The server's CPU time for a request."""
    other_cpus: float
    """How many CPUs other programs used meanwhile: well above 0, the figures are worse than the server is."""

    @property
    def capacity(self) -> float:
        """Return the highest rate that was reached, in requests per second."""
        return max(point.rate for point in self.points)

    @property
    def bytes_per_client(self) -> float:
        """Return by how much each further client raised the server's memory: the slope of a line through the points."""
        return max(_fit_slope([(point.clients, point.rss_bytes) for point in self.points]), 0.0)


def predict_p99(load: Load, rate: float) -> float:
    """Return the time in seconds that 99 of 100 answers keep to when requests come at random; infinite at capacity."""
    return predict_quantile(load.histogram, load.capacity, rate, 0.99)


def predict_quantile(histogram: Histogram, capacity: float, rate: float, share: float) -> float:
    """Return the time in seconds that a ``share`` of the answers keeps to at a ``rate`` of random requests."""
    if rate >= capacity:
        return math.inf
    times = _list_times(histogram)
    mean = sum(time * part for time, part in times)
    variation = sum((time - mean) ** 2 * part for time, part in times) / mean**2
    places = max(capacity * mean, 1.0)
    waiting = _compute_erlang_c(places, rate / capacity)
    wait = (1 + variation) / 2 / (capacity - rate)
    low, high = 0.0, times[-1][0] + wait * math.log(1 / (1 - share)) + wait
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        late = sum(part * _share_above(middle - time, waiting, wait) for time, part in times)
        low, high = (middle, high) if late > 1 - share else (low, middle)
    return high


def find_rate(load: Load, p99: float) -> float:
    """Return the highest rate of random requests at which 99 of 100 answers keep to ``p99`` seconds; 0 if none does."""
    low, high = 0.0, load.capacity
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if predict_p99(load, middle) <= p99 else (low, middle)
    return low


def _share_above(left: float, waiting: float, wait: float) -> float:
    """Return the share of requests that wait longer than the time that is ``left`` behind their own work."""
    return 1.0 if left < 0 else waiting * math.exp(-left / wait)


def _list_times(histogram: Histogram) -> list[tuple[float, float]]:
    """Return times in seconds with their shares of all requests: the middles of the bins, without the slowest."""
    keep = _TRIMMED * sum(histogram.counts)
    found: list[tuple[float, float]] = []
    for low, high, count in zip(histogram.edges_seconds, histogram.edges_seconds[1:], histogram.counts, strict=False):
        part = min(float(count), keep)
        keep -= part
        if part > 0:
            found.append(((low + high) / 2, part))
    total = sum(part for _, part in found)
    return [(time, part / total) for time, part in found]


def _compute_erlang_c(places: float, load: float) -> float:
    """Return the probability that a request waits; between whole numbers of places it is interpolated."""
    below = math.floor(places)
    first, second = (_compute_whole_erlang_c(number, number * load) for number in (below, below + 1))
    return first + (second - first) * (places - below)


def _compute_whole_erlang_c(places: int, traffic: float) -> float:
    blocked = 1.0
    for number in range(1, places + 1):  # Erlang's B formula
        blocked = traffic * blocked / (number + traffic * blocked)
    busy = traffic / places
    return blocked / (1 - busy + busy * blocked)


def _fit_slope(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the slope of the line with the least squares through some points; 0 of fewer than two."""
    known = list(pairs)
    mean_x, mean_y = (sum(pair[at] for pair in known) / len(known) for at in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in known)
    return sum((x - mean_x) * (y - mean_y) for x, y in known) / spread if spread else 0.0
