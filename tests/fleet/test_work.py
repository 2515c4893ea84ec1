"""Real jobs: the same results in this process, one by one, and in several processes at once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fleet_project import make_jobs, write_project

from onnxpack.cache.store import Store
from onnxpack.core.digests import digest_tree
from onnxpack.fleet.events import AnyEvent, Finished
from onnxpack.fleet.executor import Executor
from onnxpack.fleet.figures import read_figures
from onnxpack.fleet.here import ThisProcess
from onnxpack.fleet.job import Job, Outcome
from onnxpack.fleet.local import LocalProcesses
from onnxpack.fleet.work import crash_job, run_job

_NAMES = ("one", "two", "three")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    write_project(folder, *_NAMES)
    monkeypatch.chdir(folder)
    return folder


def run(executor: Executor, jobs: Sequence[Job]) -> dict[str, Outcome]:
    events: list[AnyEvent] = []
    executor.run(jobs, events.append)
    return {jobs[event.job].name: event.outcome for event in events if isinstance(event, Finished)}


def read_outputs(output: Path) -> dict[str, Any]:
    """Return the digests of all outputs, and the reports without what differs from run to run."""
    found: dict[str, Any] = {
        name: known for name, known in digest_tree(output).items() if not Path(name).name.startswith("report")
    }
    for path in output.rglob("report.json"):
        report = json.loads(path.read_text())
        report["stages"] = [(stage["name"], stage["key"]) for stage in report["stages"]]
        found[str(path.relative_to(output))] = report | {"parity": str(report["parity"])}
    return found


def test_jobs_give_the_same_at_once_and_one_by_one_and_then_are_unchanged(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, many = tmp_path / "one/dist", tmp_path / "many/dist"
    alone = run(ThisProcess(Store(tmp_path / "one/store")), make_jobs(project, one, *_NAMES))
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "many/store"))
    jobs = make_jobs(project, many, *_NAMES)
    together = run(LocalProcesses(2), jobs)
    assert {outcome.state for outcome in (*alone.values(), *together.values())} == {"built"}
    assert read_outputs(one) == read_outputs(many)
    assert len([name for name in read_outputs(many) if name.endswith("model.onnx")]) == 3
    figures = read_figures(Store(tmp_path / "many/store"), project / "one.yaml", "cpu")
    assert figures.peak_bytes == together["one"].peak_bytes > 10**7
    again = run(LocalProcesses(2), jobs)
    assert {outcome.state for outcome in again.values()} == {"unchanged"}
    assert not list((tmp_path / "many/store/locks").iterdir())


def test_a_job_of_a_spec_that_changed_its_name_is_refused(project: Path, tmp_path: Path) -> None:
    (job,) = make_jobs(project, tmp_path / "dist", "one")
    (project / "one.yaml").write_text((project / "one.yaml").read_text().replace("name: one", "name: other"))
    outcome = run_job(job, Store(tmp_path / "store"), lambda event: None)
    assert (outcome.state, outcome.exit_code) == ("failed", 2)
    assert "the spec changed while it waited to be built: it was 'one' with a target 'cpu'" in str(outcome.error)
    assert not (tmp_path / "dist").exists()


def test_a_bug_ends_its_own_job_alone(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("nobody expected this: token=hunter2hunter2")

    monkeypatch.setattr("onnxpack.fleet.work.build", break_down)
    found = run(ThisProcess(Store(tmp_path / "store")), make_jobs(project, tmp_path / "dist", "one", "two"))
    assert [(outcome.state, outcome.exit_code, outcome.error) for outcome in found.values()] == [
        ("failed", 1, None), ("failed", 1, None),
    ]  # fmt: skip
    assert "RuntimeError: nobody expected this" in found["two"].crash
    assert "break_down" in found["two"].crash


def test_a_bug_without_words_is_told_by_its_type(project: Path, tmp_path: Path) -> None:
    (job,) = make_jobs(project, tmp_path, "one")
    assert crash_job(job, KeyError()).document["problems"][0]["message"] == "unexpected KeyError"
