"""Gates on an image: each is judged by itself, all that are broken are told, and where in the spec they stand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnxpack.errors import GateError, Location
from onnxpack.gates import require_measures, require_size
from onnxpack.smoke import Smoke
from onnxpack.spec.delivery import Gates
from onnxpack.spec.load import SpecFile, load

SPEC = """\
onnxpack: 1
name: gated
model: {framework: torch, factory: 'model.py:Net'}
inputs:
  x: {dtype: float32, shape: [4]}
targets: {cpu: {device: cpu}}
"""
SMOKE = Smoke(
    comparisons=1, ready_seconds=2.0, first_answer_seconds=0.1, latency_p50_seconds=0.005, peak_rss_bytes=100_000_000
)


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    (tmp_path / "model.py").touch()
    (tmp_path / "spec.yaml").write_text(SPEC)
    return load(tmp_path / "spec.yaml")


def gated(file: SpecFile, **limits: Any) -> SpecFile:
    return replace(file, spec=replace(file.spec, gates=Gates(**limits)))


def test_without_gates_everything_passes(file: SpecFile) -> None:
    require_size(file, 10**12)
    require_measures(file, replace(SMOKE, ready_seconds=1e6))


def test_limits_are_included(file: SpecFile) -> None:
    limits = gated(file, image_size=1000, cold_start=2.0, latency_p50=0.005, peak_memory=100_000_000)
    require_size(limits, 1000)
    require_measures(limits, SMOKE)


def test_an_image_that_is_too_large_is_refused(file: SpecFile) -> None:
    with pytest.raises(GateError, match=r"the image has 150\.5 MB, the gate allows 150\.0 MB"):
        require_size(gated(file, image_size=150_000_000), 150_500_000)


def test_every_broken_gate_is_told(file: SpecFile) -> None:
    limits = gated(file, cold_start=1.5, latency_p50=0.004, peak_memory=99_000_000)
    with pytest.raises(GateError) as caught:
        require_measures(limits, SMOKE)
    assert [problem.message for problem in caught.value.problems] == [
        "the container was ready after 2.00 s, gates.cold_start allows 1.50 s",
        "the median request took 5.00 ms, gates.latency_p50 allows 4.00 ms",
        "the serving process needed 100.0 MB, gates.peak_memory allows 99.0 MB",
    ]


def test_one_broken_gate_is_told_alone(file: SpecFile) -> None:
    with pytest.raises(GateError) as caught:
        require_measures(gated(file, cold_start=60.0, latency_p50=0.004), SMOKE)
    assert len(caught.value.problems) == 1


def test_a_gate_that_could_not_be_measured_is_told(file: SpecFile) -> None:
    nothing = Smoke(0, None, None, None, None, on_gpu=False)
    assert require_measures(gated(file, latency_p50=1.0, peak_memory=1), nothing) == ("latency_p50", "peak_memory")
    assert require_measures(gated(file, latency_p50=1.0), SMOKE) == ()


def test_what_is_found_later_still_has_its_place_in_the_spec(file: SpecFile) -> None:
    assert file.where("inputs", "x") == Location(str(file.path), 5, 3)
    assert file.where("gates", "image_size") == Location(str(file.path), 1, 1)
    assert SpecFile.from_json(file.to_json()).where("inputs", "x") == Location(str(file.path))
