"""The goals and tables that benchmarks/image writes, from figures that are made up."""

from pathlib import Path

import pytest

from benchmarks.image import figures as measures
from benchmarks.image.figures import Cell, Figures
from benchmarks.image.goals import judge_engines, judge_goals, judge_push, judge_rebuild, judge_repeat, judge_sizes
from benchmarks.image.measure import Course, Run
from benchmarks.image.models import find_spec_name, write_spec
from benchmarks.image.ours import sum_stages
from benchmarks.image.processes import RunError, find_reason
from benchmarks.image.subjects import BENTOML, IRIS, MODELS, ONNX, OURS, RESNET, SLIM, SMALLEST, TORCH, USUAL
from benchmarks.image.tables import SIZES, write_page, write_table
from benchmarks.image.usual import pin
from benchmarks.serving.goals import Goal
from onnxpack.spec.load import load

DOCKER, OCI = SMALLEST


def make_figures(*samples: tuple[str, str, str, float]) -> Figures:
    figures = Figures()
    for subject, model, measure, value in samples:
        figures.add(Cell(subject, model, measure), value)
    return figures


def test_a_figure_is_the_median_of_its_samples() -> None:
    figures = make_figures(*((ONNX, IRIS, measures.START, value) for value in (3.0, 1.0, 9.0)))
    assert figures.find(ONNX, IRIS, measures.START) == 3.0
    assert figures.find(ONNX, RESNET, measures.START) is None


def test_goals_without_figures_are_unknown_and_none_is_left_out() -> None:
    goals = judge_goals(Figures())
    assert {goal.reached for goal in goals} == {None}
    assert len({goal.title for goal in goals}) == len(goals) == 18


@pytest.mark.parametrize(("ours", "met"), [(35.9e6, True), (36.1e6, False)])
def test_sizes_are_judged_against_the_usual_image_of_the_same_model(ours: float, met: bool) -> None:
    figures = make_figures((DOCKER, IRIS, measures.PLAIN, ours), (ONNX, IRIS, measures.PLAIN, 100e6))
    iris, resnet, torch = judge_sizes(figures)
    assert iris.reached is not None
    assert (iris.reached >= 1) is met
    assert resnet.reached is None
    assert TORCH in torch.title


def test_an_image_with_openblas_may_be_larger_and_says_so() -> None:
    figures = make_figures(
        (DOCKER, IRIS, measures.PLAIN, 41e6), (ONNX, IRIS, measures.PLAIN, 100e6), (OCI, IRIS, measures.OPENBLAS, 1.0)
    )
    goal = judge_sizes(figures)[0]
    assert "OpenBLAS" in goal.title
    assert goal.reached == pytest.approx(0.42 / 0.41)


def test_a_rebuild_is_told_beside_both_orders_of_a_dockerfile() -> None:
    figures = make_figures(
        (DOCKER, IRIS, measures.CHANGED, 6.0),
        (DOCKER, IRIS, measures.CHANGED_PACKING, 1.0),
        (ONNX, IRIS, measures.CHANGED, 2.0),
        (ONNX, IRIS, measures.COLD, 30.0),
    )
    goal = judge_rebuild(figures, IRIS)
    assert goal.reached == pytest.approx(0.25 / 3)
    assert goal.measured.startswith("3.000 (6.00; 2.00 s), 1.00 s of it packing; 0.20 x if")


def test_the_slowest_build_of_nothing_new_is_judged_among_ours_alone() -> None:
    samples = [(subject.title, IRIS, measures.SAME, 1.0) for subject in OURS[:-1]]
    figures = make_figures(*samples, (OURS[-1].title, RESNET, measures.SAME, 1.3), (ONNX, IRIS, measures.SAME, 9.0))
    goal = judge_repeat(figures)
    assert goal.measured == "1.30 s"
    assert goal.reached == pytest.approx(1.2 / 1.3)


