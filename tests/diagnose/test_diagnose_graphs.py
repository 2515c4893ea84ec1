"""ONNX graphs and scikit-learn pipelines: the first value, or step, that differs; and the axis that is to blame."""

import hashlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from exporting import Made, export_here, write_spec
from onnx import helper
from onnx_examples import FLOAT, constant, make_model
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import onnxpack.sources.onnx
import onnxpack.sources.sklearn
from onnxpack.core.values import Axis
from onnxpack.diagnose import locate
from onnxpack.diagnose.axes import find_baked_axes, list_stopped_nodes
from onnxpack.diagnose.graphs import find_first_difference, run_all
from onnxpack.parity.compare import Tolerance
from onnxpack.spec.load import SpecFile

CHAIN = [
    helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
    helper.make_node("Relu", ["a"], ["b"], name="second"),
    helper.make_node("Add", ["b", "a"], ["y"], name="third"),
]
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def chain(operator: str = "Relu", weight: float = 1.0, output: str = "y") -> onnx.ModelProto:
    model = make_model(CHAIN, constants=[constant("w", np.eye(4, dtype=np.float32) * weight)])
    model.graph.node[1].op_type = operator
    model.graph.node[2].output[0] = model.graph.output[0].name = output
    return model


def equal(right: Any, got: Any) -> bool:
    return bool(np.array_equal(right, got))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (chain("Sigmoid"), "the Sigmoid node 'second' (value 'b') is the first that differs from the source's"),
        (chain(weight=2), "the MatMul node 'first' (value 'a') is the first that differs from the source's"),
        (chain(output="renamed"), ""),
        (chain(), ""),
    ],
    ids=["operator", "weight", "name", "same"],
)
def test_the_first_value_that_differs_is_found(tmp_path: Path, wrong: onnx.ModelProto, words: str) -> None:
    onnx.save(chain(), tmp_path / "right.onnx")
    onnx.save(wrong, tmp_path / "wrong.onnx")
    assert find_first_difference(tmp_path / "right.onnx", tmp_path / "wrong.onnx", {"x": X}, equal) == words


def test_every_value_can_be_seen_and_the_file_is_left_alone(tmp_path: Path) -> None:
    onnx.save(chain(), tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    found = run_all(tmp_path / "m.onnx", {"other": X}, ["a", "b", "y"])
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["b"], np.maximum(X, 0))
    assert list(run_all(tmp_path / "m.onnx", {"x": X}, ())) == ["y"]
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_bytes() == before


def test_graph_that_does_not_run_says_why(tmp_path: Path) -> None:
    onnx.save(chain(), tmp_path / "m.onnx")
    words = run_all(tmp_path / "m.onnx", {"x": X[:, :3]}, ())
    assert isinstance(words, str)
    assert "Got invalid dimensions for input: x" in words


# Axes

AXES = (Axis("n", 1, 8, 16), Axis("m", 1, 8, 16))


def test_the_axis_that_may_not_change_is_the_one_that_is_baked_in() -> None:
    lines = find_baked_axes(AXES, [{"n": 1, "m": 1}, {"n": 3, "m": 5}], lambda at: at["n"] == 2)
    assert lines == [
        "axis 'n' is baked in: it works at 2, the size that the export was made with, and fails at 1, 3; "
        "make the code independent of this size, or fix it in the spec"
    ]


def test_two_axes_that_were_made_one_are_both_named() -> None:
    lines = find_baked_axes(AXES, [{"n": 1, "m": 1}], lambda at: at["m"] - at["n"] == 1)
    assert [line.split()[1] for line in lines] == ["'n'", "'m'"]


@pytest.mark.parametrize("works", [True, False])
def test_wrong_numbers_at_every_size_bake_nothing(works: bool) -> None:
    assert find_baked_axes(AXES, [{"n": 1, "m": 1}], lambda at: works) == []
    assert find_baked_axes((), [{}], lambda at: works) == []


def test_nodes_are_found_in_the_runtimes_words() -> None:
    words = "Non-zero status code returned while running Add node. Name:'node_add' Status Message: no"
    assert list_stopped_nodes([words, "7 of 9 values differ", words]) == ["the Add node 'node_add' does not run"]


# Whole roads


def located(file: SpecFile, made: Made) -> str:
    reasons = {row.case: row.reason for row in reversed(made.rows()) if row.reason}
    assert reasons
    words = locate(file, made.model.path, made.reference, reasons, Tolerance())
    *lines, vote = words.splitlines()
    assert vote == "the source stands alone: onnx's reference evaluator gives what onnxruntime gives"
    return "\n".join(lines)


