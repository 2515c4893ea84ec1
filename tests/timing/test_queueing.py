"""What is predicted of a queue, beside what is known of queues, and beside queues that are simulated."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import replace
from statistics import quantiles

import pytest

from onnxpack.timing.load import compute_quantiles, make_histogram
from onnxpack.timing.queueing import Histogram, Load, LoadPoint, find_rate, predict_p99, predict_quantile

Draw = Callable[[random.Random], float]


def ask_again(draw: Draw, places: int, clients: int, number: int = 6_000) -> LoadPoint:
    """Return what so many clients see that ask again at once, of a queue in front of ``places``."""
    draws, times = random.Random(clients), []
    asked, free = [0.0] * clients, [0.0] * places
    for _ in range(number):
        came = heapq.heappop(asked)
        ended = max(came, heapq.heappop(free)) + draw(draws)
        heapq.heappush(free, ended)
        heapq.heappush(asked, ended)
        times.append(ended - came)
    p50, p90, p99 = compute_quantiles(times)
    return LoadPoint(clients, number / max(asked), p50, p90, p99, max(times), number, 0, 0)


def load_queue(draw: Draw, places: int) -> Load:
    """Return what a measurement finds of such a queue."""
    points = tuple(ask_again(draw, places, clients) for clients in (1, 2, 4, 8, 16))
    times = [draw(draws) for draws in [random.Random(0)] for _ in range(6_000)]
    found = make_histogram(times)
    histogram = Histogram(tuple(found["edges_seconds"]), tuple(map(int, found["counts"])))
    return Load(2, 2.0, points, histogram, None, 0, 0.0, 0.0)


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
    made = tuple(LoadPoint(clients, rate, 0.01, 0.01, 0.01, 0.01, 100, 0, rss) for clients, rate, rss in points)
    return Load(2, 2.0, made, histogram, None, 0, 0.0, 0.0)


STEADY = Histogram((0.0099, 0.0101), (100,))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.65, 0.9])
def test_the_queue_whose_answer_is_known_is_predicted(share: float) -> None:
    """Of a queue with exponential times (M/M/1) answers take exponentially long, too."""
    load = load_queue(lambda draws: draws.expovariate(100.0), 1)
    rate = share * load.capacity
    assert predict_p99(load, rate) == pytest.approx(math.log(100) / (load.capacity - rate), rel=0.1)
    assert predict_quantile(load, rate, 0.9) == pytest.approx(math.log(10) / (load.capacity - rate), rel=0.15)


@pytest.mark.parametrize("places", [1, 2, 4])
@pytest.mark.parametrize(
    "draw",
    [
        lambda draws: draws.uniform(0.0099, 0.0101),
        lambda draws: draws.uniform(0.005, 0.015),
        lambda draws: draws.uniform(0.004, 0.005) if draws.random() < 0.9 else draws.uniform(0.02, 0.03),
        lambda draws: draws.expovariate(100.0),
    ],
    ids=["always the same", "uniform", "two kinds", "exponential"],
)
def test_a_simulated_queue_is_predicted_within_a_quarter(draw: Draw, places: int) -> None:
    load = load_queue(draw, places)
    rate = 0.65 * load.capacity
    assert predict_p99(load, rate) == pytest.approx(simulate(draw, places, rate), rel=0.25)


def test_a_request_alone_takes_what_one_client_saw() -> None:
    load = load_queue(lambda draws: draws.uniform(0.005, 0.015), 1)
    assert predict_p99(load, 0.001) == pytest.approx(load.points[0].p99_seconds, rel=0.01)
    assert predict_quantile(load, 0.001, 0.5) == pytest.approx(load.points[0].p50_seconds, rel=0.01)


def test_capacity_is_the_best_rate_and_beyond_it_no_time_is_kept() -> None:
    load = make_load(((1, 80.0, 1000), (2, 110.0, 1100), (4, 100.0, 1300)), STEADY)
    assert load.capacity == 110.0
    assert load.bytes_per_client == pytest.approx(100.0)
    assert predict_p99(load, 110.0) == math.inf
    times = [predict_p99(load, rate) for rate in (0.0, 30.0, 60.0, 90.0, 109.0)]
    assert times == sorted(times)
    assert times[0] == pytest.approx(0.01, rel=0.01)


def test_the_slowest_of_a_thousand_make_no_longer_queues() -> None:
    usual = Histogram((0.0099, 0.0101, 9.0, 10.0), (997, 0, 3))
    loads = [make_load(((1, 100.0, 0),), histogram) for histogram in (STEADY, usual)]
    assert predict_p99(loads[0], 65.0) == pytest.approx(predict_p99(loads[1], 65.0), rel=0.01)


@pytest.mark.parametrize("points", [((1, 80.0, 0),), ((4, 90.0, 0),), ((1, 80.0, 0), (2, 0.0, 0), (4, 90.0, 0))])
def test_few_points_and_points_without_answers_will_do(points: tuple[tuple[int, float, int], ...]) -> None:
    load = make_load(points, STEADY)
    answered = tuple(replace(point, requests=int(point.rate)) for point in load.points)
    assert 0.0 < predict_p99(replace(load, points=answered), 50.0) < 1.0


def test_memory_that_shrinks_or_one_point_alone_is_no_slope() -> None:
    load = make_load(((1, 80.0, 1000), (2, 110.0, 900)), STEADY)
    assert load.bytes_per_client == 0.0
    assert replace(load, points=load.points[:1]).bytes_per_client == 0.0


def test_the_rate_of_a_time_is_the_highest_that_keeps_it() -> None:
    load = load_queue(lambda draws: draws.expovariate(100.0), 1)
    rate = find_rate(load, 0.2)
    assert predict_p99(load, rate) <= 0.2 < predict_p99(load, rate * 1.01)
    assert find_rate(load, 0.001) == 0.0
    assert find_rate(load, 1e9) == pytest.approx(load.capacity)
