"""A target's gates are its own over the common ones, each with its place; what it does not use is noted."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from onnxpack.spec.delivery import Gates
from onnxpack.spec.limits import effective_gates, list_unused
from onnxpack.spec.load import SpecFile, load

SPEC = """\
onnxpack: 1
name: gated
model: {framework: torch, factory: 'model.py:Net'}
inputs:
  x: {dtype: float32, shape: [4]}
calibration: {data: c.npz}
targets:
  cpu:
    gates:
      latency_p50: 5ms
      image_size: 90MB
  small: {precision: int8-static, gates: {peak_memory: 300MB}}
  best: {precision: auto}
gates:
  image_size: 150MB
  cold_start: 2s
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpecFile:
    monkeypatch.chdir(tmp_path)
    Path("model.py").touch()
    Path("c.npz").touch()
    Path("spec.yaml").write_text(SPEC)
    return load(Path("spec.yaml"))


EFFECTIVE: dict[str, dict[str, tuple[Any, str]]] = {
    "cpu": {
        "image_size": (90_000_000, "spec.yaml:11:19"),
        "cold_start": (2.0, "spec.yaml:16:15"),
        "latency_p50": (0.005, "spec.yaml:10:20"),
    },
    "small": {
        "image_size": (150_000_000, "spec.yaml:15:15"),
        "cold_start": (2.0, "spec.yaml:16:15"),
        "peak_memory": (300_000_000, "spec.yaml:12:56"),
    },
    "best": {"image_size": (150_000_000, "spec.yaml:15:15"), "cold_start": (2.0, "spec.yaml:16:15")},
}


@pytest.mark.parametrize("target", EFFECTIVE)
def test_a_targets_own_gates_replace_the_common_ones_field_by_field(file: SpecFile, target: str) -> None:
    found = effective_gates(file.spec, target, file.where)
    values = {field.name: getattr(found.limits, field.name) for field in fields(Gates)}
    limits = {name: (value, str(found.where(name))) for name, value in values.items() if value is not None}
    assert limits == EFFECTIVE[target]


def test_a_gate_that_is_not_set_has_the_targets_place(file: SpecFile) -> None:
    found = effective_gates(file.spec, "best", file.where)
    assert str(found.where("min_speedup")) == "spec.yaml:13:3"


def test_calibration_data_beside_a_precision_without_it_is_noted(file: SpecFile) -> None:
    assert list_unused(file.spec, "cpu", file.where) == (
        "spec.yaml:6:14: target 'cpu' does not use the calibration data: it is for int8-static and auto, not float32",
    )
    assert list_unused(file.spec, "small", file.where) == ()
    assert list_unused(file.spec, "best", file.where) == ()
