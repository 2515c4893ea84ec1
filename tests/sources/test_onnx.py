"""ONNX files that others made: right ones are taken as they are, each broken one is told by its fault."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import Made, export_here, write_spec
from onnx import TensorProto, helper
from onnx_examples import FLOAT, MATMUL, RELU, WEIGHTS, constant, external_model, make_model

from onnxpack.core.errors import GateError, SourceError
from onnxpack.graph.check import open_session
from onnxpack.parity.compare import require_parity
from onnxpack.sources import onnx as source


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Made]:
    def make(model: onnx.ModelProto | bytes, **fields: Any) -> Made:
        data = model if isinstance(model, bytes) else model.SerializeToString()
        (tmp_path / "m.onnx").write_bytes(data)
        return export_here(write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields), tmp_path / "out")

    return make


@pytest.fixture
def refusal(export: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What is said about a model that no session may see."""

    def make(model: onnx.ModelProto | bytes, *, session: bool = False, **fields: Any) -> str:
        if not session:
            monkeypatch.setattr(source, "open_session", lambda path: pytest.fail("a session was made"))
        with pytest.raises(SourceError) as refused:
            export(model, **fields)
        assert all(problem.hint for problem in refused.value.problems)
        return str(refused.value)

    return make


def inputs(**changes: Any) -> dict[str, Any]:
    return {"inputs": {"x": {"dtype": "float32", "shape": ["n", 4]} | changes}}


# What is taken


@pytest.mark.parametrize(("have", "asked", "got"), [(11, 18, 18), (13, 26, 26), (17, 17, 17), (17, None, 17)])
def test_the_opset_is_converted_up(export: Callable[..., Made], have: int, asked: int | None, got: int) -> None:
    made = export(make_model(RELU, opset=have), **({"opset": asked} if asked else {}))
    assert made.model.opset == got
    require_parity("opset", made.rows())


def test_constants_among_the_inputs_of_an_old_file_are_no_inputs(export: Callable[..., Made]) -> None:
    values = (("w", FLOAT, [4, 4]), ("x", FLOAT, ["b", 4]))
    made = export(make_model(MATMUL, values, constants=[constant("w")], opset=7, ir=3), opset=18)
    assert [info.name for info in made.model.inputs] == ["x"]
    require_parity("old", made.rows())


def test_inputs_in_another_order_take_the_specs(export: Callable[..., Made]) -> None:
    values = tuple((name, FLOAT, ["b", 4]) for name in "ab")
    nodes = [helper.make_node("Sub", ["a", "b"], ["y"])]
    asked = {name: {"dtype": "float32", "shape": ["n", 4]} for name in "ba"}
    made = export(make_model(nodes, values), inputs=asked)
    assert [info.name for info in made.model.inputs] == ["b", "a"]
    require_parity("order", made.rows())


def test_outputs_are_renamed_in_order_even_when_they_swap_names(export: Callable[..., Made]) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["b"]), helper.make_node("Neg", ["x"], ["a"])]
    model = make_model(nodes, outputs=[(name, FLOAT, ["q", 4]) for name in "ab"])
    made = export(model, outputs=["b", "a"])
    assert [(node.op_type, list(node.output)) for node in made.proto.graph.node] == [("Relu", ["a"]), ("Neg", ["b"])]
    require_parity("swap", made.rows())


def test_an_input_that_is_given_back_can_have_another_name(export: Callable[..., Made]) -> None:
    made = export(make_model(RELU, outputs=[("y", FLOAT, ["b", 4]), ("x", FLOAT, ["b", 4])]), outputs=["a", "same"])
    assert [info.name for info in (*made.model.inputs, *made.model.outputs)] == ["x", "a", "same"]
    require_parity("given back", made.rows())


def test_strings_go_in_and_come_out(export: Callable[..., Made]) -> None:
    value = (TensorProto.STRING, ["b", 4])
    model = make_model([helper.make_node("Identity", ["x"], ["y"])], [("x", *value)], [("y", *value)])
    made = export(model, **inputs(dtype="string", choices=["Ä", "bb"]))
    assert made.model.outputs[0].dtype == "string"
    require_parity("strings", made.rows())


def test_an_output_whose_size_depends_on_the_values_is_left_open(export: Callable[..., Made]) -> None:
    model = make_model([helper.make_node("NonZero", ["x"], ["y"])], outputs=[("y", TensorProto.INT64, [2, "k"])])
    made = export(model)
    assert made.model.outputs[0].shape == (2, "y_1")
    require_parity("open", made.rows())


