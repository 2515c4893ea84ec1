"""Quantized models: noise passes, destroyed ones do not, whatever they give instead."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpack.data.test_inputs import Arrays, write_arrays
from onnxpack.parity import quantization_noise
from onnxpack.parity.compare import Tolerance, compare_cases
from onnxpack.spec.traits import precisions

QUANTIZED = sorted(precisions())
SIZES = (1, 3, 8, 64)
Case = tuple[str, Arrays, Arrays]


def logits(seed: int, offset: float = 0.0) -> list[Any]:
    generator = np.random.default_rng(seed)
    return [(generator.standard_normal((rows, 10)) + offset).astype(np.float32) for rows in SIZES]


def cases(right: list[Any], got: list[Any], name: str = "y") -> list[Case]:
    return [(f"{len(e)}", {name: e}, {name: a}) for e, a in zip(right, got, strict=True)]


def failures(found: list[Case], precision: str, spreads: dict[str, float] | None = None, **given: Any) -> list[str]:
    return [row.reason for row in compare_cases(found, Tolerance.of(precision, **given), spreads) if row.reason]


def noisy(right: list[Any], share: float) -> list[Any]:
    generator = np.random.default_rng(0)
    return [(array + share * generator.standard_normal(array.shape)).astype(np.float32) for array in right]


@pytest.mark.parametrize("precision", QUANTIZED)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_the_noise_of_quantization_passes(precision: str, offset: float) -> None:
    right = logits(1, offset)
    assert not failures(cases(right, noisy(right, precisions()[precision].noise[0] / 2)), precision)


def test_float16_may_keep_to_the_tolerance_of_single_values_instead() -> None:
    right = logits(1, 100.0)
    assert not failures(cases(right, noisy(right, 0.1)), "float16")
    assert failures(cases(logits(1), noisy(logits(1), 0.1)), "float16")


@pytest.mark.parametrize("precision", QUANTIZED)
@pytest.mark.parametrize(
    "destroyed",
    [
        lambda right: logits(2),
        lambda right: [np.zeros_like(array) for array in right],
        lambda right: [np.full_like(array, np.mean(right[-1])) for array in right],
        lambda right: [-array for array in right],
        lambda right: [array[:, ::-1].copy() for array in right],
        lambda right: noisy(right, 1.0),
    ],
    ids=["random weights", "zeros", "one answer", "negated", "classes swapped", "as much noise as signal"],
)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_a_destroyed_model_fails(precision: str, destroyed: Any, offset: float) -> None:
    right = logits(1)
    got = destroyed(right)
    shifted = [array + np.float32(offset) for array in right]
    found = cases(shifted, [array + np.float32(offset) for array in got])
    assert any("noise of" in reason for reason in failures(found, precision))


def test_a_single_small_value_is_judged_by_how_much_the_output_varies() -> None:
    right, got = logits(1), logits(1)
    for array in (right[0], got[0]):
        array[:] = 0.0
    got[0][0, 0] = 0.01
    assert not failures(cases(right, got), "int8-static")


def test_one_case_alone_is_judged_by_the_spread_of_the_reference(tmp_path: Path) -> None:
    right = logits(1)
    for case, array in zip("abcd", right, strict=True):
        write_arrays(tmp_path / f"{case}.outputs.npz", {"y": array, "n": np.arange(3)})
    spreads = quantization_noise.compute_spreads(tmp_path, "abcd")
    assert spreads == {"y": pytest.approx(np.concatenate(right).std(), rel=1e-6)}
    one = [("a", {"y": np.float32([0.0])}, {"y": np.float32([0.2])})]
    assert failures(one, "int8-static")
    assert not failures(one, "int8-static", spreads=spreads)


def test_a_constant_output_is_judged_by_its_magnitude() -> None:
    right = [np.full((2, 2), 5.0, np.float32)]
    assert not failures(cases(right, [right[0] + np.float32(0.5)]), "int8-static")
    assert failures(cases(right, [right[0] + np.float32(2.0)]), "int8-static")
    nothing = [np.zeros((2, 2), np.float32)]
    assert not failures(cases(nothing, nothing), "int8-static")
    assert failures(cases(nothing, right), "int8-static")


def test_a_row_tells_its_noise_and_the_limit_that_counted() -> None:
    right = logits(1)
    (*_, last) = compare_cases(cases(right, noisy(right, 0.1)), Tolerance.of("int8-static"))
    spread = float(np.concatenate(right).std())
    assert last.noise == pytest.approx(0.1 / spread, rel=0.1)
    assert (last.rtol, last.atol) == (0.0, pytest.approx(0.25 * spread, rel=1e-6))


@pytest.mark.parametrize(("given", "fails"), [({"atol": 0.5}, False), ({"atol": 1e-3}, True), ({"rtol": 1e-3}, True)])
def test_a_given_tolerance_wins(given: dict[str, float], fails: bool) -> None:
    right = logits(1)
    assert bool(failures(cases(right, noisy(right, 0.1)), "int8-static", **given)) == fails


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (np.float64([[1, 2]]), "dtype float64 instead of float32"),
        (np.float32([[1, 2, 3]]), "shape (1, 3) instead of (1, 2)"),
        (np.float32([[1, np.nan]]), "NaN in 1 other places"),
        (np.float32([[1, np.inf]]), "infinite in other places"),
    ],
)
def test_what_no_tolerance_covers_fails_still(got: Any, words: str) -> None:
    right = np.float32([[1, 2]])
    assert failures([("a", {"y": right}, {"y": got})], "int8-static") == [words]
    assert failures([("a", {"y": right}, {"z": right})], "int8-static") == ["the outputs should be y"]


LABELS = [np.arange(rows) % 10 for rows in (1, 100)]


@pytest.mark.parametrize("kind", [np.int64, str])
@pytest.mark.parametrize(
    ("precision", "wrong", "fails"),
    [("int8-static", 8, False), ("int8-static", 12, True), ("int4-weights", 12, False), ("int4-weights", 90, True)],
)
def test_a_few_labels_may_flip(kind: Any, precision: str, wrong: int, fails: bool) -> None:
    got = [array.copy() for array in LABELS]
    got[0][0] = 3
    got[1][:wrong] = (got[1][:wrong] + 1) % 10
    found = cases([array.astype(kind) for array in LABELS], [array.astype(kind) for array in got])
    assert bool(failures(found, precision)) == fails


def test_nothing_compared_gives_no_rows() -> None:
    assert compare_cases([], Tolerance.of("int8-static")) == []


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [
        (Tolerance(), "rtol 0.001, atol 0.0001"),
        (Tolerance.of("int8-static"), "noise 0.25"),
        (Tolerance.of("int8-static", 0.1), "rtol 0.1, atol 0.0001"),
    ],
)
def test_a_tolerance_in_words(tolerance: Tolerance, words: str) -> None:
    assert str(tolerance) == words
