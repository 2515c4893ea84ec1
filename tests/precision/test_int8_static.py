"""8 bits with scales from data: numbers by where it runs, nodes by what they do, and layers by what they cost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from exporting import write_spec
from onnx import helper
from precision_examples import MODELS, cnn, graph_model, inputs_of, mlp, normal, place

from onnxpack.core.errors import SourceError
from onnxpack.graph.check import DTYPES, open_session
from onnxpack.precision import Converted, Job, Wish, int8_static, reduce, sensitivity
from onnxpack.precision.prepare import find_carried_nodes, prepare_graph
from onnxpack.precision.selection import select_nodes
from onnxpack.spec.part import SpecPart

MAKE = helper.make_node
X86, VNNI, ARM, GPU = {"isa": None}, {"isa": "avx512-vnni"}, {"isa": "neon"}, {"device": "cuda"}


def job(folder: Path, kind: str, model: onnx.ModelProto | None = None, method: str = "minmax", **wish: Any) -> Job:
    path, samples = place(folder / "source", model or MODELS[kind](), kind)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    made = reduce.make_job(path, Wish("int8-static", **wish), samples, scratch)
    return replace(made, method=method, batches=lambda: iter([inputs_of(kind, rows, rows) for rows in (8, 8, 5)]))


def quantized(folder: Path, kind: str, model: onnx.ModelProto | None = None, **options: Any) -> Converted:
    converted = int8_static.convert(job(folder, kind, model, **options))
    onnx.checker.check_model(converted.model)
    return converted


def constants(model: onnx.ModelProto) -> dict[str, Any]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def ran(model: onnx.ModelProto, kind: str) -> Any:
    return open_session(model.SerializeToString()).run(None, inputs_of(kind, 16, 77))[0]


def fused(model: onnx.ModelProto, folder: Path) -> list[str]:
    """The operators that the runtime makes of it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "fused.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "fused.onnx").graph.node]


@pytest.mark.parametrize(
    ("wish", "values", "bits"), [(X86, "uint8", 7), (VNNI, "uint8", 8), (ARM, "int8", 8), (GPU, "int8", 8)]
)
def test_numbers_are_those_of_the_machine(tmp_path: Path, wish: dict[str, Any], values: str, bits: int) -> None:
    model = quantized(tmp_path, "cnn", **wish).model
    found = constants(model)
    zeros = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] != "w1"}
    assert {str(found[name].dtype) for name in zeros if found[name].ndim == 0} == {values}
    if wish == GPU:  # TensorRT wants pairs on the weights, and symmetric scales
        assert not any(found[name].any() for name in zeros)
        assert "w1" in found
        return
    weights = [array for name, array in found.items() if array.dtype == np.int8 and array.ndim > 1]
    assert len(weights) == 3
    assert max(np.abs(array.astype(int)).max() for array in weights) == (64 if bits == 7 else 127)


def test_seven_bits_cannot_saturate_in_sixteen(tmp_path: Path) -> None:
    """Two neighbours' products are added in 16 bits by x86 without VNNI."""
    model = quantized(tmp_path, "mlp").model
    weights = [array for array in constants(model).values() if array.dtype == np.int8 and array.ndim == 2]
    assert weights
    for array in weights:
        positive, negative = np.maximum(array.astype(int), 0), np.minimum(array.astype(int), 0)
        for part in (positive, negative):
            assert np.abs(255 * (part[:-1] + part[1:])).max() < 2**15


@pytest.mark.parametrize(("asked", "channels"), [(None, True), (True, True), (False, False)])
def test_each_channel_has_its_scale_unless_the_wish_says_otherwise(
    tmp_path: Path, asked: bool | None, channels: bool
) -> None:
    model = quantized(tmp_path, "cnn", per_channel=asked).model
    found = constants(model)
    weights = [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and found.get(node.input[0], np.zeros(0)).ndim > 1
    ]
    assert {found[node.input[1]].ndim for node in weights} == {int(channels)}


def test_the_runtime_computes_the_convolutions_in_8_bits(tmp_path: Path) -> None:
    ops = fused(quantized(tmp_path, "cnn").model, tmp_path)
    assert ops.count("QLinearConv") == 2
    assert "QGemm" in ops
    assert not {"Conv", "Gemm", "BatchNormalization", "Relu"} & set(ops)


def test_the_runtime_computes_constant_products_in_8_bits_and_leaves_attention(tmp_path: Path) -> None:
    converted = quantized(tmp_path, "attention")
    ops = fused(converted.model, tmp_path)
    assert ops.count("MatMulIntegerToFloat") == 4
    assert {left.node for left in converted.left} == {"scores", "context"}
    assert not [name for name, array in constants(converted.model).items() if "mask" in name and array.dtype == np.int8]


