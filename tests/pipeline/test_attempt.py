"""``dist`` shows the last attempt: what failed leaves its report and nothing that could be taken for a result."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import Here, write_spec
from onnx_examples import MATMUL, RELU, constant, make_model
from told import Told

from onnxpack.cache.store import Store
from onnxpack.core.errors import GateError, SourceError, SpecError
from onnxpack.image.docker import DockerEngine
from onnxpack.pipeline import attempt as attempts
from onnxpack.pipeline.attempt import Wanted, build, mark_failed
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.report import Attempt
from onnxpack.pipeline.run import Build
from onnxpack.spec.load import SpecFile

MODEL = {"framework": "onnx", "path": "m.onnx"}
Run = Callable[..., Attempt]


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    folder = tmp_path / "project"
    folder.mkdir()
    onnx.save(make_model(RELU), folder / "m.onnx")
    return write_spec(folder, MODEL)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for module in ("runner", "verify"):
        monkeypatch.setattr(f"onnxpack.pipeline.{module}.call", Here())

    def built(file: SpecFile, output: str = "dist/example/cpu", **wanted: Any) -> Attempt:
        plan = Plan(file, "cpu", tmp_path / output)
        return build(
            Build(plan, Store(tmp_path / "store"), DockerEngine(), Told()), Wanted(**{"until": "optimize", **wanted})
        )

    return built


def report(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text()))


def test_a_build_that_fails_leaves_its_report_alone(run: Run, file: SpecFile, tmp_path: Path) -> None:
    output = tmp_path / "dist/example/cpu"
    assert run(file).passed
    assert report(output)["status"] == "passed"
    (output / "context").mkdir()
    (file.folder / "m.onnx").write_bytes(b"no model any more")
    failed = run(file)
    assert type(failed.error) is SourceError
    assert sorted(path.name for path in output.iterdir()) == ["report.html", "report.json"]
    found = report(output)
    assert (found["status"], found["stage"], found["exit_code"]) == ("failed", "export", 3)
    assert "'m.onnx' is not an ONNX model" in found["problems"][0]["message"]
    assert (found["model"], found["image"], found["last_good"]) == (None, None, None)
    assert list(output.parent.iterdir()) == [output]


def test_the_stage_that_failed_is_named(run: Run, file: SpecFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise GateError("planted")

    monkeypatch.setattr("onnxpack.pipeline.verify.require_parity", refuse)
    assert run(file).failed_stage == "verify"


def test_the_last_good_output_is_put_aside_where_that_is_asked_for(run: Run, file: SpecFile, tmp_path: Path) -> None:
    output = tmp_path / "dist/example/cpu"
    run(file)
    model = (output / "model.onnx").read_bytes()
    (file.folder / "m.onnx").write_bytes(b"broken")
    for _ in range(2):
        failed = run(file, keep_last=True)
        assert failed.last_good
        assert (failed.last_good / "model.onnx").read_bytes() == model
        assert report(output)["last_good"] == str(failed.last_good)
        assert report(failed.last_good)["status"] == "passed"
    assert sorted(path.name for path in output.iterdir()) == ["report.html", "report.json"]


def test_what_killed_builds_left_beside_the_spec_and_the_last_outputs_is_swept(
    run: Run, file: SpecFile, tmp_path: Path
) -> None:
    left = [
        folder / ".onnxpack-abandone" for folder in (file.folder, tmp_path / "store/last", tmp_path / "dist/example")
    ]
    for folder in left:
        folder.mkdir(parents=True)
    assert run(file).passed
    assert [folder for folder in left if folder.exists()] == []


def test_a_place_that_is_another_specs_is_refused_and_left(run: Run, file: SpecFile, tmp_path: Path) -> None:
    run(file)
    before = report(tmp_path / "dist/example/cpu")
    other = shutil.copytree(file.folder, tmp_path / "copy")
    twin = write_spec(other, MODEL)
    with pytest.raises(SpecError, match="which has the same name"):
        run(twin)
    assert report(tmp_path / "dist/example/cpu") == before
    file.path.unlink()
    assert run(twin).passed, "a spec that is gone has no claim"


def test_a_spec_that_cannot_be_read_any_more_marks_its_outputs(run: Run, file: SpecFile, tmp_path: Path) -> None:
    onnx.save(make_model(MATMUL, constants=[constant("w")]), tmp_path / "project" / "other.onnx")
    run(file)
    twin = write_spec(file.folder, MODEL | {"path": "other.onnx"})
    run(replace(twin, path=file.folder / "other.yaml"), "dist/other/cpu")
    mark_failed(tmp_path / "dist", file.path, SpecError("planted"))
    broken = report(tmp_path / "dist/example/cpu")
    assert (broken["status"], broken["stage"], broken["problems"][0]["message"]) == ("failed", "spec", "planted")
    assert (broken["name"], broken["target"]) == ("example", "cpu")
    assert sorted(path.name for path in (tmp_path / "dist/example/cpu").iterdir()) == ["report.html", "report.json"]
    assert report(tmp_path / "dist/other/cpu")["status"] == "passed"


def test_the_model_that_was_judged_is_the_model_that_ships(
    run: Run, file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flip(source: Path, target: Path) -> None:
        data = bytearray(source.read_bytes())
        data[-1] ^= 1
        target.write_bytes(data)

    monkeypatch.setattr(attempts.shutil, "copyfile", flip)
    with pytest.raises(AssertionError, match="not the model that ships"):
        run(file)


def test_an_interrupt_leaves_the_last_output(
    run: Run, file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(file)
    before = sorted((tmp_path / "dist/example/cpu").iterdir())

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxpack.pipeline.verify.compare", stop)
    with pytest.raises(KeyboardInterrupt):
        run(file)
    assert sorted((tmp_path / "dist/example/cpu").iterdir()) == before
    assert report(tmp_path / "dist/example/cpu")["status"] == "passed"


def put_file(place: Path) -> None:
    place.write_text("mine")


def put_users_folder(place: Path) -> None:
    place.mkdir()
    (place / "report.json").write_text(json.dumps({"status": "passed", "title": "of another tool"}))


def put_link(place: Path) -> None:
    place.with_name("mine").mkdir()
    place.symlink_to("mine")


def put_pipe_as_report(place: Path) -> None:
    place.mkdir()
    os.mkfifo(place / "report.json")


def put_deep_report(place: Path) -> None:
    place.mkdir()
    (place / "report.json").write_text("[" * 100_000)


@pytest.mark.parametrize("put", [put_file, put_users_folder, put_link, put_pipe_as_report, put_deep_report, os.mkfifo])
def test_output_in_whose_place_a_users_own_stands_is_refused_and_it_stays(
    run: Run, file: SpecFile, tmp_path: Path, put: Callable[[Path], object]
) -> None:
    place = tmp_path / "dist/example/cpu"
    place.parent.mkdir(parents=True)
    put(place)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(SpecError, match="dist/example/cpu"):
        run(file)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before, "nothing was built and nothing is gone"


def test_output_in_whose_place_an_empty_folder_is_takes_it(run: Run, file: SpecFile, tmp_path: Path) -> None:
    (tmp_path / "dist/example/cpu").mkdir(parents=True)
    assert run(file).passed


def test_output_whose_place_is_taken_while_it_is_built_is_refused(
    run: Run, file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "dist/example/cpu"
    written = attempts._write

    def take(attempt: Attempt, folder: Path) -> None:
        written(attempt, folder)
        place.mkdir()
        (place / "notes").touch()

    monkeypatch.setattr(attempts, "_write", take)
    with pytest.raises(SpecError, match="which onnxpack did not make"):
        run(file)
    assert [path.name for path in place.iterdir()] == ["notes"]
    assert list(place.parent.iterdir()) == [place]
