"""The measures are their formulas, written another way, on arrays of every magnitude."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxpack.parity.distances import (
    compute_argmax_agreement,
    compute_cosine,
    compute_sqnr,
    count_outside,
    measure_differences,
)

values = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda value: 0.0 if abs(value) < 1e-6 else value)
pairs = st.integers(1, 12).flatmap(
    lambda size: st.tuples(*[arrays.arrays(np.float64, size, elements=values) for _ in range(2)])
)


@given(pairs)
def test_cosine_is_the_normalised_product(pair: Any) -> None:
    right, got = pair
    norms = np.linalg.norm(right) * np.linalg.norm(got)
    found = compute_cosine(right, got)
    assert found is not None
    if norms:
        assert found == pytest.approx(np.dot(right, got) / norms, abs=1e-9)
    else:
        assert found == float(not right.any() and not got.any())
    assert -1 <= found <= 1


@given(pairs, st.sampled_from([1e-200, 1e200]))
def test_cosine_of_scaled_vectors_is_the_same(pair: Any, scale: float) -> None:
    right, got = pair
    assert compute_cosine(right * scale, got * scale) == pytest.approx(compute_cosine(right, got), abs=1e-9)


@pytest.mark.parametrize(
    ("right", "got", "found"),
    [
        ([1, 2], [1, 2], 1.0),
        ([1, 2], [-1, -2], -1.0),
        ([1, 0], [0, 1], 0.0),
        ([0, 0], [0, 0], 1.0),
        ([0, 0], [1, 0], 0.0),
        ([3, 4], [4, 3], 24 / 25),
        ([], [], None),
    ],
)
def test_cosine_of_known_vectors(right: list[float], got: list[float], found: float | None) -> None:
    assert compute_cosine(np.array(right, float), np.array(got, float)) == pytest.approx(found)


@given(pairs)
def test_sqnr_is_ten_times_the_logarithm_of_the_powers(pair: Any) -> None:
    right, got = pair
    noise, signal = np.mean((right - got) ** 2), np.mean(right**2)
    if noise and signal:
        assert compute_sqnr(right, got) == pytest.approx(10 * math.log10(signal / noise), abs=1e-6)
    else:
        assert compute_sqnr(right, got) is None


def test_sqnr_of_a_tenth_of_the_signal_is_twenty_decibels() -> None:
    right = np.array([1.0, -1.0, 1.0])
    assert compute_sqnr(right, right * 1.1) == pytest.approx(20)
    assert compute_sqnr(right * 1e200, right * 1.1e200) == pytest.approx(20)


@given(pairs, st.floats(0, 10))
def test_differences_are_the_greatest_of_each(pair: Any, atol: float) -> None:
    right, got = pair
    absolute, relative = measure_differences(right, got, atol)
    assert absolute == max(abs(a - e) for a, e in zip(got, right, strict=True))
    sizes = [abs(a - e) / abs(e) for a, e in zip(got, right, strict=True) if abs(e) > atol]
    assert relative == pytest.approx(max(sizes, default=0.0))


@given(pairs, st.floats(0, 1), st.floats(0, 10))
def test_outside_is_the_opposite_of_isclose(pair: Any, rtol: float, atol: float) -> None:
    right, got = pair
    assert count_outside(right, got, rtol, atol) == int((~np.isclose(got, right, rtol=rtol, atol=atol)).sum())


@given(arrays.arrays(np.float32, (6, 4), elements={"allow_nan": False}), st.integers(0, 6))
def test_argmax_agreement_counts_rows(right: Any, changed: int) -> None:
    got = right.copy()
    for row in range(changed):
        got[row] = 0
        got[row, (right[row].argmax() + 1) % 4] = 1
    assert compute_argmax_agreement(right, got) == pytest.approx(1 - changed / 6)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (0, 4), ()])
def test_argmax_agreement_without_a_choice_is_none(shape: tuple[int, ...]) -> None:
    assert compute_argmax_agreement(np.ones(shape), np.ones(shape)) is None