def test_the_last_product_gives_float32(tmp_path: Path) -> None:
    model = quantized(tmp_path, "mlp").model
    (maker,) = [node for node in model.graph.node if "y" in node.output]
    assert maker.op_type == "Gemm"


def test_excluded_nodes_are_found_behind_what_they_were_fused_into(tmp_path: Path) -> None:
    """The product and its bias become one Gemm of another name; the normalization becomes part of its convolution."""
    assert [left.op for left in quantized(tmp_path / "a", "mlp", exclude_nodes=("first",)).left] == ["Gemm"]
    converted = quantized(tmp_path / "b", "cnn", exclude_nodes=("norm",))
    assert [left.node for left in converted.left] == ["conv2"]


def test_what_is_carried_is_what_makes_the_next_tensor_that_is_left(tmp_path: Path) -> None:
    original = mlp()
    done = prepare_graph(mlp(), tmp_path)
    assert find_carried_nodes(frozenset({"first"}), original, done) == find_carried_nodes(
        frozenset({"bias"}), original, done
    )
    assert find_carried_nodes(frozenset({"last"}), original, done) == {"last"}
    assert find_carried_nodes(frozenset(), original, done) == frozenset()


def test_sums_are_quantized_between_convolutions_and_nowhere_else(tmp_path: Path) -> None:
    nodes = [
        MAKE("Conv", ["x", "w1"], ["a"], name="conv1", pads=[1, 1, 1, 1]),
        MAKE("Conv", ["x", "w2"], ["b"], name="conv2", pads=[1, 1, 1, 1]),
        MAKE("Add", ["a", "b"], ["s"], name="of_convolutions"),
        MAKE("Softmax", ["s"], ["p"], name="softmax"),
        MAKE("Add", ["s", "p"], ["t"], name="with_another"),
        MAKE("Conv", ["t", "w3"], ["y"], name="conv3", pads=[1, 1, 1, 1]),
    ]
    constants_ = {"w1": normal(1, 4, 4, 3, 3), "w2": normal(2, 4, 4, 3, 3), "w3": normal(3, 2, 4, 3, 3)}
    model = graph_model(nodes, constants_, x=(4, 12, 12), y=(2, 12, 12))
    assert set(select_nodes(model, frozenset()).nodes) == {"conv1", "conv2", "of_convolutions", "conv3"}


def test_the_convolution_of_a_picture_stays_and_the_sums_behind_it_do_not(tmp_path: Path) -> None:
    nodes = [
        MAKE("Conv", ["x", "w1"], ["a"], name="of_picture", pads=[1, 1, 1, 1]),
        MAKE("Relu", ["a"], ["r"], name="relu"),
        MAKE("Conv", ["r", "w2"], ["b"], name="conv", pads=[1, 1, 1, 1]),
        MAKE("Add", ["r", "b"], ["s"], name="residual"),
        MAKE("Conv", ["s", "w3"], ["y"], name="depthwise", group=4, pads=[1, 1, 1, 1]),
    ]
    constants_ = {"w1": normal(1, 4, 3, 3, 3), "w2": normal(2, 4, 4, 3, 3), "w3": normal(3, 4, 1, 3, 3)}
    chosen = select_nodes(graph_model(nodes, constants_, x=(3, 12, 12), y=(4, 12, 12)), frozenset())
    assert chosen.layers == ("conv", "depthwise")
    assert "residual" in chosen.nodes
    assert [(left.node, left.why) for left in chosen.left] == [("of_picture", "few input channels: faster in float32")]


def test_values_without_a_finite_range_leave_their_layer_in_float32(tmp_path: Path) -> None:
    chosen = select_nodes(mlp(), frozenset(), {"x": (-1.0, 1.0), "h": (float("-inf"), 1.0)})
    assert [(left.node, left.why) for left in chosen.left] == [("first", "its values have no finite range")]


def test_an_earlier_calibration_saves_running_the_model(tmp_path: Path) -> None:
    first = job(tmp_path, "cnn")
    folder = tmp_path / "calibration"
    folder.mkdir()
    assert int8_static.calibrate(first, folder) == 8
    again = replace(job(tmp_path, "cnn"), calibration=folder, batches=None)
    fresh = int8_static.convert(job(tmp_path, "cnn")).model
    assert int8_static.convert(again).model.SerializeToString() == fresh.SerializeToString()