def test_external_data_beside_the_file_is_taken_and_becomes_a_part_of_it(
    export: Callable[..., Made], tmp_path: Path
) -> None:
    (tmp_path / "w.data").write_bytes(b"\0" * 64 + WEIGHTS.tobytes())
    made = export(external_model(location="w.data", offset=64, length=64))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(made.proto.graph.initializer[0]), WEIGHTS)
    require_parity("external", made.rows())


# What is old


def recorded(name: str) -> tuple[onnx.ModelProto, list[Any], list[Any]]:
    """A model of the onnx package's test data, with the inputs and outputs that came with it."""
    folder = Path(onnx.__file__).parent / "backend/test/data" / name
    data = []
    for part in ("input", "output"):
        tensors = [onnx.TensorProto.FromString(path.read_bytes())
                   for path in sorted(folder.glob(f"test_data_set_0/{part}_*.pb"))]  # fmt: skip
        data.append([onnx.numpy_helper.to_array(tensor) for tensor in tensors])
    return onnx.load(folder / "model.onnx"), data[0], data[1]


OLD = ["pytorch-operator/test_operator_params", "pytorch-converted/test_PReLU_2d_multiparam",
       "pytorch-converted/test_BatchNorm2d_eval"]  # fmt: skip


@pytest.mark.parametrize("name", OLD)
@pytest.mark.parametrize("free", [False, True])
def test_a_file_of_opset_6_gives_what_was_recorded_with_it(
    export: Callable[..., Made], name: str, *, free: bool
) -> None:
    model, given, expected = recorded(name)
    constants = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in constants]
    asked = {key: {"dtype": "float32", "shape": ["n", *array.shape[1:]] if free else list(array.shape)}
             for key, array in zip(names, given, strict=False)}  # fmt: skip
    axes = {"dynamic_axes": {"n": {"min": 1, "max": 5}}} if free else {"dynamic_axes": {}}
    if name.endswith("params") and free:  # its constant has the batch's size
        with pytest.raises(GateError, match="holds on to"):
            export(model, inputs=asked, opset=17, **axes)
        return
    made = export(model, inputs=asked, opset=17, **axes)
    assert made.model.opset == 17
    require_parity("old", made.rows())
    answers = open_session(made.model.path).run(None, dict(zip(names, given, strict=False)))
    for right, answer in zip(expected, answers, strict=True):
        np.testing.assert_allclose(answer, right, rtol=1e-4, atol=1e-5)


def test_an_old_file_without_an_opset_in_the_spec_takes_the_default(export: Callable[..., Made]) -> None:
    model = make_model([helper.make_node("Add", ["x", "w"], ["y"], broadcast=1, axis=0)],
                       [("w", FLOAT, [4]), ("x", FLOAT, [4, 4])], [("y", FLOAT, [4, 4])],
                       [constant("w", WEIGHTS[0])], opset=6, ir=3)  # fmt: skip
    made = export(model, inputs={"x": {"dtype": "float32", "shape": [4, 4]}}, dynamic_axes={})
    assert made.model.opset == 18
    require_parity("old", made.rows())
    x = np.ones((4, 4), np.float32)
    np.testing.assert_array_equal(open_session(made.model.path).run(None, {"x": x})[0], x + WEIGHTS[0][:, None])


@pytest.mark.parametrize("opset", [4, 6, 8])
def test_a_batch_of_ir_3_is_freed_through_a_reshape(export: Callable[..., Made], opset: int) -> None:
    values = [("x", FLOAT, [1, 4]), ("w", FLOAT, [4, 4])]
    nodes = [helper.make_node("Reshape", ["x"], ["t"], shape=[1, 2, 2]), helper.make_node("Flatten", ["t"], ["f"]),
             helper.make_node("MatMul", ["f", "w"], ["y"])]  # fmt: skip
    constants = [constant("w")]
    if opset > 4:
        nodes[0] = helper.make_node("Reshape", ["x", "target"], ["t"])
        values.append(("target", TensorProto.INT64, [3]))
        constants.append(constant("target", np.array([1, 2, 2])))
    made = export(make_model(nodes, values, [("y", FLOAT, [1, 4])], constants, opset=opset, ir=3), opset=17)
    assert (made.model.opset, made.model.inputs[0].shape, made.model.outputs[0].shape) == (17, ("n", 4), ("n", 4))
    assert made.proto.ir_version >= 4
    require_parity("freed", made.rows())


def test_an_old_file_in_training_mode_is_refused_with_its_node(refusal: Callable[..., str]) -> None:
    model = make_model([helper.make_node("Dropout", ["x"], ["y"], name="drop")], opset=6, ir=3)
    assert "the node 'drop' (Dropout) cannot be brought to opset 7: it is in training mode" in refusal(
        model, session=True, opset=17
    )


# What is refused


