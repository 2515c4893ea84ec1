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
from onnxpack.transforms.outputs import apply_postprocess

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
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", STEPS)
def test_a_step_behind_the_model(make: Make, tmp_path: Path, kind: str, dtype: str, opset: int) -> None:
    (tmp_path / "labels.txt").write_text("ant\nbée\n\nd d\ne\n")
    file = make(dtype, ["n", 3, 5], opset, postprocess=[STEPS[kind]])
    actual, _ = run_and_compare(file, {"x": floats(dtype, 2, 3, 5)})
    assert list(actual) == (["y_values", "y_indices"] if kind.startswith("topk") else ["y"])


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
