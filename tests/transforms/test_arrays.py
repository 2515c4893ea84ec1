"""Every step's nodes do in onnxruntime what its numpy form does: each dtype, each form that an opset has."""

from typing import Any

import numpy as np
import onnx
import pytest
from echo_models import AXES, FLOATS, OPSETS, Make, floats, run_and_compare
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx_examples import make_model

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import draw, list_main_sizes
from onnxpack.spec.served import make_served_spec
from onnxpack.transforms.arrays import apply_preprocess, fold_normalize
from onnxpack.transforms.graphs import add_steps
from onnxpack.transforms.resize import compute_weights, resize_array

SCALE = {"op": "scale", "input": "y", "factor": -0.1}

# In front of the model

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
NORMALIZE = {"op": "normalize", "input": "x", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 255}
CAST = {"op": "cast", "input": "x", "dtype": "uint8"}
NHWC = {"op": "layout", "input": "x", "layout": "NHWC"}
NCHW = {"op": "layout", "input": "x", "layout": "NCHW"}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("opset", OPSETS)
def test_an_image_of_bytes_is_made_what_a_model_takes(make: Make, dtype: str, opset: int) -> None:
    file = make(dtype, ["n", 3, 4, 5], opset, preprocess=[CAST, NHWC, NORMALIZE])
    (actual, ops) = run_and_compare(file, {"x": np.ascontiguousarray(PIXELS.transpose(0, 2, 3, 1))})
    assert {"Cast", "Transpose", "Mul", "Add"} < set(ops)
    red = (PIXELS[:, 0] / 255 - 0.485) / 0.229
    np.testing.assert_allclose(actual["y"][:, 0], red, rtol=5e-3 if dtype == "float16" else 1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        (["n", 4, 5, 3], [CAST, NCHW, NORMALIZE]),
        (["n", 4, 5, 3], [CAST, NORMALIZE]),
        (["n", 3, 4, 5], [CAST, NORMALIZE, NHWC]),
        (["n", 7, 3], [NORMALIZE]),
        ([3, 4, 5], [CAST, NORMALIZE]),
        (["n", 3], [NORMALIZE]),
        (["n"], [NORMALIZE | {"mean": [2], "std": [4]}]),
        ([], [{"op": "scale", "input": "x", "scale": 3}]),
        (["n", 3, 3, 4], [CAST, NORMALIZE, NHWC]),
        (["n", 3, 3, 3], [CAST, NORMALIZE, NHWC]),
    ],
)
def test_channels_are_found_by_layout_and_shape(make: Make, shape: list[Any], steps: list[Any]) -> None:
    file = make("float32", shape, preprocess=[dict(step) for step in steps])
    sent = draw(make_served_spec(file.spec), {"n": 2}, 0)
    run_and_compare(file, sent)
    taken = apply_preprocess(file.spec, sent)["x"]
    assert taken.shape == tuple(2 if size == "n" else size for size in shape)


def test_many_images_are_done_a_few_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make("float32", ["n", 3, 4, 5], preprocess=[CAST, NHWC, NORMALIZE], dynamic_axes={"n": [1, 9]})
    sent = draw(make_served_spec(file.spec), {"n": 9}, 0)
    whole = apply_preprocess(file.spec, sent)["x"]
    monkeypatch.setattr("onnxpack.transforms.arrays._PIECE", 120)
    seen = []
    monkeypatch.setattr(
        "onnxpack.transforms.arrays.fold_normalize", lambda stage: seen.append(1) or fold_normalize(stage)
    )
    np.testing.assert_array_equal(apply_preprocess(file.spec, sent)["x"], whole)
    assert len(seen) == 5


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint16", "bool", "float16", "float64"])
@pytest.mark.parametrize("given", ["int64", "float32", "float16", "uint8"])
def test_casts(make: Make, dtype: str, given: str) -> None:
    file = make(given, ["n", 4], preprocess=[CAST | {"dtype": dtype}])
    sent = np.array([[0, 1, 5, 100]]).astype(dtype)
    assert run_and_compare(file, {"x": sent})[0]["y"].dtype == given


def test_what_a_client_sends_is_drawn_from_its_dtype_or_range(make: Make) -> None:
    file = make("float32", ["n", 3, 30, 30], preprocess=[CAST, NHWC])
    sent = draw(make_served_spec(file.spec), {"n": 3}, 0)["x"]
    assert (sent.shape, sent.dtype, sent.min(), sent.max()) == ((3, 30, 30, 3), "uint8", 0, 255)
    given = {"x": {"dtype": "float32", "shape": ["n", 3, 30, 30], "range": [7, 9]}}
    narrow = draw(
        make_served_spec(make("float32", ["n", 3, 30, 30], inputs=given, preprocess=[CAST]).spec), {"n": 3}, 0
    )
    assert set(narrow["x"].ravel().tolist()) == {7, 8, 9}


@pytest.mark.parametrize(("step", "order"), [(NHWC, (0, 3, 1, 2)), (NCHW, (0, 2, 3, 1))])
def test_a_layout_is_what_the_client_sends(make: Make, step: Any, order: tuple[int, ...]) -> None:
    sent = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    shape = [["n", 3, 4, 5][axis] for axis in order]
    file = make("float32", shape, preprocess=[step])
    assert make_served_spec(file.spec).inputs["x"].shape == ("n", 3, 4, 5)
    np.testing.assert_array_equal(run_and_compare(file, {"x": sent})[0]["y"], sent.transpose(order))


