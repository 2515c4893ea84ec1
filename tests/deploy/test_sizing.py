"""Figures become requests, limits and numbers of Pods."""

from pathlib import Path
from typing import Any

import pytest
from deploying import LOAD, make_build

from onnxpack.core.errors import SpecError
from onnxpack.deploy.sizing import Goals, Sizing, make_sizing
from onnxpack.timing.queueing import predict_p99


def size(tmp_path: Path, goals: Goals | None = None, **changes: Any) -> Sizing:
    return make_sizing(make_build(tmp_path, **changes), goals or Goals())


def test_a_pod_asks_for_what_the_server_used_at_its_highest_rate(tmp_path: Path) -> None:
    sizing = size(tmp_path)
    assert sizing.cpu_request == 1200, "12,000 requests a second of 0.1 ms"
    assert sizing.cpu_limit == sizing.threads == 2
    assert (sizing.min_replicas, sizing.max_replicas, sizing.utilisation) == (2, 10, 65)
    assert (sizing.capacity, sizing.planned_rate) == (12000.0, 7800.0)
    # 80 MB, 16 MiB of bodies and 0.1 MB for each of 8 clients, and a fifth, in steps of 16 MiB.
    assert sizing.memory == 112
    assert sizing.memory * 2**20 >= (80e6 + 16 * 2**20 + 8e5) * 1.2 > (sizing.memory - 16) * 2**20
    assert sizing.notes == ()


def test_large_bodies_are_counted_twice(tmp_path: Path) -> None:
    assert size(tmp_path, serving={"max_body_bytes": 64 * 2**20}).memory == 256


@pytest.mark.parametrize(
    ("serving", "limit", "threads"),
    [({"threads": 4}, 4, 4), ({"threads": 1, "workers": 3}, 3, 1), ({"workers": 2}, 2, 1), ({}, 2, 2)],
)
def test_threads_are_the_specs_or_follow_from_the_limit(
    tmp_path: Path, serving: dict[str, int], limit: int, threads: int
) -> None:
    sizing = size(tmp_path, serving=serving)
    assert (sizing.cpu_limit, sizing.threads) == (limit, threads)


def test_a_limit_is_no_more_than_a_small_model_could_use(tmp_path: Path) -> None:
    load = LOAD | {"cores": 64}
    assert size(tmp_path / "a", smoke={"load": load}).cpu_limit == 2
    assert size(tmp_path / "b", smoke={"load": load | {"cpu_seconds": 0.004}}).cpu_limit == 64
    assert size(tmp_path / "c", smoke={"load": load | {"cpu_seconds": 0.0}}).cpu_request == 100


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(1.0, 2, 4), (7800.0 * 2, 2, 4), (7800.0 * 2 + 1, 3, 6), (1e6, 129, 258)]
)
def test_pods_are_as_many_as_a_rate_needs(tmp_path: Path, rate: float, low: int, high: int) -> None:
    sizing = size(tmp_path, Goals(rate=rate))
    assert (sizing.min_replicas, sizing.max_replicas) == (low, high)


def test_a_goal_for_p99_lowers_the_load_of_a_pod(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    assert build.figures.load
    strict, loose = make_sizing(build, Goals(p99=0.0006)), make_sizing(build, Goals(p99=10.0))
    assert strict.planned_rate
    assert strict.planned_rate < 7800
    assert strict.utilisation == round(strict.planned_rate / 120)
    assert predict_p99(build.figures.load, strict.planned_rate) <= 0.0006
    assert loose.planned_rate == 12000 * 0.85, "no Pod is planned for its last requests"
    with pytest.raises(SpecError, match=r"p99 of 100 µs cannot be kept: one request alone takes"):
        make_sizing(build, Goals(p99=0.0001))


def test_without_figures_goals_cannot_be_judged_and_guesses_are_called_so(tmp_path: Path) -> None:
    build = make_build(tmp_path, smoke={"load": None}, serving={"threads": 3})
    sizing = make_sizing(build, Goals())
    assert (sizing.cpu_request, sizing.cpu_limit, sizing.threads, sizing.planned_rate) == (3000, 3, 3, None)
    assert "guesses" in sizing.notes[0]
    assert sizing.memory == 112, "memory was measured all the same"
    with pytest.raises(SpecError, match="measured no load to judge --rate and --p99 by"):
        make_sizing(build, Goals(1.0, 1.0))


def test_an_image_that_was_never_run_gets_the_usual_memory_and_its_models(tmp_path: Path) -> None:
    build = make_build(tmp_path, smoke=None)
    least = make_sizing(build, Goals()).memory
    assert 300 < least < 400
    build.model.write_bytes(bytes(100 * 2**20))
    assert make_sizing(build, Goals()).memory - least == 240


def test_a_busy_machine_is_told(tmp_path: Path) -> None:
    (note,) = size(tmp_path, smoke={"load": LOAD | {"other_cpus": 1.0}}).notes
    assert note.startswith("Other programs used 1.0 CPUs")
