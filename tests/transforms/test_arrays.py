"""Every step's nodes do in onnxruntime what its numpy form does: each dtype, each form that an opset has."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import write_spec
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from onnx_examples import make_model

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.data.test_inputs import Arrays, draw, list_main_sizes
from onnxpack.graph.check import DTYPES, open_session, read_facts
from onnxpack.spec.load import SpecFile
from onnxpack.spec.served import make_served_spec
from onnxpack.transforms.arrays import apply_postprocess, apply_preprocess, fold_normalize
from onnxpack.transforms.graphs import add_steps
from onnxpack.transforms.resize import compute_weights, resize_array

NUMBERS = {word: number for number, word in DTYPES.items()}
OPSETS = (7, 9, 10, 11, 12, 13, 17, 18, 22)
FLOATS = ("float16", "float32", "float64")
TOLERANCE = {"float16": 1e-3, "float32": 2e-6, "float64": 1e-12}
AXES = {"n": {"min": 1, "max": 3}}
Make = Callable[..., SpecFile]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a spec of a model that gives back what it takes: ``x`` as ``y``."""

    def written(dtype: str, shape: list[Any], opset: int = 18, **fields: Any) -> SpecFile:
        values = [[(name, NUMBERS[dtype], shape)] for name in ("x", "y")]
        model = make_model([helper.make_node("Identity", ["x"], ["y"], "same")], *values, opset=opset, ir=8)
        onnx.save(model, tmp_path / "m.onnx")
        inputs = {"x": {"dtype": dtype, "shape": shape}}
        axes = {name: size for name, size in AXES.items() if name in shape}
        fields = {"inputs": inputs, "outputs": ["y"], "opset": opset, "dynamic_axes": axes} | fields
        return write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields)

    return written


def compared(file: SpecFile, sent: Arrays) -> tuple[Arrays, list[str]]:
    """Run the model with its steps and compare it with numpy; gives the outputs and the operators."""
    folder = file.folder / "out"
    folder.mkdir(exist_ok=True)
    answer = add_steps(file.folder / "m.onnx", folder, file).model
    running = open_session(folder / "model.onnx")
    names = [output.name for output in running.get_outputs()]
    actual = dict(zip(names, running.run(None, sent), strict=True))
    taken = apply_preprocess(file.spec, sent)
    expected = apply_postprocess(file, {"y": taken["x"]})
    assert list(actual) == list(expected)
    for name, right in expected.items():
        got = actual[name]
        assert got.shape == right.shape
        if right.dtype.kind == "f":
            assert got.dtype == right.dtype
            np.testing.assert_allclose(got, right, rtol=TOLERANCE[right.dtype.name], atol=TOLERANCE[right.dtype.name])
        else:
            np.testing.assert_array_equal(got, right)
    model = read_facts(folder / "model.onnx")
    declared = make_served_spec(file.spec).input_infos
    assert model.inputs == declared
    for info in model.outputs:
        dtype = actual[info.name].dtype
        assert info.dtype == ("string" if dtype.kind in "OU" else dtype.name)
        known = [(size, real) for size, real in zip(info.shape, actual[info.name].shape, strict=True)]
        assert all(size == real for size, real in known if isinstance(size, int))
    assert answer == model
    return actual, list(model.ops)


def floats(dtype: str, *shape: int) -> Any:
    return (np.random.default_rng(0).standard_normal(shape) * 3).astype(dtype)


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
    (actual, ops) = compared(file, {"x": np.ascontiguousarray(PIXELS.transpose(0, 2, 3, 1))})
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
    compared(file, sent)
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
    assert compared(file, {"x": sent})[0]["y"].dtype == given


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
    np.testing.assert_array_equal(compared(file, {"x": sent})[0]["y"], sent.transpose(order))


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
    loose = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-5}  # onnxruntime's places are float32
    scale = 255 if CAST in steps else 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "TOLERANCE", {name: value * scale for name, value in loose.items()})
        compared(file, sent)


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