def test_a_spec_without_steps_is_the_clients(make: Make) -> None:
    spec = make("float32", ["n", 4]).spec
    assert make_served_spec(spec) is spec


RESIZE = {"op": "resize", "input": "x", "size": [6, 4]}


@pytest.mark.parametrize("opset", [opset for opset in OPSETS if opset >= 11])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("steps", [[CAST, NHWC, RESIZE], [CAST, RESIZE], [CAST, RESIZE, NHWC], [RESIZE]])
@pytest.mark.parametrize("size", [(6, 4), (1, 1), (3, 9), (24, 16), (13, 11)])
def test_images_of_any_size_are_resized(
    make: Make, opset: int, dtype: str, steps: list[Any], size: tuple[int, int]
) -> None:
    file = make(dtype, ["n", 3, 6, 4], opset, preprocess=[dict(step) for step in steps])
    at = {"n": 2, "x_height": size[0], "x_width": size[1]}
    sent = draw(make_served_spec(file.spec), at, 0)
    assert sent["x"].shape[2 if NHWC not in steps else 1] == size[0]
    # onnxruntime's places are float32
    loose = {"float16": 2, "float32": 5, "float64": 1e7}[dtype]
    run_and_compare(file, sent, loose * (255 if CAST in steps else 4))


def test_a_client_has_axes_of_its_own_for_height_and_width(make: Make) -> None:
    file = make("float32", ["n", 3, 6, 4], preprocess=[RESIZE])
    axes = {axis.name: (axis.min, axis.opt, axis.max) for axis in make_served_spec(file.spec).axes}
    assert axes == {"n": (1, 3, 3), "x_height": (1, 6, 24), "x_width": (1, 4, 16)}
    own = AXES | {"x_height": {"min": 6, "max": 50}}
    file = make("float32", ["n", 3, 6, 4], preprocess=[RESIZE], dynamic_axes=own)
    axes = {axis.name: (axis.min, axis.opt, axis.max) for axis in make_served_spec(file.spec).axes}
    assert axes == {"n": (1, 3, 3), "x_height": (6, 8, 50), "x_width": (1, 4, 16)}
    assert {"n": 3, "x_height": 50, "x_width": 16} in list_main_sizes(make_served_spec(file.spec).axes)


def test_resizing_depends_on_the_opset_that_the_numpy_form_went_by(make: Make) -> None:
    file = make("float32", ["n", 3, 6, 4], 17, preprocess=[RESIZE])
    other = make_model([helper.make_node("Relu", ["x"], ["y"])], opset=18)
    onnx.save(other, file.folder / "m.onnx")
    with pytest.raises(SourceError, match=r"the model has 18 \(set `opset: 18`\)"):
        add_steps(file.folder / "m.onnx", file.folder, file)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["linear", "linear_antialias"]))
def test_the_shares_of_a_resized_image_are_a_mean(size: int, out: int, kernel: str) -> None:
    rows = compute_weights(size, out, kernel)
    assert rows.shape == (out, size)
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    np.testing.assert_allclose(rows, rows[::-1, ::-1], atol=1e-12)
    if size == out:
        np.testing.assert_array_equal(rows, np.eye(size))


def test_a_smaller_image_is_blurred_as_pillow_does_it() -> None:
    image = np.array([0, 0, 0, 0, 255, 0, 0, 0], np.float32).reshape(1, 1, 1, 8)
    # Image.fromarray(row).resize((4, 1), Image.BILINEAR) of Pillow 13, mode F
    np.testing.assert_allclose(
        resize_array(image, (2, 3), (1, 4), "linear_antialias").ravel(), [0, 31.875, 95.625, 0], atol=1e-4
    )
    assert resize_array(image, (2, 3), (1, 4), "linear").ravel().tolist() == [0, 0, 127.5, 0]


def test_a_float16_model_is_computed_around_in_float32(make: Make) -> None:
    scale = {"op": "scale", "input": "x", "scale": 3}
    file = make("float16", ["n", 3], preprocess=[scale, NORMALIZE], postprocess=[SCALE])
    run_and_compare(file, {"x": floats("float16", 2, 3)})
    graph = onnx.load(file.folder / "out/model.onnx").graph
    assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT}


def test_the_nodes_are_named_for_what_they_are(make: Make) -> None:
    steps = {"preprocess": [CAST], "postprocess": [{"op": "softmax", "input": "y"}]}
    file = make("float32", ["n", 4], **steps)
    for folder in ("one", "two"):
        (file.folder / folder).mkdir()
        add_steps(file.folder / "m.onnx", file.folder / folder, file)
    assert (file.folder / "one/model.onnx").read_bytes() == (file.folder / "two/model.onnx").read_bytes()
    graph = onnx.load(file.folder / "one/model.onnx").graph
    assert [node.name for node in graph.node] == ["preprocess/0_cast/Cast", "same", "postprocess/0_softmax/Softmax"]
