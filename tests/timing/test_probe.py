"""A first answer is compared with later ones that were asked for in the same way."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnxpack.timing import probe


class Clock:
    """A clock that moves when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("takes", "first", "later"),
    [
        ([0.07, *[0.01] * 5, *[0.03] * 4], 0.07, 0.01),  # quick answers: nine later ones
        ([70.0, 10.0, 20.0, 30.0], 70.0, 20.0),  # slow ones: three
    ],
)
def test_time_first_pauses_before_each_call_and_tells_the_median_of_later_ones(
    monkeypatch: pytest.MonkeyPatch, takes: list[float], first: float, later: float
) -> None:
    clock, left = Clock(), list(takes)
    monkeypatch.setattr(probe, "time", SimpleNamespace(sleep=clock.sleep, perf_counter=lambda: clock.now))
    times = probe.time_first(lambda: clock.work(left.pop(0)))
    assert times == {"first_answer_seconds": pytest.approx(first), "later_answer_seconds": pytest.approx(later)}
    assert clock.slept == [probe._PAUSE] * len(takes)
    assert left == []


def test_the_process_under_test_is_the_first_one_unless_a_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(probe.FIRST_PROCESS, raising=False)
    assert probe.find_process() == "1"
    monkeypatch.setenv(probe.FIRST_PROCESS, "4711")
    assert probe.find_process() == "4711"


def test_numbers_that_json_does_not_have_are_sent_as_words() -> None:
    array = np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32)
    (sent,) = probe.make_request({"x": "FP32"}, {"x": array})["inputs"]
    assert sent == {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1.5, "NaN", "Infinity", "-Infinity"]}
