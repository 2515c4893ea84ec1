"""Gates that nothing judged are told, and fail the build where all are required."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import Here, write_spec
from onnx_examples import RELU, make_model
from told import Told

from onnxpack.cache.store import Store
from onnxpack.image.docker import DockerEngine
from onnxpack.image.engine import Smoke, Soak
from onnxpack.pipeline.attempt import Wanted, build
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.records import Evaluated
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.unjudged import gather_facts
from onnxpack.precision.candidates import Candidate
from onnxpack.spec.load import SpecFile

SMOKE = Smoke(1, 0.5, 0.25, 0.01, 1000, runtime="runc 1.1.5")
GATES = {"image_size": "1MB", "latency_p50": "1ms"}


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, gates=GATES)


FACTS: list[tuple[Product, dict[str, Any]]] = [
    (Product(), {"precision": "float32", "has_evaluation": False, "scored": False, "image_built": False}),
    (Product(evaluation=Evaluated("accuracy", 1.0, 1.0, 0.0)), {"scored": True}),
    (Product(candidates=(Candidate("a", speedup=2.0),)), {"speed_measured": False}),
    (Product(candidates=(Candidate("a", speedup=2.0, chosen=True),)), {"speed_measured": True}),
    (Product(smoke=SMOKE), {"container_ran": True, "gpu_missing": False}),
    (Product(smoke=SMOKE), {"emulated": False, "foreign": False}),
    (Product(smoke=replace(SMOKE, emulated=True)), {"emulated": True}),
    (Product(smoke=replace(SMOKE, on_gpu=False)), {"container_ran": False, "gpu_missing": True}),
    (Product(smoke=replace(SMOKE, on_gpu=True)), {"container_ran": True, "gpu_missing": False}),
    (Product(smoke=SMOKE), {"memory_soaked": False, "gpu": False}),
    (Product(smoke=replace(SMOKE, soak=Soak(9, 2, 1, 3))), {"memory_soaked": True}),
    (Product(smoke=replace(SMOKE, soak=Soak(8, 2, None, 3))), {"memory_soaked": False}),
]


@pytest.mark.parametrize(("product", "expected"), FACTS)
def test_facts_are_those_of_the_product(file: SpecFile, product: Product, expected: dict[str, Any]) -> None:
    facts = vars(gather_facts(Plan(file, "cpu", Path("dist")), product))
    assert {name: facts[name] for name in expected} == expected


@pytest.fixture
def attempt(file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Any, Told]]:
    monkeypatch.setattr("onnxpack.pipeline.runner.call", Here())

    def run(*, require: bool, **target: Any) -> tuple[Any, Any, Told]:
        changed = write_spec(file.folder, {"framework": "onnx", "path": "m.onnx"}, gates=GATES, targets={"t": target})
        plan, told = Plan(changed, "t", tmp_path / "dist"), Told()
        made = build(Build(plan, Store(tmp_path / "store"), DockerEngine(), told, 600.0, require), Wanted("optimize"))
        return made, json.loads((tmp_path / "dist" / "report.json").read_text()), told

    return run


def test_a_gate_that_is_not_judged_is_said_in_log_and_report(attempt: Any) -> None:
    made, report, told = attempt(require=False)
    assert made.passed
    assert report["not_judged"] == [{"gate": name, "why": "no image was built"} for name in GATES]
    assert "gates.image_size is not judged: no image was built" in told.lines


def test_a_gate_that_is_not_judged_fails_a_build_that_requires_all(attempt: Any) -> None:
    made, report, _ = attempt(require=True)
    assert (report["status"], report["stage"], report["exit_code"]) == ("failed", "gates", 4)
    messages = [problem["message"] for problem in report["problems"]]
    assert messages == [f"gates.{name} was not judged: no image was built" for name in GATES]
    assert made.error.problems[0].where.line


def test_a_cuda_build_without_a_gpu_says_that_it_never_ran_on_one(attempt: Any) -> None:
    _, report, told = attempt(require=False, device="cuda")
    assert report["ran_on_gpu"] is False
    assert any("never ran on a GPU" in line for line in told.lines)
