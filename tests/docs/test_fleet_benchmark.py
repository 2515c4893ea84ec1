"""What benchmarks/fleet writes and makes of figures, without a measurement."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fleet.__main__ import PAGE, read_figures
from benchmarks.fleet.hand import ByHand
from benchmarks.fleet.measure import CHANGED, CLUSTER, FRESH, ONE_BY_ONE, PARALLEL, UNCHANGED, Figures, Run
from benchmarks.fleet.simulate import SCENES, Inputs, Scene, describe_costs, simulate
from benchmarks.fleet.specs import KINDS, write_fleet, write_spec
from benchmarks.fleet.tables import judge_goals, make_inputs, write_page, write_simulation
from benchmarks.fleet.watched import RunError, run_watched
from onnxpack.spec.load import load

INPUTS = Inputs((4.0, 2.0), 0.005, 0.5, 0.2, 0.001, 3e5, 12, 0.4)


def make_figures() -> Figures:
    """Return figures that reach every goal."""
    seconds = {ONE_BY_ONE: 600.0, PARALLEL: 300.0, UNCHANGED: 2.0, CHANGED: 8.0, FRESH: 40.0, CLUSTER: 320.0}
    built = {ONE_BY_ONE: 100, PARALLEL: 100, UNCHANGED: 0, CHANGED: 1, FRESH: 0, CLUSTER: 100}
    runs = {title: Run(seconds[title], 50.0, 10**9, built[title], 100 - built[title], 0) for title in seconds}
    hand = ByHand(3.0, 0.01, 20.0)
    return Figures(
        100, 2, 0.1, runs, {"export": 200.0, "smoke": 200.0}, [4.0, 2.0], 10**9, 10**8, 1200, 0.5, 1e-3, hand
    )


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*") if ".git" not in path.parts}


def test_a_fleet_is_valid_specs_that_differ_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    count = len(KINDS) + 1
    for name in ("a", "b"):
        files = write_fleet(tmp_path / name, count)
        assert len({load(file).spec.name for file in files}) == count
    first = read_tree(tmp_path / "a")
    assert first == read_tree(tmp_path / "b")
    models = [data for name, data in first.items() if not name.endswith((".yaml", ".py"))]
    assert len(set(models)) == len(models) >= count - 1


def test_a_variant_changes_one_model_and_keeps_its_form(tmp_path: Path) -> None:
    for file in write_fleet(tmp_path, len(KINDS)):
        before, number = read_tree(file.parent.parent), int(file.parent.name.split("-")[1])
        old = load(file).spec
        assert write_spec(tmp_path, number, 1) == file
        new, after = load(file).spec, read_tree(tmp_path)
        assert (new.inputs, new.name) == (old.inputs, old.name)
        changed = {Path(name).parent.name for name in after if after[name] != before[name]}
        assert changed == {file.parent.name}


def test_the_page_tells_goals_runs_and_what_it_costs_by_hand() -> None:
    figures = make_figures()
    assert {goal.reached is not None and goal.reached >= 1 for goal in judge_goals(figures)} == {True}
    text = write_page(figures)
    assert all(f"| {title} |" in text for title in figures.runs)
    assert "That is 321 s for 100 models" in text
    assert read_figures(figures.to_json()) == figures
    assert "<!-- made by benchmarks/fleet/simulate.py -->" in PAGE.read_text()


@pytest.mark.parametrize(("title", "run"), [(PARALLEL, {"seconds": 400.0}), (FRESH, {"export_or_resolve": 1})])
def test_a_goal_that_is_missed_is_told(title: str, run: dict[str, float]) -> None:
    figures = make_figures()
    figures.runs[title] = replace(figures.runs[title], **run)
    assert [goal.reached >= 1 for goal in judge_goals(figures) if goal.reached is not None].count(False) == 1


def test_a_simulation_gives_the_same_each_time_and_names_what_is_waited_for() -> None:
    few, many = (simulate(Scene("", 1000, 1000, workers), INPUTS) for workers in (2, 200))
    assert few == simulate(Scene("", 1000, 1000, 2), INPUTS)
    assert few.limit == "workers"
    assert few.seconds == pytest.approx(1500, rel=0.05)
    assert many.limit == "the command's own machine"
    assert many.seconds == pytest.approx(200, rel=0.05)
    assert simulate(Scene("", 1000, 0, 2), INPUTS).limit == "the look at what changed"
    assert simulate(Scene("", 1000, 1000, 2, parts=10), INPUTS).seconds < few.seconds / 8


def test_a_simulation_is_told_with_the_figures_that_it_is_made_of() -> None:
    inputs = make_inputs(make_figures())
    assert inputs.unchanged_seconds == pytest.approx(1.5 / 99)
    text = write_simulation(make_figures())
    assert all(f"| {scene.title} |" in text for scene in SCENES)
    assert describe_costs(inputs)["gigabytes"] == pytest.approx(700.0)


def test_a_command_is_measured_with_what_it_starts() -> None:
    child = "import time; held = bytearray(80_000_000); time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    watched = run_watched([sys.executable, "-c", code], {})
    assert watched.peak_bytes > 80_000_000
    assert watched.seconds > 1
    with pytest.raises(RunError, match="ended with 3: over"):
        run_watched([sys.executable, "-c", "import sys; sys.stderr.write('over'); sys.exit(3)"], {})