def test_the_worst_layer_is_first_and_leaving_it_out_helps(tmp_path: Path) -> None:
    """The last layer has huge weights for a channel that is always 0, and one scale for all of them."""
    model = cnn()
    for name, value in (("scale", 0.0), ("shift", -1.0), ("w3", 1000.0)):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        array = onnx.numpy_helper.to_array(tensor).copy()
        array[0] = value
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
    asked = job(tmp_path, "cnn", model, per_channel=False)
    folder = tmp_path / "calibration"
    folder.mkdir()
    int8_static.calibrate(asked, folder)
    graph, ranges = int8_static.load(folder)
    data = [inputs_of("cnn", 8, 1), inputs_of("cnn", 8, 2)]
    selection = select_nodes(graph, frozenset(), ranges)
    ranked = sensitivity.rank(sensitivity.Prepared(graph, ranges, selection), asked.wish, data, asked.scratch, 60.0)
    assert ranked.complete
    assert {layer for layer, _ in ranked.layers} == {"conv1", "conv2", "last"}
    assert [noise for _, noise in ranked.layers] == sorted(noise for _, noise in ranked.layers)
    right = [open_session(model.SerializeToString()).run(None, batch) for batch in data]

    def noise(without: list[str]) -> float:
        made = int8_static.convert(
            replace(asked, calibration=folder, wish=replace(asked.wish, without=tuple(without)))
        ).model
        running = open_session(made.SerializeToString())
        return sensitivity.compute_signal_to_noise(right, [running.run(None, batch) for batch in data])

    (worst, _), *rest = ranked.layers
    assert worst == "last"
    assert noise([worst]) > noise([]) + 20
    assert noise([worst]) > max(noise([layer]) for layer, _ in rest) + 20


def test_time_bounds_the_ranking(tmp_path: Path) -> None:
    asked = job(tmp_path, "cnn")
    folder = tmp_path / "calibration"
    folder.mkdir()
    int8_static.calibrate(asked, folder)
    graph, ranges = int8_static.load(folder)
    data = [inputs_of("cnn", 2, 1)]
    selection = select_nodes(graph, frozenset(), ranges)
    ranked = sensitivity.rank(sensitivity.Prepared(graph, ranges, selection), asked.wish, data, asked.scratch, 0.0)
    assert [layer for layer, _ in ranked.layers] == ["conv2"]  # the one with most weights
    assert not ranked.complete


def test_signal_to_noise_is_that_of_the_worst_output_over_all_batches() -> None:
    one = np.float32([1.0, 1.0])
    right, got = [[one, one], [one, one]], [[one, one + 0.1], [one, one]]
    assert sensitivity.compute_signal_to_noise(right, got) == pytest.approx(10 * np.log10(4 / 0.02), rel=1e-5)
    assert sensitivity.compute_signal_to_noise(right, right) == sensitivity.EXACT_DB
    assert sensitivity.compute_signal_to_noise([[one]], [[one * np.float32(np.nan)]]) == float("-inf")


def test_children_calibrate_rank_and_reduce(tmp_path: Path) -> None:
    """As the pipeline calls them, with what the spec's calibration data says."""
    path, samples = place(tmp_path / "source", cnn(), "cnn")
    np.savez(tmp_path / "c.npz", **inputs_of("cnn", 8, 1))
    (tmp_path / "m.onnx").write_bytes(path.read_bytes())
    fields = {
        "inputs": {"x": {"dtype": "float32", "shape": ["n", 4, 12, 12]}},
        "calibration": {"data": "c.npz"},
        "targets": {"cpu": {"precision": "int8-static"}},
    }
    file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields)
    part = SpecPart.of(file, "calibration", "dynamic_axes")
    wish, asked = Wish("int8-static"), replace(samples, spec=part, data="c.npz", method="percentile")
    for name in ("calibration", "out", "scratch"):
        (tmp_path / name).mkdir()
    kept, said = tmp_path / "calibration", list[str]()
    assert reduce.calibrate_model(path, kept, wish, asked, said.append) == 8
    assert said
    assert sorted(file.name for file in kept.iterdir()) == ["prepared.onnx", "prepared.onnx.data", "ranges.json"]
    ranked = sensitivity.rank_layers(path, tmp_path / "scratch", kept, wish, asked)
    assert not list((tmp_path / "scratch").iterdir())
    worst = ranked.layers[0][0]
    found = reduce.reduce_model(path, tmp_path / "out", replace(wish, without=(worst,)), asked, kept)
    assert [left.node for left in found.left] == [worst]
    weights = {
        tensor.name: DTYPES[tensor.data_type] for tensor in onnx.load(tmp_path / "out/model.onnx").graph.initializer
    }
    assert "int8" in weights.values()


def test_data_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    asked = replace(job(tmp_path, "mlp"), batches=lambda: iter([{"x": np.zeros((2, 3), np.float32)}]))
    with pytest.raises(SourceError, match="the float32 model fails on x"):
        int8_static.convert(asked)
