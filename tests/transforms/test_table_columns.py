"""Columns of a table become a model's inputs: nodes in onnxruntime beside numpy, and beside what is meant."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from echo_models import NUMBERS, run_both
from exporting import write_spec
from onnx import helper
from onnx_examples import make_model

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.data.test_inputs import Arrays, draw, list_main_sizes
from onnxpack.spec.load import SpecFile
from onnxpack.spec.served import make_served_spec
from onnxpack.transforms.graphs import add_steps

OPSETS = (9, 10, 12, 13, 17, 22)
FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int32", "int64", "uint8", "uint64")


def write_echoes(
    folder: Path, inputs: dict[str, Any], step: dict[str, Any], opset: int = 17, **fields: Any
) -> SpecFile:
    """Write a spec of a model that gives back each input ``x…`` as ``y…``, behind a table."""
    names = [f"y{name[1:]}" for name in inputs]
    nodes = [helper.make_node("Identity", [name], [out], out + "_") for name, out in zip(inputs, names, strict=True)]
    values = [
        [(name, NUMBERS[one["dtype"]], one["shape"]) for name, one in zip(which, inputs.values(), strict=True)]
        for which in (inputs, names)
    ]
    onnx.save(make_model(nodes, *values, opset=opset, ir=8), folder / "m.onnx")
    known = {"inputs": inputs, "outputs": names, "opset": opset, "dynamic_axes": {"n": {"min": 1, "max": 9}}}
    model = {"framework": "onnx", "path": "m.onnx"}
    return write_spec(folder, model, **(known | {"preprocess": [{"op": "table", **step}]} | fields))


def run(file: SpecFile, sent: Arrays) -> Arrays:
    """Return what the nodes give, which is what numpy gives."""
    actual, expected, _ = run_both(file, sent)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype or array.dtype.kind == "U", name
        np.testing.assert_array_equal(actual[name], array, name)
    return actual


CITIES = ["Lima", "Oslo", "Quito"]


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("opset", OPSETS)
def test_a_row_is_joined_from_columns_of_all_kinds(tmp_path: Path, dtype: str, opset: int) -> None:
    gap = {"missing": 29} if dtype in FLOATS else {}
    columns = {
        "age": {"kind": "number", **gap},
        "city": {"kind": "category", "categories": CITIES, "missing": "Oslo", "unknown": 7},
        "since": {"kind": "date", "parts": ["month", "day"]},
        "fare": {"kind": "number"},
        "home": {"kind": "category", "categories": CITIES},
    }
    inputs = {"x": {"dtype": dtype, "shape": ["n", 6]}}
    file = write_echoes(tmp_path, inputs, {"input": "x", "columns": columns}, opset)
    sent = {
        "age": np.array([1, 41, np.nan if gap else 2], dtype),
        "city": np.array(["Quito", "", "Rome"]),
        "since": np.array([0, 59, -1]),
        "fare": np.array([8, 9, 10], dtype),
        "home": np.array(["Oslo", "Lima", "Quito"]),
    }
    third = 29 if gap else 2
    expected = np.array([[1, 2, 1, 1, 8, 1], [41, 1, 3, 1, 9, 0], [third, 7, 12, 31, 10, 2]], dtype)
    np.testing.assert_array_equal(run(file, sent)["y"], expected)


@pytest.mark.parametrize("opset", OPSETS)
def test_each_column_feeds_an_input_of_its_own(tmp_path: Path, opset: int) -> None:
    inputs = {
        "xage": {"dtype": "float32", "shape": ["n", 1]},
        "xother": {"dtype": "float32", "shape": ["n"]},
        "xcity": {"dtype": "string", "shape": ["n", 1]},
        "xport": {"dtype": "string", "shape": ["n"]},
        "xnote": {"dtype": "string", "shape": ["n", 1]},
        "xplain": {"dtype": "string", "shape": ["n"]},
        "xwhen": {"dtype": "int64", "shape": ["n", 3]},
        "xyear": {"dtype": "int64", "shape": ["n"]},
        "xyes": {"dtype": "bool", "shape": ["n", 1]},
    }
    columns = {
        "years": {"kind": "number", "to": "xage", "missing": 29.5},
        "xother": {"kind": "number"},
        "city": {"kind": "category", "to": "xcity", "categories": CITIES, "unknown": "Lima", "missing": "none"},
        "port": {"kind": "category", "to": "xport", "categories": CITIES},
        "note": {"kind": "text", "to": "xnote", "missing": "(nothing)"},
        "xplain": {"kind": "text", "missing": ""},
        "when": {"kind": "date", "to": "xwhen", "parts": ["year", "week", "hour"]},
        "year": {"kind": "date", "to": "xyear", "parts": ["year"]},
        "yes": {"kind": "number", "to": "xyes"},
    }
    sent = {
        "years": np.array([np.nan, 4], np.float32),
        "xother": np.array([np.nan, 5], np.float32),
        "city": np.array(["Rome", ""]),
        "port": np.array(["Oslo", "Quito"]),
        "note": np.array(["", "späte Ankunft"]),
        "xplain": np.array(["", "x"]),
        "when": np.array([1709164800, 3600]),
        "year": np.array([19782, 0]),
        "yes": np.array([True, False]),
    }
    found = run(write_echoes(tmp_path, inputs, {"columns": columns}, opset), sent)
    assert {name: array.tolist() for name, array in found.items() if name != "yother"} == {
        "yage": [[29.5], [4.0]], "ycity": [["Lima"], ["none"]], "yport": ["Oslo", "Quito"],
        "ynote": [["(nothing)"], ["späte Ankunft"]], "yplain": ["", "x"], "ywhen": [[2024, 9, 0], [1970, 1, 1]],
        "yyear": [2024, 1970], "yyes": [[True], [False]],
    }  # fmt: skip
    np.testing.assert_array_equal(found["yother"], np.array([np.nan, 5], np.float32))


def test_columns_may_swap_names_with_inputs_and_hide_inner_tensors(tmp_path: Path) -> None:
    inputs = {name: {"dtype": "float32", "shape": ["n"]} for name in ("xa", "xb")}
    columns = {"xb": {"kind": "number", "to": "xa"}, "xa": {"kind": "number", "to": "xb", "missing": 3}}
    sent = {"xb": np.array([1], np.float32), "xa": np.array([np.nan], np.float32)}
    found = run(write_echoes(tmp_path, inputs, {"columns": columns}), sent)
    assert (found["ya"].tolist(), found["yb"].tolist()) == ([1.0], [3.0])


def test_a_column_may_have_the_name_of_a_tensor_inside_the_model(tmp_path: Path) -> None:
    file = write_echoes(
        tmp_path, {"x": {"dtype": "float32", "shape": ["n", 1]}}, {"input": "x", "columns": {"h": {"kind": "number"}}}
    )
    nodes = [helper.make_node("Identity", ["x"], ["h"]), helper.make_node("Identity", ["h"], ["y"])]
    onnx.save(make_model(nodes, [("x", 1, ["n", 1])], [("y", 1, ["n", 1])], ir=8), tmp_path / "m.onnx")
    assert run(file, {"h": np.array([2], np.float32)})["y"].tolist() == [[2.0]]


def test_steps_behind_a_table_change_what_it_makes(tmp_path: Path) -> None:
    columns = {"a": {"kind": "number"}, "when": {"kind": "date", "parts": ["year"]}}
    steps = [
        {"op": "table", "input": "x", "columns": columns},
        {"op": "normalize", "input": "x", "mean": [1, 2000], "std": [2, 10]},
    ]
    file = write_echoes(tmp_path, {"x": {"dtype": "float32", "shape": ["n", 2]}}, {}, preprocess=steps)
    found = run(file, {"a": np.array([5], np.float32), "when": np.array([0])})
    assert found["y"].tolist() == [[2.0, -3.0]]


def test_a_columns_name_may_not_be_an_outputs(tmp_path: Path) -> None:
    inputs = {"x": {"dtype": "float32", "shape": ["n", 1]}}
    file = write_echoes(tmp_path, inputs, {"input": "x", "columns": {"y": {"kind": "number"}}}, outputs=[])
    (tmp_path / "out").mkdir()
    with pytest.raises(SpecError, match="the column 'y' has an output's name"):
        add_steps(tmp_path / "m.onnx", tmp_path / "out", file)


def test_a_model_of_an_old_opset_cannot_have_a_table(tmp_path: Path) -> None:
    inputs = {"x": {"dtype": "float32", "shape": ["n", 1]}}
    file = write_echoes(tmp_path, inputs, {"input": "x", "columns": {"a": {"kind": "number"}}})
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    onnx.save(make_model(nodes, [("x", 1, ["n", 1])], [("y", 1, ["n", 1])], opset=8, ir=8), tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="table needs opset 9, and the model has 8"):
        add_steps(tmp_path / "m.onnx", tmp_path / "out", file)


def test_samples_have_unknown_and_missing_values_where_there_are_rules(tmp_path: Path) -> None:
    columns = {
        "age": {"kind": "number", "missing": 29.5},
        "city": {"kind": "category", "categories": CITIES, "missing": 0, "unknown": -1},
        "home": {"kind": "category", "categories": CITIES},
        "since": {"kind": "date", "range": ["2020-01-01", "2020-01-03"]},
        "fare": {"kind": "number"},
    }
    inputs = {
        "x": {
            "dtype": "float32",
            "shape": ["n", 5],
            "columns": [{"range": [0, 9]}, *[{"choices": [0]}] * 3, {"range": [5, 6], "integers": True}],
        }
    }
    file = write_echoes(tmp_path, inputs, {"input": "x", "columns": columns})
    seen = make_served_spec(file.spec)
    drawn = [draw(seen, list_main_sizes(seen.axes)[3], case) for case in range(20)]
    joined = {name: np.concatenate([arrays[name] for arrays in drawn]) for name in seen.inputs}
    assert 0.1 < np.isnan(joined["age"]).mean() < 0.3
    assert set(joined["city"]) == {*CITIES, "", "a word that is not known"}
    assert set(joined["home"]) == set(CITIES)
    assert set(joined["since"]) == {18262, 18263, 18264}
    assert set(joined["fare"]) == {5.0, 6.0}
    assert run(file, drawn[0])["y"].shape == (9, 5)
