"""Facts are read back from the file."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_examples import FLOAT, MATMUL, RELU, constant, make_model

from onnxpack.core.errors import SourceError
from onnxpack.core.values import TensorInfo
from onnxpack.graph.check import get_opset, iterate_graphs, open_session, read_facts, read_info


def test_facts_are_the_files(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = make_model(MATMUL, constants=[constant("w", np.zeros((4, 500), np.float32))], opset=15, ir=9)
    onnx.save(model, path, save_as_external_data=True, location="model.onnx.data")
    found = read_facts(path)
    assert (found.opset, found.ir_version, found.ops) == (15, 9, ("MatMul",))
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.size_bytes == path.stat().st_size + 8000
    assert found.inputs == (TensorInfo("x", "float32", ("b", 4)),)


def test_operators_inside_branches_count(tmp_path: Path) -> None:
    branch = helper.make_graph(RELU, "branch", [], [helper.make_tensor_value_info("y", FLOAT, None)])
    nodes = [helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)]
    model = make_model(nodes, [("c", TensorProto.BOOL, []), ("x", FLOAT, [4])], [("z", FLOAT, [4])])
    onnx.save(model, tmp_path / "m.onnx")
    assert read_facts(tmp_path / "m.onnx").ops == ("If", "Relu")
    assert len(list(iterate_graphs(model.graph))) == 3


def test_operators_inside_functions_count_and_the_functions_do_not(tmp_path: Path) -> None:
    branch = helper.make_graph(RELU, "branch", [], [helper.make_tensor_value_info("y", FLOAT, None)])
    inside = [helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)]
    imports = [helper.make_opsetid("", 17)]
    model = make_model([helper.make_node("Choose", ["c", "x"], ["y"], domain="own")], domains={"own": 1})
    model.functions.append(helper.make_function("own", "Choose", ["c", "x"], ["z"], inside, imports))
    onnx.save(model, tmp_path / "m.onnx")
    assert read_facts(tmp_path / "m.onnx").ops == ("If", "Relu")


@pytest.mark.parametrize(
    ("dtype", "word"), [(TensorProto.BFLOAT16, "bfloat16"), (TensorProto.STRING, "string"), (17, "unsupported")]
)
def test_dtypes_have_the_specs_words(dtype: int, word: str) -> None:
    assert read_info(helper.make_tensor_value_info("x", dtype, [None, "n", 0])) == TensorInfo("x", word, ("?", "n", 0))


def test_a_model_without_the_default_operators_has_opset_0() -> None:
    model = make_model(RELU)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("acme", 3))
    assert get_opset(model) == 0


def test_what_the_runtime_refuses_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="onnxruntime cannot load the model: "):
        open_session(tmp_path / "m.onnx")