@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_the_shares_of_a_resized_image_are_a_mean(size: int, out: int, antialias: bool) -> None:
    rows = compute_weights(size, out, antialias)
    assert rows.shape == (out, size)
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    np.testing.assert_allclose(rows, rows[::-1, ::-1], atol=1e-12)
    if size == out:
        np.testing.assert_array_equal(rows, np.eye(size))


def test_a_smaller_image_is_blurred_as_pillow_does_it() -> None:
    image = np.array([0, 0, 0, 0, 255, 0, 0, 0], np.float32).reshape(1, 1, 1, 8)
    # Image.fromarray(row).resize((4, 1), Image.BILINEAR) of Pillow 13, mode F
    np.testing.assert_allclose(resize_array(image, (2, 3), (1, 4), True).ravel(), [0, 31.875, 95.625, 0], atol=1e-4)
    assert resize_array(image, (2, 3), (1, 4), False).ravel().tolist() == [0, 0, 127.5, 0]


# Behind the model

STEPS = {
    "sigmoid": {"op": "sigmoid", "input": "y"},
    "softmax": {"op": "softmax", "input": "y"},
    "softmax 1": {"op": "softmax", "input": "y", "axis": 1},
    "softmax -2": {"op": "softmax", "input": "y", "axis": -2},
    "argmax": {"op": "argmax", "input": "y"},
    "argmax 0": {"op": "argmax", "input": "y", "axis": 0},
    "topk": {"op": "topk", "input": "y", "k": 3},
    "topk 1": {"op": "topk", "input": "y", "k": 2, "axis": 1},
    "scale": {"op": "scale", "input": "y", "factor": -0.1},
    "labels": {"op": "labels", "input": "y", "labels": "labels.txt"},
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", STEPS)
def test_a_step_behind_the_model(make: Make, tmp_path: Path, kind: str, dtype: str, opset: int) -> None:
    (tmp_path / "labels.txt").write_text("ant\nbée\n\nd d\ne\n")
    file = make(dtype, ["n", 3, 5], opset, postprocess=[STEPS[kind]])
    actual, _ = compared(file, {"x": floats(dtype, 2, 3, 5)})
    assert list(actual) == (["y_values", "y_indices"] if kind.startswith("topk") else ["y"])


def test_equal_values_keep_their_order(make: Make) -> None:
    file = make("float32", ["n", 5], postprocess=[STEPS["topk"] | {"output": "t"}, STEPS["argmax"]])
    x = np.array([[1, 3, 3, 1, 3], [0, 0, 0, 0, 0], [2, 1, 2, 1, 2]], np.float32)
    actual = compared(file, {"x": x})[0]
    assert actual["t_indices"].tolist() == [[1, 2, 4], [0, 1, 2], [0, 2, 4]]
    assert actual["y"].tolist() == [1, 0, 0]


def test_extreme_values_stay_numbers(make: Make) -> None:
    file = make("float32", ["n", 4], postprocess=[STEPS["sigmoid"] | {"output": "p"}, STEPS["softmax"]])
    x = np.array([[1e4, -1e4, 3e38, -3e38], [88, -88, 0, -0.0]], np.float32)
    actual = compared(file, {"x": x})[0]
    assert np.isfinite(actual["p"]).all()
    assert np.isfinite(actual["y"]).all()


def test_outputs_stand_beside_the_old_ones_or_in_their_place(make: Make, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    steps = [
        {"op": "softmax", "input": "y", "output": "p"},
        {"op": "topk", "input": "p", "k": 2, "output": "best"},
        {"op": "labels", "input": "best_indices", "labels": "labels.txt"},
        {"op": "sigmoid", "input": "y"},
        {"op": "scale", "input": "y", "factor": 100},
    ]
    file = make("float32", ["n", 4], postprocess=steps)
    x = floats("float32", 3, 4)
    actual, _ = compared(file, {"x": x})
    assert list(actual) == ["y", "p", "best_values", "best_indices"]
    np.testing.assert_allclose(actual["y"], 100 / (1 + np.exp(-x)), rtol=1e-5)
    assert actual["best_indices"][0].tolist() == [list("abcd")[index] for index in np.argsort(-x[0])[:2]]


def test_names_that_the_graph_has_inside_are_no_hindrance(make: Make, tmp_path: Path) -> None:
    file = make("float32", ["n", 4], preprocess=[{"op": "scale", "input": "x", "scale": 2}],
                postprocess=[STEPS["sigmoid"] | {"output": "p"}, STEPS["softmax"]])  # fmt: skip
    names = ["x__model", "preprocess/0_scale/scale", "p", "y__model", "postprocess/0_sigmoid/Sigmoid"]
    chain = ["x", *names, "y"]
    nodes = [helper.make_node("Neg", [a], [b], a) for a, b in pairwise(chain)]
    onnx.save(make_model(nodes, opset=18), tmp_path / "m.onnx")
    compared(file, {"x": floats("float32", 2, 4)})  # six times the sign is none


def test_a_float16_model_is_computed_around_in_float32(make: Make) -> None:
    scale = {"op": "scale", "input": "x", "scale": 3}
    file = make("float16", ["n", 3], preprocess=[scale, NORMALIZE], postprocess=[STEPS["scale"]])
    compared(file, {"x": floats("float16", 2, 3)})
    graph = onnx.load(file.folder / "out/model.onnx").graph
    assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT}


def test_the_nodes_are_named_for_what_they_are(make: Make) -> None:
    steps = {"preprocess": [CAST], "postprocess": [STEPS["softmax"]]}
    file = make("float32", ["n", 4], **steps)
    for folder in ("one", "two"):
        (file.folder / folder).mkdir()
        add_steps(file.folder / "m.onnx", file.folder / folder, file)
    assert (file.folder / "one/model.onnx").read_bytes() == (file.folder / "two/model.onnx").read_bytes()
    graph = onnx.load(file.folder / "one/model.onnx").graph
    assert [node.name for node in graph.node] == ["preprocess/0_cast/Cast", "same", "postprocess/0_softmax/Softmax"]


REFUSED = [
    ([{"op": "sigmoid", "input": "z"}], "there is no output 'z' here (known: y)"),
    ([STEPS["topk"] | {"k": 6}], "topk takes the 6 greatest, and 'y' has 5 along axis 1"),
    ([STEPS["softmax"] | {"axis": 2}], "softmax is along axis 2, and 'y' has 2 dimensions"),
    ([STEPS["argmax"], STEPS["softmax"]], "softmax is for floats, and 'y' is int64"),
    ([STEPS["labels"]], "labels has 3 labels, and 'y' has 5 classes"),
    ([STEPS["argmax"], STEPS["labels"], STEPS["labels"]], "labels is for class numbers or scores, and 'y' is string"),
    ([STEPS["sigmoid"] | {"output": "p"}, STEPS["softmax"] | {"output": "p"}], "the output 'p' exists already"),
    ([STEPS["labels"] | {"labels": "empty.txt"}], "the file is empty"),
    ([STEPS["labels"] | {"labels": "latin.txt"}], "labels 'latin.txt': 'utf-8' codec"),
    ([STEPS["sigmoid"] | {"output": "x"}], "the output 'x' has an input's name"),
]


@pytest.mark.parametrize(("steps", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_step_that_does_not_fit_the_outputs_is_refused(
    make: Make, tmp_path: Path, steps: list[Any], words: str
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"\xe9\n")
    file = make("float32", ["n", 5], outputs=[], postprocess=[dict(step) for step in steps])
    with pytest.raises(SpecError) as by_nodes:
        add_steps(tmp_path / "m.onnx", tmp_path, file)
    assert words in str(by_nodes.value)
    if "input's name" not in words:
        with pytest.raises(SpecError) as by_numpy:
            apply_postprocess(file, {"y": floats("float32", 2, 5)})
        assert words in str(by_numpy.value)


def test_a_class_without_a_label_is_told(make: Make, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc")
    file = make("int32", ["n"], postprocess=[STEPS["labels"]])
    assert compared(file, {"x": np.array([2, 0, 1], np.int32)})[0]["y"].tolist() == ["c", "a", "b"]
    with pytest.raises(SpecError, match="has 3 labels, and 'y' gave 3"):
        apply_postprocess(file, {"y": np.array([0, 3], np.int32)})
