"""Ranges: against onnxruntime's calibrators where these work, and where they do not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
from precision_examples import cnn, inputs_of, mlp

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays
from onnxpack.precision import calibration
from onnxpack.precision.calibration import BINS, LEVELS, calibrate, entropy_range, histogram, percentile_range

TENSORS = ["x", "h", "a", "r", "y"]


def ranges(folder: Path, method: str, batches: list[Arrays], tensors: list[str] = TENSORS) -> calibration.Ranges:
    return calibrate(mlp(), tensors, lambda: iter(batches), method, folder, lambda text: None)


class Reader:
    def __init__(self, batches: list[Arrays]) -> None:
        self._left = iter(batches)

    def get_next(self) -> Arrays | None:
        return next(self._left, None)


def theirs(folder: Path, method: CalibrationMethod, batches: list[Arrays]) -> dict[str, tuple[float, float]]:
    onnx.save(mlp(), folder / "m.onnx")
    calibrator = create_calibrator(
        folder / "m.onnx", augmented_model_path=str(folder / "a.onnx"), calibrate_method=method
    )
    calibrator.collect_data(Reader(batches))
    found = calibrator.compute_data().items()
    return {name: tuple(float(np.ravel(end)[0]) for end in data.range_value) for name, data in found}


@pytest.mark.filterwarnings("ignore")
def test_least_and_greatest_are_onnxruntimes(tmp_path: Path) -> None:
    batches = [inputs_of("mlp", 8, seed) for seed in range(4)]
    right = theirs(tmp_path, CalibrationMethod.MinMax, batches)
    for name, found in ranges(tmp_path, "minmax", batches).items():
        assert found == pytest.approx(right[name], rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_percentiles_are_onnxruntimes_within_a_bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "PERCENTILE", 99.999)
    batches = [inputs_of("mlp", 64, seed) for seed in range(4)]
    right = theirs(tmp_path, CalibrationMethod.Percentile, batches)
    for name, (low, high) in ranges(tmp_path, "percentile", batches).items():
        width = (right[name][1] - right[name][0]) / 500
        assert (low, high) == pytest.approx(right[name], abs=width)


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0])
def test_percentiles_are_numpys_within_a_bin(percentile: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "PERCENTILE", percentile)
    values = np.random.default_rng(1).standard_normal(100_000)
    ends = (float(values.min()), float(values.max()))
    cut = (100 - percentile) / 2
    found = percentile_range(histogram(values, ends, absolute=False), ends)
    assert found == pytest.approx(np.percentile(values, [cut, 100 - cut]), abs=2 * (ends[1] - ends[0]) / BINS)


def literal_divergence(counts: Any, kept: int) -> float:
    """The published algorithm, step by step."""
    real = [float(count) for count in counts[:kept]]
    real[-1] += float(counts[kept:].sum())
    coarse = [0.0] * kept
    for level in range(LEVELS):
        first, end = level * kept // LEVELS, (level + 1) * kept // LEVELS
        full = [place for place in range(first, end) if counts[place]]
        for place in full:
            coarse[place] = float(sum(counts[first:end])) / len(full)
    sums = sum(real), sum(coarse)
    p, q = [value / sums[0] for value in real], [value / sums[1] for value in coarse]
    return float(sum(a * np.log(a / (b or 1e-12)) for a, b in zip(p, q, strict=True) if a))


@pytest.mark.parametrize("kept", [128, 129, 200, 1000, 2047, 2048])
def test_the_divergence_is_the_published_one(kept: int) -> None:
    values = np.random.default_rng(kept).laplace(size=20_000)
    counts = histogram(values, (float(values.min()), float(values.max())), absolute=True).astype(np.float64)
    assert calibration._divergence(counts, kept) == pytest.approx(literal_divergence(counts, kept), rel=1e-9, abs=1e-12)


def test_entropy_cuts_a_long_tail_and_keeps_a_full_range() -> None:
    generator = np.random.default_rng(1)
    tailed = np.append(generator.standard_normal(100_000), [80.0])
    low, high = entropy_range(histogram(tailed, (-5.0, 80.0), absolute=True), (-5.0, 80.0))
    assert low == -5.0
    assert 3.0 < high < 20.0
    full = generator.uniform(-1, 1, 100_000)
    low, high = entropy_range(histogram(full, (-1.0, 1.0), absolute=True), (-1.0, 1.0))
    assert high > 0.9
    assert low == -high


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_batches_may_have_any_shapes(tmp_path: Path, method: str) -> None:
    rows = [1, 7, 3, 16]
    batches = [inputs_of("mlp", count, count) for count in rows]
    whole = [{"x": np.concatenate([batch["x"] for batch in batches])}]
    cut = ranges(tmp_path, method, batches)
    assert {name: pytest.approx(ends, rel=1e-3) for name, ends in ranges(tmp_path, method, whole).items()} == cut


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_no_more_than_a_groups_bytes_leave_the_runtime_at_once(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [inputs_of("mlp", 4, 1), inputs_of("mlp", 8, 2)]
    together = ranges(tmp_path, method, batches)
    seen = []
    original = calibration.open_probe_session

    def watched(model: onnx.ModelProto, outputs: Any, *rest: Any) -> Any:
        seen.append(list(outputs))
        return original(model, outputs, *rest)

    monkeypatch.setattr(calibration, "open_probe_session", watched)
    monkeypatch.setattr(calibration, "GROUP_BYTES", 8 * 96 * 4)  # one hidden tensor of the larger batch
    assert ranges(tmp_path, method, batches) == together
    assert seen[1:] == [["x"], ["h"], ["a"], ["r"], ["y"]]


def test_one_batch_at_a_time_is_taken(tmp_path: Path) -> None:
    taken: list[int] = []
    told: list[str] = []

    def batches() -> Iterator[Arrays]:
        for number in range(3):
            assert len(told) % 3 == number, "the batch before has been used"
            taken.append(number)
            yield inputs_of("mlp", 4, number)

    calibrate(mlp(), TENSORS, batches, "entropy", tmp_path, told.append)
    assert taken == [0, 1, 2, 0, 1, 2]
    assert told[:3] == [f"least and greatest values: {rows} rows" for rows in (4, 8, 12)]
    assert told[-1] == "histograms, part 1: 12 rows"


def test_no_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no data to calibrate with"):
        ranges(tmp_path, "minmax", [])


def test_data_that_does_not_fit_is_an_error_with_its_shapes(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the float32 model fails on x \(2, 63\)"):
        ranges(tmp_path, "minmax", [{"x": np.zeros((2, 63), np.float32)}])


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_a_tensor_of_one_value_keeps_it(tmp_path: Path, method: str) -> None:
    zeros = [{"x": np.zeros((2, 64), np.float32)}]
    assert ranges(tmp_path, method, zeros, ["x"]) == {"x": (0.0, 0.0)}


def test_ranges_are_kept_exactly(tmp_path: Path) -> None:
    made = ranges(tmp_path, "percentile", [inputs_of("mlp", 8, 1)])
    calibration.write(tmp_path, made)
    assert calibration.read(tmp_path) == made


def test_convolutions_have_ranges_too(tmp_path: Path) -> None:
    found = calibrate(
        cnn(), ["x", "r1", "p"], lambda: iter([inputs_of("cnn", 2, 1)]), "minmax", tmp_path, lambda text: None
    )
    assert found["r1"][0] == 0.0
    assert found["r1"][1] > found["p"][1] > 0
