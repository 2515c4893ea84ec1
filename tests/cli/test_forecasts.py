"""Forecasts as words, as documents, and as the jobs of pipelines."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from onnxpack.cli.forecasts import show_gitlab, show_json, show_markdown, show_matrix, show_text
from onnxpack.pipeline.forecast import (
    CHANGED,
    FAILED,
    NEW,
    NOTHING,
    TOUCHED,
    Effect,
    Forecast,
    StageForecast,
)  # fmt: skip

GOLDEN = Path(__file__).parents[1] / "golden/plan"
FOUND = [
    Forecast("specs/iris/spec.yaml", "iris", "cpu", NOTHING),
    Forecast(
        "specs/spam/spec.yaml",
        "spam",
        "cpu",
        CHANGED,
        stages=(
            StageForecast("base", "unchanged"),
            StageForecast("export", "runs", ("opset 17 → 18", "spam.joblib changed")),
            StageForecast("verify", "follows", ("its input changes",)),
            StageForecast("bundle", "runs", ("onnxruntime 1.31.1 → 1.32.0 in the lock",)),
        ),
        effects=(Effect("input 'text' was removed", breaking=True), Effect("output 'more' is new", breaking=False)),
    ),
    Forecast(
        "specs/new spec.yaml",
        "new",
        "cuda",
        NEW,
        stages=(StageForecast("export", "runs", ("it was never built here",)),),
    ),
    Forecast("specs/bad.yaml", "", "", FAILED, ("unknown field '<b>x</b>`|\x1b'",)),
    Forecast("specs/two.yaml", "two", "cpu", TOUCHED, ("specs/two.yaml changed",)),
]


@pytest.mark.parametrize(
    ("show", "name"),
    [
        (show_text, "plan.txt"), (show_json, "plan.json"), (show_markdown, "plan.md"), (show_matrix, "matrix.json"),
        (show_gitlab, "gitlab.yml"),
    ],
)  # fmt: skip
def test_forecasts_are_shown_as_they_were(
    show: Callable[[list[Forecast]], str], name: str, expected: Callable[[Path, str], None]
) -> None:
    expected(GOLDEN / name, show(FOUND) + "\n")


def make(count: int, target: str = "cpu") -> list[Forecast]:
    return [Forecast(f"specs/{index}.yaml", f"m{index}", target, NEW) for index in range(count)]


@pytest.mark.parametrize("count", [0, 1, 256, 257, 1000])
def test_a_matrix_has_256_jobs_at_most_and_all_targets_once(count: int) -> None:
    found = [*make(count), *make(count, "cuda")]
    text = show_matrix(found)
    assert "\n" not in text
    jobs = json.loads(text)["include"]
    assert len(jobs) <= 256
    asked = [(spec, job["target"]) for job in jobs for spec in job["spec"].split()]
    assert sorted(asked) == sorted((one.spec, one.target) for one in found)


def test_a_comment_is_bounded_and_says_what_it_leaves_out() -> None:
    text = show_markdown(make(5000))
    assert len(text) < 65_536
    assert text.endswith("targets more: see the log of the job.")


def test_a_pipeline_of_gitlab_without_work_has_a_job_all_the_same() -> None:
    found = yaml.safe_load(show_gitlab([Forecast("a.yaml", "a", "cpu", NOTHING)]))
    assert found["nothing to build"]["script"] == ["true"]