def test_an_onnx_file_that_was_converted_wrongly_is_bisected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(chain(), tmp_path / "m.onnx")
    file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, opset=20)
    convert = onnx.version_converter.convert_version

    def wrongly(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
        converted = convert(model, version)
        converted.graph.node[1].op_type = "Sigmoid"
        return converted

    monkeypatch.setattr(onnx.version_converter, "convert_version", wrongly)
    words = located(file, export_here(file, tmp_path / "out"))
    assert words == ("at case 00_n1: the Sigmoid node 'second' (value 'b') is the first that differs from the source's")


def test_the_step_of_a_pipeline_whose_converter_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = np.random.default_rng(0).random((20, 4))
    model = make_pipeline(StandardScaler(), MinMaxScaler(), LinearRegression()).fit(table, table[:, 0])
    joblib.dump(model, tmp_path / "m.joblib")
    digest = hashlib.sha256((tmp_path / "m.joblib").read_bytes()).hexdigest()
    file = write_spec(tmp_path, {"framework": "sklearn", "path": "m.joblib", "sha256": digest})
    export = onnxpack.sources.sklearn.export

    def wrongly(model: Any, file: SpecFile, example: Any, count: int, destination: Path) -> Any:
        names = export(model, file, example, count, destination)
        changed = onnx.load(destination)
        for tensor in changed.graph.initializer:
            if "scale" in tensor.name.lower() or "Mul" in tensor.name:
                tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 2, tensor.name))
        onnx.save(changed, destination)
        return names

    monkeypatch.setattr(onnxpack.sources.sklearn, "export", wrongly)
    words = located(file, export_here(file, tmp_path / "out"))
    assert words == "at case 00_n1: the step 'minmaxscaler' (MinMaxScaler) is the first that differs from the source's"


def test_estimator_without_a_pipeline_is_named_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(0).random((20, 4))
    joblib.dump(LinearRegression().fit(table, table[:, 0]), tmp_path / "m.joblib")
    digest = hashlib.sha256((tmp_path / "m.joblib").read_bytes()).hexdigest()
    file = write_spec(tmp_path, {"framework": "sklearn", "path": "m.joblib", "sha256": digest})
    export = onnxpack.sources.sklearn.export

    def wrongly(model: Any, *arguments: Any) -> Any:
        model.intercept_ += 1
        names = export(model, *arguments)
        model.intercept_ -= 1
        return names

    monkeypatch.setattr(onnxpack.sources.sklearn, "export", wrongly)
    words = located(file, export_here(file, tmp_path / "out"))
    assert words == "at case 00_n1: the whole LinearRegression is one step: its converter is what differs"


def test_first_difference_from_a_file_of_opset_6_is_named(tmp_path: Path) -> None:
    """onnxruntime does not run the source, so its values come from the evaluator."""
    values = (("x", FLOAT, [3, 4]), ("w", FLOAT, [3]))
    weights = np.array([1, 2, 3], np.float32)
    nodes = [
        helper.make_node("Add", ["x", "w"], ["a"], name="first", broadcast=1, axis=0),
        helper.make_node("Relu", ["a"], ["y"], name="second"),
    ]
    old = make_model(nodes, values, [("y", FLOAT, [3, 4])], [constant("w", weights)], opset=6, ir=3)
    onnx.save(old, tmp_path / "right.onnx")
    new = [helper.make_node("Add", ["x", "w"], ["a"], name="first"), nodes[1]]
    flat = constant("w", np.tile(weights[:, None] + 1, (1, 4)))
    onnx.save(make_model(new, values[:1], [("y", FLOAT, [3, 4])], [flat]), tmp_path / "wrong.onnx")
    words = find_first_difference(tmp_path / "right.onnx", tmp_path / "wrong.onnx", {"x": X}, equal)
    assert words == "the Add node 'first' (value 'a') is the first that differs from the source's"


@pytest.mark.parametrize("raised", [ValueError("no"), KeyError("x"), SystemExit(3), MemoryError()])
def test_locate_that_raises_is_told_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    onnx.save(chain(), tmp_path / "m.onnx")
    file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"})
    made = export_here(file, tmp_path / "out")

    def fail(file: SpecFile) -> Any:
        raise raised

    monkeypatch.setattr(onnxpack.sources.onnx, "load", fail)
    reasons = {"00_n1": "it differs"}
    found = locate(file, made.model.path, made.reference, reasons, Tolerance())
    assert found.splitlines()[0].startswith(f"where it differs was not found: {type(raised).__name__}")