@pytest.mark.case("M2")
@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "../w.data"}, "lies outside its folder: '../w.data'"),
        ({"location": "sub/../../w.data"}, "lies outside its folder"),
        ({"location": "/etc/passwd"}, "lies outside its folder: '/etc/passwd'"),
        ({}, "lies outside its folder: ''"),
        ({"location": "symlink"}, "is not in a regular file of its own: 'symlink'"),
        ({"location": "hardlink"}, "is not in a regular file of its own: 'hardlink'"),
        ({"location": "fifo"}, "is not in a regular file of its own: 'fifo'"),
        ({"location": "."}, "is not in a regular file of its own: '.'"),
        ({"location": "linked/w.data"}, "lies outside its folder: 'linked/w.data'"),
        ({"location": "missing"}, "cannot be read: [Errno 2] No such file"),
        ({"location": "nul\0"}, "cannot be read: embedded null byte"),
        ({"location": "own", "length": 64, "offset": 1}, "ends at byte 65 of 64"),
        ({"location": "own", "length": 2**62, "offset": 2**62}, f"ends at byte {2**63} of 64"),
        ({"location": "own", "length": "many"}, "cannot be read: invalid literal"),
        ({"location": "own", "length": 32}, "raw_data size (32 bytes) is too small"),
        ({"location": "short"}, "raw_data size (60 bytes) is too small"),
        ({"location": "own", "length": 64, "offset": -4}, "offset must be non-negative"),
    ],
)
def test_external_data_that_cannot_be_trusted_meets_no_session(
    refusal: Callable[..., str], tmp_path: Path, entries: dict[str, Any], words: str
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    for path in (tmp_path / "own", tmp_path / "other", outside / "w.data"):
        path.write_bytes(WEIGHTS.tobytes())
    (tmp_path / "short").write_bytes(WEIGHTS.tobytes()[:60])
    (tmp_path / "symlink").symlink_to("own")
    (tmp_path / "hardlink").hardlink_to(tmp_path / "other")
    (tmp_path / "linked").symlink_to(outside)
    os.mkfifo(tmp_path / "fifo")
    message = refusal(external_model(**entries))
    assert words in message
    assert "'m.onnx'" in message
    assert "'w'" in message or "tensor name: w" in message


def two_tensors(**entries: Any) -> onnx.ModelProto:
    """``y = x @ w @ v``, with ``w`` in the first 64 bytes of a file and ``v`` where ``entries`` say."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("MatMul", ["t", "v"], ["y"])]
    tensors = [
        external_model(location="w.data", length=64).graph.initializer[0],
        external_model(**entries).graph.initializer[0],
    ]
    tensors[1].name = "v"
    return make_model(nodes, constants=tensors)


@pytest.mark.case("M2")
@pytest.mark.parametrize("entries", [{"offset": 32, "length": 64}, {"offset": 60, "length": 64}, {}])
def test_external_data_that_overlaps_is_told(refusal: Callable[..., str], tmp_path: Path, entries: Any) -> None:
    (tmp_path / "w.data").write_bytes(WEIGHTS.tobytes() * 2)
    message = refusal(two_tensors(location="./w.data", **entries))
    assert "the data of 'v' overlaps that of 'w'" in message or "the data of 'w' overlaps that of 'v'" in message


@pytest.mark.parametrize("offset", [0, 64])
def test_tied_and_neighbouring_external_data_is_taken(export: Callable[..., Made], tmp_path: Path, offset: int) -> None:
    (tmp_path / "w.data").write_bytes(WEIGHTS.tobytes() * 2)
    require_parity("two", export(two_tensors(location="w.data", offset=offset, length=64)).rows())


def test_every_tensor_with_bad_data_is_told(refusal: Callable[..., str]) -> None:
    model = external_model(location="../w")
    inner = helper.make_attribute("value", external_model(location="../v").graph.initializer[0])
    model.graph.node.append(helper.make_node("Constant", [], ["v"]))
    model.graph.node[-1].attribute.append(inner)
    assert len(refusal(model).splitlines()) == 2


WHOLE = make_model(MATMUL, constants=[constant("w")]).SerializeToString()


@pytest.mark.case("M3")
@pytest.mark.parametrize("length", [0, 1, 30, len(WHOLE) // 2, len(WHOLE) - 6, len(WHOLE) - 1])
def test_a_truncated_file_is_told(refusal: Callable[..., str], length: int) -> None:
    message = refusal(WHOLE[:length])
    assert message.startswith(("'m.onnx' is not an ONNX model: ", "'m.onnx' holds no graph", "'m.onnx' is not valid"))


@pytest.mark.case("M3")
@pytest.mark.parametrize("data", [np.random.default_rng(0).bytes(500), b"<html></html>", b"\x08\x0a"])
def test_what_is_no_onnx_is_told(refusal: Callable[..., str], data: bytes) -> None:
    assert refusal(data).startswith(("'m.onnx' is not an ONNX model: ", "'m.onnx' holds no graph"))


MAPS = make_model([helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3])],
                  domains={"ai.onnx.ml": 1})  # fmt: skip
MAPS.graph.output[0].type.CopyFrom(
    helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, None))
    )
)
NARROW = TensorProto.FLOAT8E4M3FN


@pytest.mark.case("M3")
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (make_model([helper.make_node("Foo", ["x"], ["y"])]), "No Op registered for Foo"),
        (make_model(RELU, ir=14), "has IR version 14; the runtime reads 13 at most"),
        (make_model(RELU, opset=27, ir=13), "has opset 27; the runtime reads 26 at most"),
        (make_model(RELU, opset=99, ir=13), "has opset 99; the runtime reads 26 at most"),
        (MAPS, "output 'y' of 'm.onnx' is not a tensor"),
        (
            make_model(
                [helper.make_node("Cast", ["x"], ["y"], to=NARROW)], outputs=[("y", NARROW, ["b", 4])], opset=19
            ),
            "output 'y' of 'm.onnx' is not a tensor of a dtype that numpy has",
        ),
    ],
    ids=["operator", "ir", "opset 27", "opset 99", "maps", "float8"],
)
def test_what_the_runtime_cannot_serve_meets_no_session(
    refusal: Callable[..., str], model: onnx.ModelProto, words: str
) -> None:
    assert words in refusal(model)


@pytest.mark.case("M3")
def test_unknown_operator_is_named(refusal: Callable[..., str]) -> None:
    model = make_model([helper.make_node("Foo", ["x"], ["y"], domain="acme")], domains={"acme": 1})
    message = refusal(model, session=True)
    assert "acme:Foo(-1) is not a registered function/op" in message
    assert message.endswith("(export the model again without the operator acme:Foo)")


def test_an_operator_that_the_runtime_lacks_is_named_with_its_node(refusal: Callable[..., str]) -> None:
    node = helper.make_node("Det", ["x"], ["y"], name="area")
    value = (TensorProto.DOUBLE, ["b", 4])
    message = refusal(make_model([node], [("x", *value)], [("y", *value)]), session=True, **inputs(dtype="float64"))
    assert "it has no implementation of the operator Det of opset 11 for the node 'area'" in message
    assert "without Det" in message


def test_an_opset_that_cannot_be_reached_names_the_operator_and_one_that_can(refusal: Callable[..., str]) -> None:
    node = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y"], spatial=0)
    constants = [constant(name, np.ones(4, np.float32)) for name in "sbmv"]
    message = refusal(make_model([node], constants=constants, opset=7), session=True, opset=17)
    assert "the model's opset 7 cannot be converted to 17: Attribute spatial must have value 1, at the step" in message
    assert "to opset 9, which changes BatchNormalization" in message
    assert message.endswith("(set `opset: 8`)")


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        (
            make_model(RELU),
            {"inputs": {"xx": inputs()["inputs"]["x"]}},
            "'m.onnx' has no input 'xx' (did you mean 'x'?)",
        ),
        (make_model(RELU), {"inputs": {"xx": inputs()["inputs"]["x"]}}, "has an input 'x' that the spec lacks"),
        (make_model(RELU), inputs(dtype="float64"), "input 'x' is float32 in the model, float64 in the spec"),
        (make_model(RELU), inputs(shape=["n"]), "input 'x' has 2 dimensions in the model, 1 in the spec"),
        (make_model(RELU), inputs(shape=["n", 5]), "input 'x': '5' is fixed at 4 in the model"),
    ],
    ids=["name", "lacks", "dtype", "rank", "size"],
)
def test_inputs_that_are_not_the_specs_are_told_before_anything_runs(
    refusal: Callable[..., str], model: onnx.ModelProto, fields: dict[str, Any], words: str
) -> None:
    assert words in refusal(model, **fields)


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        (
            make_model(RELU),
            {"opset": 13},
            "the model has opset 17, and cannot be converted down to 13 (set `opset: 17`)",
        ),
        (make_model(RELU), {"outputs": ["a", "b"]}, "the spec names 2 outputs, the model has 1: y"),
        (make_model(RELU, outputs=[("y", FLOAT, ["b", 4])] * 2), {}, "the model gives output 'y' twice"),
    ],
    ids=["down", "outputs", "twice"],
)
def test_what_cannot_be_exported_as_asked_is_told(
    refusal: Callable[..., str], model: onnx.ModelProto, fields: dict[str, Any], words: str
) -> None:
    assert words in refusal(model, session=True, **fields)
