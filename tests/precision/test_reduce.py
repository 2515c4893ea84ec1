"""The driver: a quantizer that does nothing, or something else than it says, is found out."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from precision_examples import FLOAT, MODELS, graph_model, normal, place

from onnxpack.core.errors import GateError, SpecError
from onnxpack.graph import external_data
from onnxpack.graph.check import read_facts
from onnxpack.precision import Converted, Job, Left, Reduced, Wish
from onnxpack.precision.reduce import reduce_model
from onnxpack.tasks.precision import ReducePrecision
from onnxpack.worker.call import Setting, call


def planted(monkeypatch: pytest.MonkeyPatch, convert: Any) -> None:
    """Plant a module in the place of int8-weights."""
    module = types.ModuleType("onnxpack.precision.int8_weights")
    module.NAME = "int8-weights"  # type: ignore[attr-defined]
    module.refusal = lambda wish, model: ""  # type: ignore[attr-defined]
    module.convert = convert  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def reduced(folder: Path, kind: str, name: str, model: onnx.ModelProto | None = None, **wish: Any) -> Reduced:
    path, samples = place(folder / "source", model or MODELS[kind](), kind)
    (folder / "out").mkdir()
    return reduce_model(path, folder / "out", Wish(name, **wish), samples)


def test_what_changed_is_told_and_lies_in_the_folder(tmp_path: Path) -> None:
    found = reduced(tmp_path, "mlp", "int8-weights", exclude_nodes=("last",))
    assert found.model.precision == "int8-weights"
    assert found.model.path == tmp_path / "out/model.onnx"
    assert found.before.ops == {"Add": 1, "Gemm": 1, "MatMul": 1, "Relu": 1}
    assert found.after.ops == {"Add": 1, "Gemm": 1, "MatMulNBits": 1, "Relu": 1}
    assert found.after.weights["float32"] < found.before.weights["float32"]
    assert found.after.size_bytes == (tmp_path / "out" / "model.onnx").stat().st_size
    assert found.left == (Left("last", "Gemm", "excluded"),)
    assert found.notes == ("1 Gemm left in float32 (excluded): last",)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.onnx"]


def test_reduce_precision_runs_in_a_child(tmp_path: Path) -> None:
    path, samples = place(tmp_path / "source", MODELS["mlp"](), "mlp")
    for name in ("messages", "out"):
        (tmp_path / name).mkdir()
    task = ReducePrecision(read_facts(path), Wish("float16"), samples)
    found = call(task, Setting(tmp_path / "messages", tmp_path / "out")).result
    assert found.after.weights.keys() == {"float16"}
    assert found.model == read_facts(tmp_path / "out/model.onnx", "float16")


def test_a_quantizer_that_does_nothing_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda job: Converted(job.model))
    with pytest.raises(GateError, match="int8-weights changed nothing in the model"):
        reduced(tmp_path, "mlp", "int8-weights")


def test_a_quantizer_that_only_renames_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(job: Job) -> Converted:
        for node in job.model.graph.node:
            node.name += "_quantized"
        job.model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1000, np.int8), "ballast"))
        return Converted(job.model)

    planted(monkeypatch, rename)
    with pytest.raises(GateError, match="changed nothing"):
        reduced(tmp_path, "mlp", "int8-weights")


def test_a_quantizer_that_changes_the_outputs_dtype_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(job: Job) -> Converted:
        job.model.graph.node[-1].output[0] = "real"
        job.model.graph.node.append(helper.make_node("Cast", ["real"], ["y"], to=TensorProto.FLOAT16))
        job.model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
        return Converted(job.model)

    planted(monkeypatch, half)
    with pytest.raises(GateError, match="changed the model's inputs, outputs or opset"):
        reduced(tmp_path, "mlp", "int8-weights")


def test_a_quantizer_that_writes_no_valid_model_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(job: Job) -> Converted:
        job.model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["nowhere", "b2"], ["q"], name="q"))
        return Converted(job.model)

    planted(monkeypatch, broken)
    with pytest.raises(GateError, match="not valid ONNX"):
        reduced(tmp_path, "mlp", "int8-weights")


@pytest.mark.case("M7")
def test_a_file_that_grew_is_told(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="only")]
    found = reduced(tmp_path, "mlp", "int8-dynamic", graph_model(nodes, {"w": normal(1, 64, 1)}, x=(64,), y=(1,)))
    assert any("the file grew from" in note for note in found.notes)


def tree() -> onnx.ModelProto:
    """One tree that asks whether the first value is at most 0, between plain arithmetic."""
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.0, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0],
        "n_targets": 1,
    }  # fmt: skip
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"], name="before"),
        helper.make_node("TreeEnsembleRegressor", ["twice"], ["y"], name="tree", domain="ai.onnx.ml", **attributes),
    ]
    model = graph_model(nodes, {}, x=(64,), y=(1,))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


@pytest.mark.parametrize("name", ["float16", "int8-dynamic", "int8-static", "int4-weights"])
def test_trees_are_refused_with_their_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        SpecError, match=rf"precision {name}: the model is made of TreeEnsembleRegressor, which compute"
    ):
        reduced(tmp_path, "mlp", name, tree())


@pytest.mark.parametrize(
    ("name", "wish", "words"),
    [
        ("int4-weights", {}, "no MatMul or Gemm with constant weights"),
        ("int8-dynamic", {}, "no MatMul or Gemm with constant weights"),
        ("int8-dynamic", {"device": "cuda"}, "on the CPU only"),
        ("int8-static", {}, "has none of Conv"),
        ("bfloat16", {}, "no bfloat16 arithmetic on the CPU"),
    ],
)
def test_a_model_without_what_it_is_for_is_refused(tmp_path: Path, name: str, wish: dict[str, Any], words: str) -> None:
    model = graph_model([helper.make_node("Relu", ["x"], ["y"])], {}, x=(64,), y=(64,))
    with pytest.raises(SpecError, match=words):
        reduced(tmp_path, "mlp", name, model, **wish)


def test_static_quantization_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="needs calibration data"):
        reduced(tmp_path, "mlp", "int8-static")


def test_an_opset_before_there_were_axes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="needs opset 13, the model has 12"):
        reduced(tmp_path, "mlp", "int8-static", MODELS["mlp"](12))


def test_constants_that_an_old_file_lists_as_inputs_stay_constants(tmp_path: Path) -> None:
    model = MODELS["mlp"]()
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, FLOAT, tensor.dims))
    found = reduced(tmp_path, "mlp", "int4-weights", model)
    assert [value.name for value in found.model.inputs] == ["x"]


def test_nodes_without_names_can_be_reduced(tmp_path: Path) -> None:
    model = MODELS["cnn"]()
    for node in model.graph.node:
        node.name = ""
    found = reduced(tmp_path, "cnn", "float16", model, exclude_nodes=("Conv_2",))
    assert found.left == (Left("Conv_2", "Conv", "excluded"),)


@pytest.mark.parametrize("name", ["float16", "int4-weights"])
def test_reduce_model_of_large_weights_keeps_them_in_a_file_beside(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, samples = place(tmp_path / "source", MODELS["mlp"](), "mlp")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0)
    monkeypatch.setattr(external_data, "EXTERNAL_DATA_OVER", 1000)
    (tmp_path / "out").mkdir()
    found = reduce_model(path, tmp_path / "out", Wish(name), samples)
    beside = tmp_path / "out" / "model.onnx.data"
    assert found.model.size_bytes == beside.stat().st_size + (tmp_path / "out" / "model.onnx").stat().st_size


def test_reduce_model_reports_its_progress(tmp_path: Path) -> None:
    path, samples = place(tmp_path / "source", MODELS["mlp"](), "mlp")
    (tmp_path / "out").mkdir()
    said: list[str] = []
    ReducePrecision(read_facts(path), Wish("float16"), samples).run(tmp_path / "out", said.append)
    assert said[-1] == "looking for values that overflow: 6 rows"
