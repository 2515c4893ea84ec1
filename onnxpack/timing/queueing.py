"""Predict how long a server's answers take at any rate of requests, from what it showed to a few clients.

The server is replaced by one place whose speed depends on how many requests it has, the flow-equivalent service centre
of Chandy, Herzog and Woo (IBM Journal of Research and Development 19, 1975): with ``n`` requests in it, it answers as
many a second as it answered ``n`` clients that ask again at once. That gives the probability that a request which
comes at a random moment finds ``n`` others there (a birth-death process, which Poisson arrivals see as it is on
average); its answer then takes as long as those to ``n + 1`` clients took. What is behind the first request is a queue
whose length is scaled by ``(1 + v) / 2``, as in the formula of Pollaczek and Khinchine, where ``v`` is the variance of
one client's times by their squared mean: services that always take the same time make shorter queues than others.
Nothing is fitted to measurements at random moments, so that these can judge it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TRIMMED = 0.995
"""The share of the times that counts: the slowest are what else the machine did at that moment."""
_HALVINGS = 30
_RAREST = 1e-6
"""The share of requests that does not matter."""
_MOST_REQUESTS = 1_000
_LEAST, _LOWEST = 1e-12, -100.0
"""The shortest time, in seconds, between two quantiles; the logarithm of a share of none."""


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
    return predict_quantile(load, rate, 0.99)


def predict_quantile(load: Load, rate: float, share: float) -> float:
    """Return the time in seconds that a ``share`` of the answers keeps to at a ``rate`` of random requests."""
    return _Centre.of(load).compute_quantile(rate, share)


def find_rate(load: Load, p99: float) -> float:
    """Return the highest rate of random requests at which 99 of 100 answers keep to ``p99`` seconds; 0 if none does."""
    centre, low, high = _Centre.of(load), 0.0, load.capacity
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if centre.compute_quantile(middle, 0.99) <= p99 else (low, middle)
    return low


_KNOTS = np.log([1.0, 0.5, 0.1, 0.01])
"""The logarithms of the shares of answers that take longer than nothing, p50, p90 and p99; lines join them."""


@dataclass(frozen=True)
class _Centre:
    """The flow-equivalent centre of a server: rates and answers for each number of requests in it, from 1 on."""

    rates: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    """A row for each number, with p50, p90 and p99 in seconds."""
    scale: float
    """What queues are as long as, relative to those of exponential times."""

    @classmethod
    def of(cls, load: Load) -> "_Centre":
        points = sorted((point for point in load.points if point.rate > 0), key=lambda point: point.clients)
        clients = [point.clients for point in points]
        numbers = np.arange(1, _MOST_REQUESTS + 1)
        beyond = np.maximum(numbers / clients[-1], 1.0)
        times = [(point.p50_seconds, point.p90_seconds, point.p99_seconds) for point in points]
        quantiles = [np.interp(numbers, clients, column) * beyond for column in zip(*times, strict=True)]
        rates = np.maximum.accumulate(np.interp(numbers, clients, [point.rate for point in points]))
        scale = (1 + _compute_variation(load.histogram)) / 2
        return cls(rates, np.maximum.accumulate(np.transpose(quantiles), axis=1), scale)

    def compute_quantile(self, rate: float, share: float) -> float:
        """Return the time in seconds that a ``share`` of the answers keeps to at a ``rate`` of random requests."""
        if rate >= self.rates[-1]:
            return math.inf
        found = self._list_found(rate)
        rows = self.quantiles[: len(found)]
        low, high = 0.0, float(3 * rows[-1, 2])
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            late = float(found @ _compute_share_above(rows, middle))
            low, high = (middle, high) if late > 1 - share else (low, middle)
        return high

    def _list_found(self, rate: float) -> NDArray[np.float64]:
        """Return the probabilities that a random request finds none, one, two and more others there."""
        ratios = np.minimum(rate / self.rates, 1.0)
        ratios[1:] = ratios[1:] * self.scale / (1 - ratios[1:] + ratios[1:] * self.scale)
        found: NDArray[np.float64] = np.concatenate([[1.0], np.cumprod(ratios[:-1])])
        found = found[found > _RAREST * found.sum()]
        found /= found.sum()
        return found


def _compute_share_above(rows: NDArray[np.float64], time: float) -> NDArray[np.float64]:
    """Return for each row of quantiles the share of answers that take longer than a time in seconds."""
    p50, p90, p99 = rows.T
    lows = (np.zeros_like(p50), p50, p90)
    shares: NDArray[np.float64] = np.ones_like(p50)
    for number, (low, high) in enumerate(zip(lows, (p50, p90, p99), strict=True)):
        part = (time - low) / np.maximum(high - low, _LEAST)
        line = _KNOTS[number] + (_KNOTS[number + 1] - _KNOTS[number]) * part
        shares = np.where(time > low, np.exp(np.clip(line, _LOWEST, 0.0)), shares)
    return shares


def _compute_variation(histogram: Histogram) -> float:
    """Return the variance of times by their squared mean, without the slowest; a bin counts by its middle."""
    keep = _TRIMMED * sum(histogram.counts)
    times: list[tuple[float, float]] = []
    for low, high, count in zip(histogram.edges_seconds, histogram.edges_seconds[1:], histogram.counts, strict=False):
        part = min(float(count), keep)
        keep -= part
        times.append(((low + high) / 2, part))
    total = sum(part for _, part in times)
    mean = sum(time * part for time, part in times) / total
    return sum((time - mean) ** 2 * part for time, part in times) / total / mean**2


def _fit_slope(pairs: Iterable[tuple[float, float]]) -> float:
    """Return the slope of the line with the least squares through some points; 0 of fewer than two."""
    known = list(pairs)
    mean_x, mean_y = (sum(pair[at] for pair in known) / len(known) for at in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in known)
    return sum((x - mean_x) * (y - mean_y) for x, y in known) / spread if spread else 0.0
