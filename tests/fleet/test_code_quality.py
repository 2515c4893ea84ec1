"""GitLab's code quality report: an issue for each problem, at a path in the repository."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fleet_rows import make_failure, make_hostile_rows, make_rows

from onnxpack.core.errors import Location, Problem
from onnxpack.fleet.code_quality import render_code_quality
from onnxpack.fleet.job import Outcome
from onnxpack.fleet.rows import Row

_GOLDEN = Path(__file__).parents[1] / "golden/fleet/code-quality.json"


def test_document_is_the_golden_one(
    expected: Callable[[Path, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    expected(_GOLDEN, render_code_quality(make_rows()))


def test_issue_that_moved_is_the_same_one_and_another_one_is_not(tmp_path: Path) -> None:
    def issue(message: str, line: int) -> dict[str, object]:
        problem = Problem(message, where=Location(str(tmp_path / "a.yaml"), line, 1))
        row = Row(tmp_path / "a.yaml", "a", "cpu", Outcome(0, "failed", make_failure(problem, problem)))
        (found,) = json.loads(render_code_quality([row]))  # the same problem twice is one issue
        assert isinstance(found, dict)
        return found

    assert issue("x", 1)["fingerprint"] == issue("x", 5)["fingerprint"] != issue("y", 1)["fingerprint"]
    assert issue("x", 5)["location"] == {"path": "a.yaml", "lines": {"begin": 5}}


def test_hostile_texts_are_one_line_each() -> None:
    (issue,) = json.loads(render_code_quality(make_hostile_rows()))
    assert issue["description"].isprintable()
    assert not Path(issue["location"]["path"]).is_absolute()


def test_nothing_failed_is_an_empty_list() -> None:
    built = replace(make_rows()[0])
    assert json.loads(render_code_quality([built])) == []
