"""What is predicted of a queue, beside what is known of queues, and beside queues that are simulated."""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace
from statistics import quantiles

import pytest

from onnxpack.timing.queueing import Histogram, Load, LoadPoint, find_rate, predict_p99, predict_quantile
from onnxpack.timing.queueing import _compute_erlang_c as compute_erlang_c

Draw = Callable[[random.Random], float]


def draw_times(draw: Draw, number: int = 50_000) -> Histogram:
    times = sorted(draw(draws) for draws in [random.Random(0)] for _ in range(number))
    low, high, bins = times[0] * 0.999, times[-1] * 1.001, 200
    edges = [low * (high / low) ** (place / bins) for place in range(bins + 1)]
    counts = [sum(1 for time in times if first <= time < last) for first, last in itertools.pairwise(edges)]
    return Histogram(tuple(edges), tuple(counts))


def simulate(draw: Draw, places: int, rate: float, number: int = 200_000) -> float:
    """Return the 99th percentile of the answers' times of a queue in front of ``places``."""
    draws, now, times = random.Random(1), 0.0, []
    free = [0.0] * places
    for _ in range(number):
        now += draws.expovariate(rate)
        ended = max(now, heapq.heappop(free)) + draw(draws)
        heapq.heappush(free, ended)
        times.append(ended - now)
    return quantiles(times, n=100)[98]


def make_load(points: tuple[tuple[int, float, int], ...], histogram: Histogram) -> Load:
    made = tuple(LoadPoint(clients, rate, 1.0, 1.0, 1.0, 1.0, 100, 0, rss) for clients, rate, rss in points)
    return Load(2, 2.0, made, histogram, None, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("places", "load", "waiting"),
    [(1, 0.5, 0.5), (2, 0.5, 1 / 3), (10, 0.8, 0.4092), (1.5, 0.5, (0.5 + 1 / 3) / 2), (3, 0.0, 0.0)],
)
def test_erlangs_c_formula_gives_its_known_values(places: float, load: float, waiting: float) -> None:
    assert compute_erlang_c(places, load) == pytest.approx(waiting, abs=5e-5)


@pytest.mark.parametrize("rate", [10.0, 50.0, 65.0, 90.0])
def test_the_queue_whose_answer_is_known_is_predicted(rate: float) -> None:
    """Of a queue with exponential times (M/M/1) answers take exponentially long, too."""
    histogram = draw_times(lambda draws: draws.expovariate(100.0))
    exact = math.log(100) / (100.0 - rate)
    assert predict_quantile(histogram, 100.0, rate, 0.99) == pytest.approx(exact, rel=0.12)


@pytest.mark.parametrize("places", [1, 2, 4])
@pytest.mark.parametrize(
    "draw",
    [
        lambda draws: 0.01,
        lambda draws: draws.uniform(0.005, 0.015),
        lambda draws: 0.004 if draws.random() < 0.9 else 0.03,
    ],
    ids=["always the same", "uniform", "two kinds"],
)
def test_a_simulated_queue_is_predicted_within_a_quarter(draw: Draw, places: int) -> None:
    histogram = draw_times(draw, 20_000)
    mean = sum(draw(draws) for draws in [random.Random(2)] for _ in range(20_000)) / 20_000
    capacity = places / mean
    predicted = predict_quantile(histogram, capacity, 0.65 * capacity, 0.99)
    assert predicted == pytest.approx(simulate(draw, places, 0.65 * capacity), rel=0.25)


def test_the_slowest_of_a_thousand_do_not_count() -> None:
    usual = Histogram((0.9, 1.0, 1.1, 100.0, 101.0), (500, 497, 0, 3))
    assert predict_quantile(usual, 1.0, 0.01, 0.5) == pytest.approx(1.0, rel=0.1)
    assert predict_quantile(usual, 1.0, 1e-6, 0.99) < 1.2


def test_capacity_is_the_best_rate_and_beyond_it_no_time_is_kept() -> None:
    load = make_load(((1, 80.0, 1000), (2, 110.0, 1100), (4, 100.0, 1300)), draw_times(lambda draws: 0.01, 100))
    assert load.capacity == 110.0
    assert load.bytes_per_client == pytest.approx(100.0)
    assert predict_p99(load, 110.0) == math.inf
    times = [predict_p99(load, rate) for rate in (0.0, 30.0, 60.0, 90.0, 109.0)]
    assert times == sorted(times)
    assert times[0] == pytest.approx(0.01, rel=0.01)


def test_memory_that_shrinks_or_one_point_alone_is_no_slope() -> None:
    load = make_load(((1, 80.0, 1000), (2, 110.0, 900)), Histogram((0.01, 0.011), (5,)))
    assert load.bytes_per_client == 0.0
    assert replace(load, points=load.points[:1]).bytes_per_client == 0.0


def test_the_rate_of_a_time_is_the_highest_that_keeps_it() -> None:
    load = make_load(((1, 100.0, 0),), draw_times(lambda draws: draws.expovariate(100.0)))
    rate = find_rate(load, 0.2)
    assert predict_p99(load, rate) <= 0.2 < predict_p99(load, rate * 1.01)
    assert find_rate(load, 0.001) == 0.0
    assert find_rate(load, 1e9) == pytest.approx(100.0)
