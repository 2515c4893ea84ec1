"""Gates: each is judged by itself, all that are broken are told with their place, none is passed over in silence."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from onnxpack.core.errors import GateError, Location
from onnxpack.image.engine import Smoke, Soak
from onnxpack.pipeline.gates import (
    BuildFacts,
    NotJudged,
    judge_degradation,
    judge_help,
    judge_score,
    list_gates_not_judged,
    require_measures,
    require_size,
)
from onnxpack.pipeline.records import Evaluated
from onnxpack.precision.candidates import Candidate
from onnxpack.spec.delivery import Gates
from onnxpack.spec.limits import EffectiveGates
from onnxpack.spec.load import SpecFile, load

SPEC = """\
onnxpack: 1
name: gated
model: {framework: torch, factory: 'model.py:Net'}
inputs:
  x: {dtype: float32, shape: [4]}
targets:
  cpu: {device: cpu}
"""
SMOKE = Smoke(
    comparisons=1,
    ready_seconds=2.0,
    first_answer_seconds=0.1,
    latency_p50_seconds=0.005,
    peak_rss_bytes=100_000_000,
    runtime="runc 1.1.5",
    later_answer_seconds=0.04,
)
SCORED = Evaluated("accuracy", source=0.93, model=0.91, degradation=0.02)


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    (tmp_path / "model.py").touch()
    (tmp_path / "spec.yaml").write_text(SPEC)
    return load(tmp_path / "spec.yaml")


def gated(**limits: Any) -> EffectiveGates:
    """Limits that stand one below the other from line 10 on, of a target on line 3."""
    places = {name: Location("spec.yaml", 10 + number, 3) for number, name in enumerate(limits)}
    return EffectiveGates(Gates(**limits), places, Location("spec.yaml", 3, 5))


def test_without_gates_everything_passes() -> None:
    require_size(gated(), 10**12)
    require_measures(gated(), replace(SMOKE, ready_seconds=1e6))
    assert judge_degradation(gated(), "float32", replace(SCORED, degradation=1.0)) is None
    assert judge_score(gated(), "float32", replace(SCORED, model=-1.0)) is None


def test_limits_are_included() -> None:
    require_size(gated(image_size=1000), 1000)
    require_measures(gated(cold_start=2.0, first_answer=2.5, latency_p50=0.005, peak_memory=100_000_000), SMOKE)
    assert judge_degradation(gated(max_degradation=0.02), "float32", SCORED) is None
    assert judge_score(gated(min_score=0.91), "float32", SCORED) is None


def test_an_image_that_is_too_large_is_refused() -> None:
    with pytest.raises(GateError, match=r"^spec.yaml:10:3: the image has 150\.5 MB, the gate allows 150\.0 MB"):
        require_size(gated(image_size=150_000_000), 150_500_000)


def test_every_broken_gate_is_told() -> None:
    with pytest.raises(GateError) as caught:
        require_measures(gated(cold_start=1.5, latency_p50=0.004, peak_memory=99_000_000, first_answer=2.4), SMOKE)
    assert [(problem.where.line, problem.message) for problem in caught.value.problems if problem.where] == [
        (10, "the container was ready after 2.00 s, gates.cold_start allows 1.50 s"),
        (13, "beside later ones the first answer took 2.5 times as long, gates.first_answer allows 2.4 times as long"),
        (11, "the median request took 5.00 ms, gates.latency_p50 allows 4.00 ms"),
        (12, "the serving process needed 100.0 MB, gates.peak_memory allows 99.0 MB"),
    ]


def test_what_an_emulator_takes_breaks_no_gate() -> None:
    gates = gated(cold_start=1.5, latency_p50=0.004, peak_memory=99_000_000, first_answer=2.4)
    require_measures(gates, replace(SMOKE, emulated=True))
    with pytest.raises(GateError):
        require_measures(gates, SMOKE)


SOAK = Soak(requests=900, rss_bytes=140_000_000, growth_bytes=40_000_000, peak_rss_bytes=150_000_000)


def test_memory_that_grows_is_told_with_what_it_came_to() -> None:
    with pytest.raises(GateError) as caught:
        require_measures(gated(rss_growth=32_000_000), replace(SMOKE, soak=SOAK))
    assert str(caught.value.problems[0]) == (
        "spec.yaml:10:3: over 900 requests of all declared sizes memory grew by 40.0 MB to 140.0 MB, "
        "gates.rss_growth allows 32.0 MB (lower the greatest sizes in `dynamic_axes`, or raise the gate)"
    )


@pytest.mark.parametrize("soak", [None, SOAK, replace(SOAK, growth_bytes=None)])
def test_memory_that_grows_by_no_more_than_the_gate_passes(soak: Soak | None) -> None:
    require_measures(gated(rss_growth=40_000_000), replace(SMOKE, soak=soak))
    assert soak is None or soak.growth_bytes in (None, 40_000_000)


def test_one_broken_gate_is_told_alone() -> None:
    with pytest.raises(GateError) as caught:
        require_measures(gated(cold_start=60.0, latency_p50=0.004), SMOKE)
    assert len(caught.value.problems) == 1


def test_a_late_first_answer_is_told_with_what_makes_it_late() -> None:
    with pytest.raises(GateError) as caught:
        require_measures(gated(first_answer=1.5), SMOKE)
    assert "runtime.warmup" in caught.value.problems[0].hint


def test_a_first_answer_without_later_ones_is_not_judged() -> None:
    alone = replace(SMOKE, later_answer_seconds=None)
    assert alone.first_answer is None
    require_measures(gated(first_answer=1.5), alone)


def test_a_score_that_is_too_low_is_told_with_the_sources() -> None:
    problem = judge_score(gated(min_score=0.92), "int8-static", SCORED)
    assert str(problem) == (
        "spec.yaml:10:3: int8-static: accuracy 0.91, gates.min_score asks for 0.92 "
        "(the source model has 0.93: set a wider `precision`, or list the worst nodes in `exclude_nodes`)"
    )


def test_a_score_that_the_source_lacks_too_is_not_blamed_on_the_precision() -> None:
    problem = judge_score(gated(min_score=0.95), "float32", SCORED)
    assert problem
    assert problem.hint == "the source model itself has only 0.93: train a better one, or lower the gate"


def test_a_loss_of_score_is_told_with_its_place() -> None:
    problem = judge_degradation(gated(max_degradation=0.01), "float16", SCORED)
    assert problem
    assert problem.where == Location("spec.yaml", 10, 3)


def test_a_precision_that_does_not_help_is_told_with_the_gate_or_else_the_target() -> None:
    base, slow = Candidate("float32", size_bytes=100), Candidate("float16", size_bytes=100, speedup=0.9)
    problem = judge_help(gated(min_speedup=1.0), slow, base)
    assert problem
    assert problem.where == Location("spec.yaml", 10, 3)
    problem = judge_help(gated(), slow, base)
    assert problem
    assert problem.where == Location("spec.yaml", 3, 5)


def test_what_is_found_later_still_has_its_place_in_the_spec(file: SpecFile) -> None:
    assert file.where("inputs", "x") == Location(str(file.path), 5, 3)
    assert file.where("gates", "image_size") == Location(str(file.path), 1, 1)
    assert SpecFile.from_json(file.to_json()).where("inputs", "x") == Location(str(file.path))


# Gates that a build did not judge

EVERY: dict[str, Any] = {gate.name: 1 for gate in fields(Gates)}
WHOLE = BuildFacts(
    precision="int8-static",
    has_evaluation=True,
    scored=True,
    speed_measured=True,
    image_built=True,
    container_ran=True,
    gpu_missing=False,
    gpu=True,
    memory_soaked=True,
)
MEASURED = ("cold_start", "first_answer", "latency_p50", "peak_memory", "rss_growth", "gpu_nodes")
MISSED: dict[str, tuple[BuildFacts, dict[str, str]]] = {
    "everything was judged": (WHOLE, {}),
    "no engine": (
        replace(WHOLE, image_built=False, container_ran=False),
        dict.fromkeys(("image_size", *MEASURED), "no image was built"),
    ),
    "until the image": (replace(WHOLE, container_ran=False), dict.fromkeys(MEASURED, "the image was not run")),
    "another kind of machine": (
        replace(WHOLE, speed_measured=False, foreign=True),
        {"min_speedup": "this machine is of another kind"},
    ),
    "an emulator": (replace(WHOLE, emulated=True), dict.fromkeys(MEASURED, "the image ran under emulation")),
    "no GPU": (
        replace(WHOLE, speed_measured=False, container_ran=False, gpu_missing=True),
        dict.fromkeys(("min_speedup", *MEASURED), "no GPU is here"),
    ),
    "no engine and no GPU": (
        replace(WHOLE, speed_measured=False, image_built=False, container_ran=False, gpu_missing=True),
        {"min_speedup": "no GPU is here"} | dict.fromkeys(("image_size", *MEASURED), "no image was built"),
    ),
    "too slow for many requests": (
        replace(WHOLE, memory_soaked=False),
        {"rss_growth": "too few requests were answered in its time"},
    ),
    "a device without a GPU": (replace(WHOLE, gpu=False), {"gpu_nodes": "the device has no GPU"}),
    "float32": (
        replace(WHOLE, precision="float32", speed_measured=False),
        {"min_speedup": "the precision is float32"},
    ),
    "a speed of another device": (replace(WHOLE, speed_measured=False), {"min_speedup": "no speed was measured"}),
    "no evaluation data": (
        replace(WHOLE, has_evaluation=False, scored=False),
        dict.fromkeys(("max_degradation", "min_score"), "the spec has no evaluation data"),
    ),
    "until verify": (
        replace(WHOLE, scored=False),
        dict.fromkeys(("max_degradation", "min_score"), "the build ended before the model was scored"),
    ),
}


@pytest.mark.parametrize("kind", MISSED)
def test_a_gate_that_was_not_judged_is_named_with_the_reason(kind: str) -> None:
    facts, missed = MISSED[kind]
    assert {found.gate: found.why for found in list_gates_not_judged(Gates(**EVERY), facts)} == missed


def test_only_gates_that_are_set_can_be_missed() -> None:
    nothing = BuildFacts("float32", False, False, False, False, False, False)
    assert {found.gate for found in list_gates_not_judged(Gates(**EVERY), nothing)} == set(EVERY)
    assert list_gates_not_judged(Gates(), nothing) == ()
    assert list_gates_not_judged(Gates(image_size=1), nothing) == (NotJudged("image_size", "no image was built"),)


def test_a_new_gate_that_nothing_judges_is_never_passed_over() -> None:
    @dataclass(frozen=True)
    class More(Gates):
        planted: int | None = field(default=None)

    assert list_gates_not_judged(More(planted=1), WHOLE) == (NotJudged("planted", "no stage judges it"),)
