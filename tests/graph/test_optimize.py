"""Offline optimisation: the same answers, the same outside, standard ONNX where promised, the same bytes twice."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_examples import FLOAT, MATMUL, constant, external_model, make_model

import onnxpack.graph.optimize as optimizing
from onnxpack.core.errors import GateError, SourceError
from onnxpack.core.values import Changed
from onnxpack.graph.check import iterate_graphs, open_session, read_info
from onnxpack.graph.isa import detect_isas
from onnxpack.graph.optimize import optimize_model

BOOL, STRING, INT64 = TensorProto.BOOL, TensorProto.STRING, TensorProto.INT64
node = helper.make_node
LEVELS = ["basic", "extended"]
CLASSIC = "ai.onnx.ml"


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        node("Relu", ["n"], ["y"]),
    ]
    tensors = {"w": normal(1, 3, 2, 3, 3), "b": normal(2, 3), "scale": normal(3, 3), "shift": normal(4, 3)}
    tensors |= {"mean": normal(5, 3), "var": np.full(3, 2, np.float32)}
    shape = (["b", 2, 4, 4], ["b", 3, 4, 4])
    constants = [constant(name, array) for name, array in tensors.items()]
    return make_model(nodes, [("x", FLOAT, shape[0])], [("y", FLOAT, shape[1])], constants)


def mlp() -> onnx.ModelProto:
    nodes = [
        node("Identity", ["x"], ["same"]),
        node("MatMul", ["same", "w"], ["h"]),
        node("Add", ["h", "half"], ["a"]),
        node("Relu", ["a"], ["y"]),
        node("Mul", ["one", "one"], ["half"]),
    ]
    return make_model([nodes[-1], *nodes[:-1]], constants=[constant("w"), constant("one", np.float32(0.5))])


def attention() -> onnx.ModelProto:
    nodes = [
        node("LayerNormalization", ["x", "gain", "shift"], ["n"]),
        node("MatMul", ["n", "wq"], ["q"]),
        node("MatMul", ["n", "wk"], ["k"]),
        node("Transpose", ["k"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["q", "t"], ["s"]),
        node("Softmax", ["s"], ["p"]),
        node("MatMul", ["p", "n"], ["c"]),
        node("Div", ["c", "root"], ["d"]),
        node("Erf", ["d"], ["e"]),
        node("Add", ["e", "one"], ["f"]),
        node("Mul", ["c", "f"], ["g"]),
        node("Mul", ["g", "half"], ["gelu"]),
        node("Add", ["gelu", "x"], ["y"]),
    ]
    tensors: dict[str, Any] = {
        "gain": normal(1, 8),
        "shift": normal(2, 8),
        "wq": normal(3, 8, 8),
        "wk": normal(4, 8, 8),
    }
    tensors |= {"root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    constants = [constant(name, array) for name, array in tensors.items()]
    return make_model(nodes, [("x", FLOAT, ["b", "s", 8])], [("y", FLOAT, ["b", "s", 8])], constants)


def branches() -> onnx.ModelProto:
    """A condition and a loop, with inner graphs that use tensors from outside."""
    value = helper.make_tensor_value_info
    more = helper.make_graph([node("Add", ["x", "w"], ["m"])], "more", [], [value("m", FLOAT, None)])
    less = helper.make_graph([node("Sub", ["x", "w"], ["l"])], "less", [], [value("l", FLOAT, None)])
    state = [value("i", INT64, []), value("on", BOOL, []), value("v", FLOAT, None)]
    given = [value("go", BOOL, []), value("u", FLOAT, None)]
    body = helper.make_graph([node("Identity", ["on"], ["go"]), node("Mul", ["v", "w"], ["u"])], "body", state, given)
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["up"]),
        node("If", ["up"], ["z"], then_branch=more, else_branch=less),
        node("Loop", ["times", "", "z"], ["y"], body=body),
    ]
    constants = [constant("w", normal(1, 4)), constant("zero", np.float32(0)), constant("times", np.int64(3))]
    return make_model(nodes, constants=constants)


def words() -> onnx.ModelProto:
    nodes = [
        node("StringNormalizer", ["x"], ["l"], case_change_action="LOWER", locale="C"),
        node("LabelEncoder", ["l"], ["y"], domain=CLASSIC, keys_strings=["a", "b"], values_int64s=[1, 2]),
    ]
    return make_model(nodes, [("x", STRING, ["b"])], [("y", INT64, ["b"])], domains={CLASSIC: 3})


def tree() -> onnx.ModelProto:
    ensemble = node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain=CLASSIC, n_targets=1,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[2, 0, 0], nodes_values=[0.5, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.0, 7.0],
    )  # fmt: skip
    return make_model([ensemble], outputs=[("y", FLOAT, ["b", 1])], domains={CLASSIC: 3})


MODELS = {"conv": conv, "mlp": mlp, "attention": attention, "branches": branches, "words": words, "tree": tree}
INPUTS = {
    "conv": normal(9, 3, 2, 4, 4),
    "attention": normal(9, 2, 5, 8),
    "words": np.array(["A", "b", "?"], dtype=object),
}


def run(path: Path, kind: str) -> list[Any]:
    answers: list[Any] = open_session(path).run(None, {"x": INPUTS.get(kind, normal(9, 3, 4))})
    return answers


def optimized(model: onnx.ModelProto, folder: Path, level: str, isa: str | None = None) -> tuple[Path, Changed]:
    """The result's path and what is told about it; the source is ``<folder>/source.onnx``."""
    out = folder / level
    out.mkdir(parents=True)
    if not (folder / "source.onnx").exists():
        onnx.save(model, folder / "source.onnx")
    return out / "model.onnx", optimize_model(folder / "source.onnx", out, level, isa)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", MODELS)