@pytest.mark.parametrize(("sent", "met"), [(510_000, True), (510_001, False)])
def test_a_push_may_send_the_model_and_ten_kilobytes(sent: int, met: bool) -> None:
    figures = make_figures((OCI, IRIS, measures.PUSH_BYTES, sent), (OCI, IRIS, measures.MODEL_BYTES, 500_000))
    reached = judge_push(figures, OCI, IRIS).reached
    assert reached is not None
    assert (reached >= 1) is met


def test_engines_are_compared_by_the_same_stage_of_the_same_model() -> None:
    figures = make_figures((DOCKER, IRIS, measures.COLD_STAGE, 8.0), (OCI, IRIS, measures.COLD_STAGE, 2.0))
    assert judge_engines(figures, IRIS, measures.COLD_STAGE).reached == pytest.approx(2.0)
    assert judge_engines(figures, IRIS, measures.CHANGED_STAGE).reached is None


def test_a_table_has_a_line_for_each_image_with_figures_and_why_one_has_none() -> None:
    figures = make_figures((ONNX, IRIS, measures.PLAIN, 280.04e6), (ONNX, IRIS, measures.START, 1.5))
    figures.troubles[BENTOML] = "no such package"
    lines = write_table(IRIS, SIZES, figures).splitlines()
    assert lines[2:] == [f"| {ONNX} | 280.0 |  |  | 1.50 |  |", f"| {BENTOML} | no such package |  |  |  |  |"]


def test_a_page_has_its_goals_and_two_tables_for_each_model() -> None:
    figures = make_figures((ONNX, IRIS, measures.PLAIN, 1e6), (TORCH, RESNET, measures.SAME, 1.0))
    text = write_page(MODELS, figures, [Goal("small", "2 MB", 0.5)])
    assert "| small | 2 MB | missed: 50% of it |" in text
    assert [text.count(f"**{model}: ") for model in MODELS] == [2, 2]


def test_stages_of_other_names_are_not_summed() -> None:
    report = {"stages": [{"name": "image", "seconds": 2.0}, {"name": "smoke", "seconds": 5.0}]}
    assert sum_stages(report, ("image", "compile")) == 2.0


def test_only_requirements_that_ask_for_it_get_the_version_of_this_machine() -> None:
    assert pin("fastapi") == "fastapi"
    assert pin("bentoml==1.4.40") == "bentoml==1.4.40"
    assert pin("numpy==").startswith("numpy==2")


@pytest.mark.parametrize("model", MODELS)
def test_a_written_spec_is_valid_and_has_the_base_and_a_name_of_its_own(model: str, tmp_path: Path) -> None:
    spec = load(write_spec(model, 0, SLIM, tmp_path / "spec") / "spec.yaml").spec
    assert (spec.name, spec.image.base) == (find_spec_name(model), SLIM)
    assert spec.name.startswith("benchmark-")


def test_another_variant_of_a_network_has_another_seed(tmp_path: Path) -> None:
    write_spec(RESNET, 3, SLIM, tmp_path)
    assert "kwargs: {classes: 10, seed: 3}" in (tmp_path / "spec.yaml").read_text()


def test_a_reason_is_the_last_error_without_folders_of_this_machine() -> None:
    assert find_reason(f"base … 2 s\nerror: no {Path.cwd()}/x\nsee above") == "error: no ./x"
    assert find_reason("cannot reach\nthe host") == "cannot reach the host"
    assert find_reason("") == "it said nothing"


class Failing:
    """Makes nothing."""

    subject = USUAL[0]

    def build_cold(self, model: str) -> dict[str, float]:
        raise RunError(f"no {model}")


def test_an_image_that_cannot_be_built_is_left_out_and_its_reason_kept(tmp_path: Path) -> None:
    run = Run([Failing()], Course((IRIS,), 1, 1, 1.0, tmp_path, lambda words: None))  # type: ignore[list-item]
    figures = run.measure_all()
    assert figures.troubles[ONNX] == f"no {IRIS}"
    assert not figures.samples
