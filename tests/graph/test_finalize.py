"""A graph becomes the spec's: names everywhere they are used, one opset, true shapes, nothing of where it was made."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from exporting import write_spec
from onnx import helper
from onnx_examples import FLOAT, RELU, WEIGHTS, constant, make_model

from onnxpack.core.errors import GateError, SourceError
from onnxpack.graph.finalize import declare_outputs, finish
from onnxpack.graph.passes import run_passes
from onnxpack.graph.tidy import Strip
from onnxpack.spec.model import Spec


@pytest.fixture
def spec(tmp_path: Path) -> Any:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")

    def make(**fields: Any) -> Spec:
        return write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields).spec

    return make


def choice() -> onnx.ModelProto:
    """``y = x·w if sum(x) > 0 else x - w``, where both branches use what is outside of them, and a local ``t``."""
    branches = {}
    for name, operator in (("then_branch", "Mul"), ("else_branch", "Sub")):
        nodes = [
            helper.make_node(operator, ["x", "w"], ["t"]),
            helper.make_node("Add", ["t", "total"], [f"{operator}_out"], doc_string="said"),
        ]
        outputs = [helper.make_tensor_value_info(f"{operator}_out", FLOAT, None)]
        branches[name] = helper.make_graph(nodes, name, [], outputs, doc_string="/somewhere/model.py")
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], **branches),
    ]
    return make_model(nodes, constants=[constant("w", WEIGHTS[0]), constant("zero", np.float32(0))])


def answer(model: onnx.ModelProto, x: Any) -> Any:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("name", ["y", "score", "t", "total", "w", "Mul_out", "positive", "a b/c"])
@pytest.mark.parametrize("sign", [1, -1])
def test_renaming_reaches_into_branches_and_moves_what_has_the_name(spec: Any, name: str, sign: int) -> None:
    x = sign * np.ones((3, 4), np.float32)
    model = choice()
    right = answer(model, x)
    finish(model, spec(outputs=[name]), ["y"])
    assert [output.name for output in model.graph.output] == [name]
    np.testing.assert_array_equal(answer(model, x), right)


def test_an_output_cannot_take_an_inputs_name(spec: Any) -> None:
    model = make_model(RELU, inputs=[("x", FLOAT, ["b", 4]), ("z", FLOAT, ["b", 4])])
    with pytest.raises(SourceError, match="output 'z' has an input's name"):
        finish(model, spec(outputs=["z"]), ["y"])


def test_an_opset_that_is_written_twice_becomes_one(spec: Any) -> None:
    model = make_model(RELU, opset=13, ir=14, domains={"ai.onnx": 17, "com.microsoft": 1})
    finish(model, spec(opset=17), ["y"])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17), ("com.microsoft", 1)]
    assert model.ir_version == 13


def test_another_opset_than_asked_is_refused(spec: Any) -> None:
    with pytest.raises(SourceError, match="opset 18 cannot be had: the export has 17"):
        finish(make_model(RELU), spec(opset=18), ["y"])


def test_axes_take_the_specs_names(spec: Any) -> None:
    model = make_model(RELU)
    finish(model, spec(), ["y"])
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == ["n", 4]


def test_an_axis_that_became_fixed_fails_the_gate(spec: Any) -> None:
    with pytest.raises(GateError, match="input 'x': 'n' is fixed at 3 in the model"):
        finish(make_model(RELU, [("x", FLOAT, [3, 4])]), spec(), ["y"])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([("z", FLOAT, ["b", 4])], "the export's inputs are z; the spec's x"),
        ([("x", FLOAT, ["b", 4]), ("z", FLOAT, [1])], "the export's inputs are x, z; the spec's x"),
        ([("x", onnx.TensorProto.INT32, ["b", 5])], "input 'x' is int32 in the model, float32 in the spec"),
        ([("x", onnx.TensorProto.INT32, ["b", 5])], "input 'x': '4' is fixed at 5 in the model"),
    ],
)
def test_other_inputs_than_the_specs_are_refused(spec: Any, inputs: Any, words: str) -> None:
    with pytest.raises(SourceError) as refused:
        finish(make_model(RELU, inputs), spec(), ["y"])
    assert words in str(refused.value)


def test_the_source_and_the_graph_must_have_as_many_outputs(spec: Any) -> None:
    with pytest.raises(GateError, match="the source gives 2 outputs, the export has 1"):
        finish(make_model(RELU), spec(), ["y", "z"])


def test_strip_leaves_no_descriptions() -> None:
    model = choice()
    said = b"said by /somewhere"
    model.doc_string = model.domain = model.producer_version = said.decode()
    graph = model.graph
    inner = graph.node[2].attribute[0].g
    function = model.functions.add(name="f", domain="local", doc_string=said.decode())
    function.node.append(helper.make_node("Relu", ["a"], ["b"], doc_string=said.decode()))
    for holder in (graph, inner, graph.initializer[0], graph.node[0], graph.input[0], graph.node[2].attribute[0],
                   inner.node[0], inner.output[0], function.node[0]):  # fmt: skip
        holder.doc_string = said.decode()
        if hasattr(holder, "metadata_props"):
            holder.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=said.decode())
    for part in (graph, inner):
        part.value_info.append(helper.make_tensor_value_info("t", FLOAT, ["said by /somewhere"]))
    run_passes(model, (Strip(),))
    assert b"said" not in model.SerializeToString()
    assert b"somewhere" not in model.SerializeToString()


def declared(*shapes: tuple[int, ...], sizes: list[dict[str, int]]) -> list[int | str]:
    model = make_model(RELU)
    declare_outputs(model, sizes, [{"y": np.zeros(shape)} for shape in shapes])
    shape = model.graph.output[0].type.tensor_type.shape
    return [dim.dim_param if dim.HasField("dim_param") else dim.dim_value for dim in shape.dim]


def test_an_outputs_shape_is_what_was_seen() -> None:
    sizes = [{"a": 1, "b": 1}, {"a": 3, "b": 5}, {"a": 8, "b": 8}]
    assert declared((1, 7, 1), (3, 7, 5), (8, 7, 8), sizes=sizes) == ["a", 7, "b"]
    assert declared((1, 2), (2, 6), (8, 16), sizes=sizes) == ["y_0", "y_1"]
    assert declared((0,), (0,), (0,), sizes=sizes) == [0]
    assert declared((), (), (), sizes=sizes) == []


def test_an_outputs_rank_must_not_change() -> None:
    with pytest.raises(SourceError, match=r"other sizes: \(1, 1\) and \(1,\)"):
        declared((1, 1), (1,), sizes=[{"a": 1}, {"a": 2}])


def test_a_declared_shape_without_dimensions_is_a_scalars() -> None:
    model = make_model(RELU, outputs=[("y", FLOAT, None)])
    declare_outputs(model, [{}], [{"y": np.float32(1)}])
    assert model.graph.output[0].type.tensor_type.HasField("shape")
