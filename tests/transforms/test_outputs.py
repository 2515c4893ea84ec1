"""The steps behind a model give in onnxruntime what they give in numpy, under the names that they should."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from echo_models import FLOATS, OPSETS, Make, floats, run_and_compare
from onnx import helper
from onnx_examples import make_model

from onnxpack.core.errors import SpecError
from onnxpack.transforms.graphs import add_steps
from onnxpack.transforms.outputs import apply_postprocess, list_units

NORMALIZE = {"op": "normalize", "input": "x", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 255}

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
    "topk labels": {"op": "topk", "input": "y", "k": 2, "labels": "labels.txt"},
    "threshold": {"op": "threshold", "input": "y", "at": 0.3},
    "threshold int": {"op": "threshold", "input": "y", "at": 0, "dtype": "int64"},
    "threshold words": {"op": "threshold", "input": "y", "at": -1, "labels": "two.txt"},
    "mean": {"op": "mean", "input": "y", "axis": 0},
    "mean -1": {"op": "mean", "input": "y", "axis": -1},
    "round": {"op": "round", "input": "y", "digits": 1},
    "round half": {"op": "round", "input": "y", "digits": 0, "dtype": "float16"},
    "round tens": {"op": "round", "input": "y", "digits": -1, "dtype": "float64"},
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", STEPS)
def test_a_step_behind_the_model(make: Make, tmp_path: Path, kind: str, dtype: str, opset: int) -> None:
    (tmp_path / "labels.txt").write_text("ant\nbée\n\nd d\ne\n")
    (tmp_path / "two.txt").write_text("no\nyes\n")
    file = make(dtype, ["n", 3, 5], opset, postprocess=[STEPS[kind]])
    actual, _ = run_and_compare(file, {"x": floats(dtype, 2, 3, 5)})
    pair = ["y_values", "y_labels" if kind.endswith("labels") else "y_indices"]
    assert list(actual) == (pair if kind.startswith("topk") else ["y"])


def test_equal_values_keep_their_order(make: Make) -> None:
    file = make("float32", ["n", 5], postprocess=[STEPS["topk"] | {"output": "t"}, STEPS["argmax"]])
    x = np.array([[1, 3, 3, 1, 3], [0, 0, 0, 0, 0], [2, 1, 2, 1, 2]], np.float32)
    actual = run_and_compare(file, {"x": x})[0]
    assert actual["t_indices"].tolist() == [[1, 2, 4], [0, 1, 2], [0, 2, 4]]
    assert actual["y"].tolist() == [1, 0, 0]


def test_extreme_values_stay_numbers(make: Make) -> None:
    file = make("float32", ["n", 4], postprocess=[STEPS["sigmoid"] | {"output": "p"}, STEPS["softmax"]])
    x = np.array([[1e4, -1e4, 3e38, -3e38], [88, -88, 0, -0.0]], np.float32)
    actual = run_and_compare(file, {"x": x})[0]
    assert np.isfinite(actual["p"]).all()
    assert np.isfinite(actual["y"]).all()


ANY_RANK = [kind for kind in STEPS if "1" not in kind and "-2" not in kind and "labels" not in kind]


@pytest.mark.parametrize("kind", ANY_RANK)
@pytest.mark.parametrize("shape", [[4], ["n", 4], ["n", 2, 4], ["n", 2, 3, 4]])
def test_a_step_takes_tensors_of_any_rank_and_no_rows(make: Make, tmp_path: Path, kind: str, shape: list[Any]) -> None:
    (tmp_path / "two.txt").write_text("no\nyes\n")
    file = make("float32", shape, postprocess=[STEPS[kind]], dynamic_axes={"n": [0, 3]} if "n" in shape else {})
    for rows in (0, 1, 3) if kind != "argmax 0" else (1, 3):
        sent = floats("float32", *(rows if size == "n" else size for size in shape))
        actual, _ = run_and_compare(file, {"x": sent})
        assert actual


@pytest.mark.parametrize("opset", [7, 11, 18])
@pytest.mark.parametrize("dtype", FLOATS)
def test_halves_go_to_the_even_digit_as_numpy_rounds(make: Make, dtype: str, opset: int) -> None:
    ties = [0.5, 1.5, 2.5, -0.5, -1.5, 0.125, 0.375, 0.285, 0.345, 0.355, 1.005, 7.5, 1e30, -3e4, np.nan, np.inf]
    with np.errstate(over="ignore"):  # of float16
        x = np.array(ties).astype(dtype)
    for digits in (0, 1, 2, 3, -1):
        file = make(dtype, ["n", 16], opset, postprocess=[{"op": "round", "input": "y", "digits": digits}])
        actual, _ = run_and_compare(file, {"x": x[None]})
        with np.errstate(all="ignore"):
            right = np.round(x.astype(np.float64), digits).astype(dtype)
        np.testing.assert_array_equal(actual["y"][0], right)


def test_a_value_written_like_the_limit_is_a_yes_and_nan_is_none(make: Make) -> None:
    for dtype in FLOATS:
        for at in (0.1, 0.3, 0.7, -2, 0):
            x = np.array([[at, np.nan, np.inf, -np.inf, 0.0]]).astype(dtype)
            x[0, 4] = np.nextafter(x[0, 0], np.asarray(-np.inf, dtype))
            for opset in (7, 18):
                file = make(dtype, ["n", 5], opset, postprocess=[{"op": "threshold", "input": "y", "at": at}])
                actual, _ = run_and_compare(file, {"x": x})
                assert actual["y"].tolist() == [[True, False, True, False, False]]


def test_percentages_are_averaged_over_samples_and_rounded(make: Make) -> None:
    steps = [
        {"op": "sigmoid", "input": "y"},
        {"op": "scale", "input": "y", "factor": 100},
        {"op": "mean", "input": "y", "axis": 0},
        {"op": "round", "input": "y", "digits": 2, "dtype": "float16"},
    ]
    x = floats("float32", 3, 5)
    actual, _ = run_and_compare(make("float32", ["n", 5], 13, postprocess=steps), {"x": x})
    right = (100 / (1 + np.exp(-x.astype(np.float64)))).mean(axis=0).round(2).astype(np.float16)
    assert actual["y"].dtype == np.float16
    np.testing.assert_array_equal(actual["y"], right)


def test_an_old_output_stays_on_wish_and_goes_on_wish(make: Make) -> None:
    sigmoid, topk = STEPS["sigmoid"], STEPS["topk"]
    x = {"x": floats("float32", 2, 4)}
    wished = {
        "y y_sigmoid": sigmoid | {"keep": True},
        "y y_values y_indices": topk | {"keep": True},
        "p": sigmoid | {"keep": False, "output": "p"},
        "best_values best_indices": topk | {"keep": False, "output": "best"},
    }
    for names, step in wished.items():
        actual, _ = run_and_compare(make("float32", ["n", 4], postprocess=[step]), x)
        assert " ".join(actual) == names


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
    actual, _ = run_and_compare(file, {"x": x})
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
    run_and_compare(file, {"x": floats("float32", 2, 4)})  # six times the sign is none


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
    ([STEPS["topk labels"]], "topk has 3 labels, and 'y' has 5 classes"),
    ([STEPS["threshold words"] | {"labels": "labels.txt"}], "threshold needs two labels, and 'labels.txt' has 3"),
    ([STEPS["threshold"] | {"dtype": "string"}], "threshold cannot give string"),
    ([STEPS["threshold words"] | {"dtype": "int64", "labels": "labels.txt"}], "labels or numbers, not both"),
    ([STEPS["round"] | {"dtype": "int64"}], "round gives floats, and its dtype is int64"),
    ([STEPS["mean"] | {"axis": 2}], "mean is along axis 2, and 'y' has 2 dimensions"),
    ([STEPS["sigmoid"] | {"keep": True, "output": "y"}], "the output 'y' exists already"),
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
    assert run_and_compare(file, {"x": np.array([2, 0, 1], np.int32)})[0]["y"].tolist() == ["c", "a", "b"]
    with pytest.raises(SpecError, match="has 3 labels, and 'y' gave 3"):
        apply_postprocess(file, {"y": np.array([0, 3], np.int32)})


def test_the_unit_of_a_rounded_output_is_known_behind_later_steps(make: Make) -> None:
    steps = [
        {"op": "round", "input": "y", "digits": 2, "output": "r"},
        {"op": "scale", "input": "r", "factor": -100},
        {"op": "mean", "input": "r", "axis": 0, "output": "m"},
        {"op": "sigmoid", "input": "m"},
        {"op": "round", "input": "y", "digits": -1},
    ]
    units = list_units(make("float32", ["n", 4], postprocess=steps).spec)
    assert units == {"r": pytest.approx(1.0), "y": 10.0}
