from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_examples import FLOAT, MATMUL, RELU, constant, external_model, make_model

from onnxpack.core.errors import SourceError
from onnxpack.inspection.graph import onnx_facts


def facts(model: onnx.ModelProto, folder: Path) -> dict[str, object]:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return onnx_facts(str(folder / "m.onnx"))


def test_weights_are_counted_by_dtype_and_bytes(tmp_path: Path) -> None:
    weights = [constant("w"), constant("i", np.zeros(3, np.int64)), constant("h", np.zeros((2, 3), np.float16))]
    found = facts(make_model(MATMUL, constants=weights), tmp_path)
    assert found["parameters"] == 16 + 3 + 6
    assert found["weights"] == {"float32": 64, "int64": 24, "float16": 12}
    assert found["precision"] == "float32"


def test_weights_inside_branches_and_constants_are_counted(tmp_path: Path) -> None:
    value = helper.make_tensor("t", FLOAT, [2], [1.0, 2.0])
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["z"], value=value)],
        "inner",
        [],
        [helper.make_tensor_value_info("z", FLOAT, [2])],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    found = facts(make_model([node], inputs=[("c", TensorProto.BOOL, [])]), tmp_path)
    assert found["ops"] == {"Constant": 2, "If": 1}
    assert found["parameters"] == 4


def test_other_domains_newer_versions_and_metadata_are_told(tmp_path: Path) -> None:
    node = helper.make_node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")
    model = make_model([node], opset=99, ir=14, domains={"com.microsoft": 1})
    helper.set_model_props(model, {"author": "a\x1b[2Jb"})
    found = facts(model, tmp_path)
    assert found["domains"] == {"com.microsoft": 1}
    assert found["ops"] == {"com.microsoft.FusedMatMul": 1}
    assert found["metadata"] == {"author": "a\x1b[2Jb"}
    assert found["problems"] == [
        "IR version 14: the runtime reads 13 at most",
        "opset 99: the runtime reads 26 at most",
    ]


@pytest.mark.parametrize(
    ("location", "size"), [("w.bin", 64), ("gone.bin", None), ("../w.bin", None), ("/etc/hostname", None), ("", None)]
)
def test_external_data_is_looked_for_but_not_opened(tmp_path: Path, location: str, size: int | None) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(64))
    found = facts(external_model(location=location, offset=0, length=64), tmp_path)
    assert found["external_data"] == [{"location": location, "used_bytes": 64, "size_bytes": size}]
    assert found["weights"] == {"float32": 64}


def test_hostile_sizes_and_types_are_only_numbers(tmp_path: Path) -> None:
    odd = TensorProto(name="odd", data_type=77, dims=[2**62, 2**62, -1])
    huge = TensorProto(name="huge", data_type=FLOAT, dims=[2**62, 2**62])
    found = facts(make_model(RELU, constants=[odd, huge]), tmp_path)
    assert found["parameters"] == 2**124
    assert found["weights"] == {"float32": 2**126, "type 77": 0}


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08\x0a", b"\xff" * 100])
def test_file_that_is_not_onnx_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(SourceError):
        onnx_facts(str(tmp_path / "m.onnx"))
