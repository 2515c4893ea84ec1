"""The parts of dates: nodes in onnxruntime, numpy and Python's datetime, which must agree on every day."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from echo_models import OPSETS, Make, run_both

from onnxpack.spec.columns import FIRST_DAY, LAST_DAY, get_date_limits

PARTS = ("year", "month", "day", "weekday", "yearday", "quarter", "week", "days")
EPOCH = date(1970, 1, 1)
BATCH = {"n": {"min": 1, "max": 100_000}}


def tell_parts(day: date) -> list[int]:
    week = day.isocalendar().week
    yearday = day.timetuple().tm_yday
    quarter = (day.month + 2) // 3
    return [day.year, day.month, day.day, day.weekday(), yearday, quarter, week, (day - EPOCH).days]


def run(make: Make, opset: int, dtype: str, parts: tuple[str, ...], dates: Any) -> tuple[Any, Any]:
    step = {"op": "date_parts", "input": "x", "parts": list(parts)}
    shape = [*("n" if index == 0 else size for index, size in enumerate(dates.shape)), len(parts)]
    file = make(dtype, shape, opset, preprocess=[step], dynamic_axes=BATCH)
    actual, expected, _ = run_both(file, {"x": dates})
    return actual["y"], expected["y"]


@pytest.mark.parametrize("opset", OPSETS)
def test_every_day_of_two_centuries_has_the_parts_that_python_tells(make: Make, opset: int) -> None:
    first = (date(1900, 1, 1) - EPOCH).days
    days = np.arange(first, (date(2101, 1, 1) - EPOCH).days)
    actual, expected = run(make, opset, "int64", PARTS, days)
    known = np.array([tell_parts(EPOCH + timedelta(int(day))) for day in days])
    np.testing.assert_array_equal(actual, known)
    np.testing.assert_array_equal(expected, known)


def test_days_of_all_years_that_there_are(make: Make) -> None:
    ends = [FIRST_DAY, FIRST_DAY + 1, FIRST_DAY + 366, LAST_DAY - 1, LAST_DAY]
    days = np.array([*ends, *range(FIRST_DAY, LAST_DAY, 997)])
    actual, expected = run(make, 17, "int64", PARTS, days)
    known = np.array([tell_parts(EPOCH + timedelta(int(day))) for day in days])
    np.testing.assert_array_equal(actual, known)
    np.testing.assert_array_equal(expected, known)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "float16", "uint16"])
def test_parts_come_in_the_models_dtype_and_order_behind_all_axes(make: Make, dtype: str) -> None:
    days = np.random.default_rng(1).integers(0, 30_000, (3, 5))
    actual, expected = run(make, 13, dtype, ("weekday", "year"), days)
    assert (actual.dtype.name, actual.shape) == (dtype, (3, 5, 2))
    np.testing.assert_array_equal(actual, expected)
    assert actual[0, 0, 0] == (EPOCH + timedelta(int(days[0, 0]))).weekday()


@pytest.mark.parametrize("opset", [9, 13, 22])
def test_times_are_seconds(make: Make, opset: int) -> None:
    low, high = get_date_limits("seconds")
    seconds = np.array([low, high, -1, 0, *np.random.default_rng(1).integers(low, high, 300)])
    parts = ("year", "month", "day", "weekday", "hour", "minute", "second", "days")
    actual, expected = run(make, opset, "int64", parts, seconds)
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(second)) for second in seconds]
    known = [
        [at.year, at.month, at.day, at.weekday(), at.hour, at.minute, at.second, (at.date() - EPOCH).days]
        for at in moments
    ]
    np.testing.assert_array_equal(actual, known)
    np.testing.assert_array_equal(expected, known)


def test_a_single_part_keeps_its_axis(make: Make) -> None:
    actual, expected = run(make, 17, "float32", ("hour",), np.array([3600 * 5 + 7]))
    assert actual.tolist() == expected.tolist() == [[5.0]]