def test_optimize_model_keeps_answers_inputs_and_outputs(kind: str, level: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    path, told = optimized(model, tmp_path, level)
    for wanted, given in zip(run(tmp_path / "source.onnx", kind), run(path, kind), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)
    made = onnx.load(path)
    for part in ("input", "output"):
        assert list(map(read_info, getattr(made.graph, part))) == list(map(read_info, getattr(model.graph, part)))
    assert made.ir_version == model.ir_version
    assert next(entry.version for entry in made.opset_import if entry.domain == "") == 17
    used = {inner.domain for graph in iterate_graphs(made.graph) for inner in graph.node}
    assert {entry.domain for entry in made.opset_import} == used | {""}
    assert told.model.path == path
    assert told.model.size_bytes == path.stat().st_size


@pytest.mark.parametrize("kind", MODELS)
def test_basic_stays_standard_onnx(kind: str, tmp_path: Path) -> None:
    path, _ = optimized(MODELS[kind](), tmp_path, "basic")
    domains = {inner.domain for graph in iterate_graphs(onnx.load(path).graph) for inner in graph.node}
    assert domains <= {"", CLASSIC}


@pytest.mark.parametrize("kind", MODELS)
def test_the_same_bytes_twice_and_nothing_of_the_tools(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    model.doc_string = model.graph.doc_string = "/home/somebody/model.py"
    for inner in model.graph.node:
        inner.doc_string = "/home/somebody/model.py"
    model.metadata_props.add(key="by", value="somebody")
    found = [optimized(model, tmp_path / place, "extended")[0].read_bytes() for place in ("a", "b")]
    assert found[0] == found[1]
    assert b"somebody" not in found[0]


def test_optimize_model_leaves_fewer_nodes(tmp_path: Path) -> None:
    path, told = optimized(mlp(), tmp_path, "basic")
    assert {inner.op_type for inner in onnx.load(path).graph.node} <= {"Gemm", "MatMul", "Add", "Relu"}
    assert told.notes[-1].startswith("5 → 3 nodes, ")
    path, _ = optimized(conv(), tmp_path / "conv", "extended")
    assert [inner.op_type for inner in onnx.load(path).graph.node] == ["FusedConv"]


def test_optimize_model_all_for_another_isa_is_refused(tmp_path: Path) -> None:
    own = next(iter(detect_isas()))
    other = "neon" if own != "neon" else "amx"
    with pytest.raises(GateError, match=f"this one does not have {other}"):
        optimized(conv(), tmp_path / "other", "all", other)
    best = max(detect_isas(), key=lambda isa: isa.startswith(("avx512", "amx")))
    path, _ = optimized(conv(), tmp_path / "own", "all", best)
    wanted = run(tmp_path / "own/source.onnx", "conv")[0]
    np.testing.assert_allclose(run(path, "conv")[0], wanted, rtol=1e-4, atol=1e-5)


def growing() -> onnx.ModelProto:
    """Folded, its constant has 4 million values; as it is, a few bytes make them."""
    nodes = [
        node("ConstantOfShape", ["shape"], ["ones"], value=constant("value", np.ones(1, np.float32))),
        node("MatMul", ["x", "ones"], ["h"]),
        node("MatMul", ["h", "back"], ["same"]),
        node("Identity", ["same"], ["y"]),
    ]
    nodes[2] = node("ReduceSum", ["h", "last"], ["same"], keepdims=1)
    constants = [constant("shape", np.array([4, 100_000], np.int64)), constant("last", np.array([1], np.int64))]
    return make_model(nodes, outputs=[("y", FLOAT, ["b", 1])], constants=constants)


@pytest.mark.parametrize("level", LEVELS)
def test_folding_may_not_bloat_the_file(level: str, tmp_path: Path) -> None:
    path, told = optimized(growing(), tmp_path, level)
    assert path.stat().st_size < 100_000
    assert told.notes[0] == "constants stay unfolded: folded they would make the file larger"
    assert len(onnx.load(path).graph.node) == 3  # the rest was done


def test_optimize_model_that_grows_without_folding_too_is_left_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizing, "_MAY_GROW", 0.1)
    monkeypatch.setattr(optimizing, "_MAY_GROW_BYTES", 0)
    path, told = optimized(mlp(), tmp_path, "basic")
    assert path.read_bytes() == (tmp_path / "source.onnx").read_bytes()
    assert told.notes[1] == "left as it is: optimised it would be larger"


def test_the_casts_of_a_cpu_without_16_bits_are_not_built_in(tmp_path: Path) -> None:
    half = TensorProto.FLOAT16
    nodes = [node("Identity", ["x"], ["i"]), node("MatMul", ["i", "w"], ["h"]), node("Softmax", ["h"], ["y"], axis=1)]
    weights = constant("w", normal(1, 4, 4).astype(np.float16))
    model = make_model(nodes, [("x", half, ["b", 4])], [("y", half, ["b", 4])], [weights])
    path, told = optimized(model, tmp_path, "basic")
    assert [inner.op_type for inner in onnx.load(path).graph.node] == ["Identity", "MatMul", "Softmax"]
    assert told.notes[0].startswith("left as it is: the CPU computes parts of it in float32")


def test_a_large_model_keeps_its_weights_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpack.graph.external_data.EXTERNAL_DATA_OVER", 1000)
    weights = normal(1, 4, 1000)
    model = make_model(MATMUL, outputs=[("y", FLOAT, ["b", 1000])], constants=[constant("w", weights)])
    onnx.save(
        model, tmp_path / "source.onnx", save_as_external_data=True, location="source.onnx.data", size_threshold=0
    )
    path, told = optimized(model, tmp_path, "basic")
    data = path.with_name("model.onnx.data")
    assert data.stat().st_size >= weights.nbytes
    assert path.stat().st_size < 2000
    assert told.model.size_bytes == path.stat().st_size + data.stat().st_size
    np.testing.assert_allclose(run(path, "mlp")[0], normal(9, 3, 4) @ weights, rtol=1e-5, atol=1e-6)
    again, _ = optimized(model, tmp_path, "extended")
    assert sorted(file.name for file in again.parent.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_a_broken_model_is_told(tmp_path: Path) -> None:
    model = external_model(location="missing.bin", offset=0, length=64)
    with pytest.raises(SourceError, match="onnxruntime cannot optimise the model"):
        optimized(model, tmp_path, "basic")
