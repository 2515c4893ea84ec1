"""Conversion without the converter's environment: what it is asked, how its answers are judged, what is left."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_examples import FLOAT, RELU, make_model
from told import Told

import onnxpack.convert.conversion
from onnxpack.cache.store import Store
from onnxpack.cache.trace import Trace
from onnxpack.convert.conversion import Conversion, convert
from onnxpack.convert.reference import compare_layouts
from onnxpack.convert.tensorflow import ConvertModel, RunConverted
from onnxpack.core.errors import GateError, SourceError, SpecError
from onnxpack.data.test_inputs import read_arrays, write_arrays
from onnxpack.inspection.child import describe_onnx
from onnxpack.spec.load import SpecFile
from onnxpack.worker import Task
from onnxpack.worker.call import Outcome, Setting, call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    values = [[(name, FLOAT, ["n", 4])] for name in "xy"]
    onnx.save(make_model(RELU, *values), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Converts with a converter that answers what ``factor`` makes of the right answers."""
    asked: list[Task[Any]] = []
    monkeypatch.setattr(onnxpack.convert.conversion, "ensure_converter", lambda store, progress: Path("python"))

    def converting(model: Path, factor: float = 1.0, kind: str = "tflite", **sizes: int) -> Any:
        def planted(task: Task[Any], setting: Setting) -> Outcome[Any]:
            if setting.python is None:
                return call(task, setting)
            asked.append(task)
            if isinstance(task, ConvertModel):
                (task.place / "variables").mkdir(parents=True)
                (task.place / "variables" / "v").write_text("v")
                for name in ("model.tflite", "saved_model.pb"):
                    (task.place / name).write_text(name)
            else:
                assert isinstance(task, RunConverted)
                for number in range(task.cases):
                    right = read_arrays(task.place / f"{number}.outputs.npz")
                    wrong = {name: array * np.float32(factor) for name, array in right.items()}
                    write_arrays(task.place / f"{number}.actual.npz", wrong)
            return Outcome(None, b"", Trace())

        monkeypatch.setattr(onnxpack.convert.conversion, "call", planted)
        wanted = Conversion(model, kind, tmp_path / "out", sizes)
        return convert(wanted, Store(tmp_path / "cache"), Told()), asked

    return converting


def test_the_batch_stays_free_and_is_compared_at_two_sizes(run: Any, model: Path, tmp_path: Path) -> None:
    found, asked = run(model)
    assert asked[0].shapes == {"x": ("n", 4)}
    assert asked[1].outputs == ("y",)
    assert (len(found.rows), found.fixed) == (2, {})
    assert (tmp_path / "out").read_text() == "model.tflite"
    assert not list(tmp_path.glob(".out*"))
    assert json.loads(onnxpack.convert.conversion.as_text(found))["comparisons"] == 2


def test_a_conversion_in_a_sandbox_confines_every_process(
    run: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(model)  # plants the converter
    planted, confined = onnxpack.convert.conversion.call, []

    def listening(task: Task[Any], setting: Setting) -> Outcome[Any]:
        confined.append((task.NAME, setting.sandbox))
        return planted(task, replace(setting, sandbox=False))

    def describing(path: Path, *, sandbox: bool) -> SpecFile:
        confined.append(("describe", sandbox))
        return describe_onnx(path)

    monkeypatch.setattr(onnxpack.convert.conversion, "call", listening)
    monkeypatch.setattr(onnxpack.convert.conversion, "describe_onnx", describing)
    for sandbox in (False, True):
        confined.clear()
        wanted = Conversion(model, "tflite", tmp_path / "out", {}, sandbox)
        convert(wanted, Store(tmp_path / "cache"), Told())
        assert confined == [(name, sandbox) for name in ("describe", "run", "convert", "verify", "verify")]


def test_a_size_that_is_asked_for_is_fixed(run: Any, model: Path) -> None:
    found, asked = run(model, n=5)
    assert asked[0].shapes == {"x": (5, 4)}
    assert (len(found.rows), found.fixed) == (1, {"n": 5})


def test_a_saved_model_is_a_folder(run: Any, model: Path, tmp_path: Path) -> None:
    run(model, kind="savedmodel")
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*"))
    assert files == ["saved_model.pb", "variables", "variables/v"]


@pytest.mark.parametrize("kind", ["tflite", "savedmodel"])
def test_a_conversion_that_answers_otherwise_leaves_nothing(run: Any, model: Path, tmp_path: Path, kind: str) -> None:
    with pytest.raises(GateError, match="the converted model differs from the ONNX file: 2 of 2") as caught:
        run(model, factor=1.1, kind=kind)
    assert "y" in caught.value.problems[0].detail
    assert not (tmp_path / "out").exists()


def test_an_axis_that_is_not_there_is_refused(run: Any, model: Path) -> None:
    with pytest.raises(SpecError, match="the model has no axis 'm'"):
        run(model, m=3)


def test_file_that_is_not_a_model_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises((SourceError, SpecError)):
        run(tmp_path / "text.onnx")


def test_channels_that_went_last_are_told() -> None:
    right = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    assert compare_layouts("y", right, right, "0")[1] is False
    row, moved = compare_layouts("y", right, np.moveaxis(right, 1, -1), "0")
    assert (row.reason, moved) == ("", True)
    assert compare_layouts("y", right, right[::-1] + 1, "0")[0].reason


def test_saved_model_in_whose_place_a_users_folder_stands_is_refused(run: Any, model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").touch()
    with pytest.raises(SpecError, match="not a SavedModel"):
        convert(Conversion(model, "savedmodel", tmp_path / "mine", {}), Store(tmp_path / "store"), Told())
    assert (tmp_path / "mine/notes").exists()
