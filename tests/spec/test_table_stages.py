"""Rules on tables and dates: columns that do not fit the model's inputs are told, each with what to do."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from onnxpack.core.errors import SpecError
from onnxpack.spec.columns import ClientColumn, count_date
from onnxpack.spec.load import load
from onnxpack.spec.served import list_client_columns, make_served_spec

INPUTS = {
    "x": {"dtype": "float32", "shape": ["n", 2]},
    "age": {"dtype": "int64", "shape": ["n", 1]},
    "city": {"dtype": "string", "shape": ["n"]},
    "when": {"dtype": "float32", "shape": ["n", "m", 3]},
}
GOOD = {
    "a": {"kind": "number", "missing": 1.5},
    "b": {"kind": "category", "categories": ["u", "v"], "unknown": "u"},
}


def read(folder: Path, *steps: dict[str, Any], **fields: Any) -> Any:
    path = folder / "spec.yaml"
    (folder / "m.onnx").write_bytes(b"")
    axes = {"n": [1, 9], "m": [1, 9]}
    document = {"onnxpack": 1, "name": "t", "model": {"framework": "onnx", "path": "m.onnx"}, "inputs": INPUTS}
    document |= {"dynamic_axes": axes, "preprocess": list(steps), "opset": 17} | fields
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load(path).spec


def table(name: str = "", **columns: Any) -> dict[str, Any]:
    return {"op": "table", **({"input": name} if name else {}), "columns": columns}


def dates(name: str, *parts: str) -> dict[str, Any]:
    return {"op": "date_parts", "input": name, "parts": list(parts)}


def test_columns_take_the_place_of_the_inputs_that_they_make(tmp_path: Path) -> None:
    times = {
        "op": "date_parts",
        "input": "when",
        "parts": ["year", "month", "hour"],
        "range": ["1970-01-01", "1970-01-02"],
    }
    words = table(age={"kind": "number", "missing": 3}, place={"kind": "text", "to": "city", "missing": ""})
    spec = read(tmp_path, table("x", **GOOD), words, times)
    served = make_served_spec(spec).inputs
    assert {name: (one.dtype, one.shape) for name, one in served.items()} == {
        "a": ("float32", ("n",)), "b": ("string", ("n",)), "age": ("int64", ("n",)), "place": ("string", ("n",)),
        "when": ("int64", ("n", "m")),
    }  # fmt: skip
    assert (served["a"].missing, served["age"].missing) == (True, False)
    assert served["when"].range == (0, 86400)
    columns = list_client_columns(spec)
    assert columns[1:] == (
        ClientColumn("b", "category"),
        ClientColumn("age", "number", fill=3),
        ClientColumn("place", "text", fill=""),
        ClientColumn("when", "date", unit="seconds"),
    )
    assert math.isnan(float(columns[0].fill or 0))
    assert [column.is_limited for column in columns] == [False, True, False, False, True]


@pytest.mark.parametrize(
    ("step", "message", "hint"),
    [
        (table("x", a={"kind": "number"}), "the columns make 1 value for each row, and 'x' is [n, 2]", "one column"),
        (table("y", **GOOD), "there is no tensor 'y' here", "known: x, age"),
        (table("x"), "the table has no columns", "list them"),
        (table(agee={"kind": "number"}), "column 'agee' feeds the input 'agee', which", "did you mean 'age'?"),
        (table(a={"kind": "number", "to": "zzz"}), "column 'a' feeds the input 'zzz'", "set `to` to one of x, age"),
        (table(x={"kind": "number"}), "a column makes 1 value for each row, and 'x' is [n, 2]", "join the columns"),
        (table(a={"kind": "number", "to": "age"}, b={"kind": "number", "to": "age"}), "two columns feed", "another"),
        (table(city={"kind": "number"}), "a number cannot feed the input 'city', which is string", "`kind`"),
        (table(city={"kind": "date"}), "a date cannot feed the input 'city', which is string", "`kind`"),
        (table(age={"kind": "text"}), "a text cannot feed the input 'age', which is int64", "`kind`"),
        (table(age={"kind": "category"}), "it is not known which word has which number", "`categories`"),
        (table(age={"kind": "number", "missing": 1.5}), "missing is '1.5', and the input 'age' is int64", "`missing`"),
        (table(age={"kind": "number", "missing": "NaN"}), "missing is 'NaN', and the input 'age'", "`missing`"),
        (table(age={"kind": "number", "categories": ["a"]}), "categories does not apply to number", "remove it"),
        (table(age={"kind": "number", "parts": ["year"]}), "parts does not apply to number", "remove it"),
        (table(age={"kind": "date", "range": ["2020-01-01"]}), "a range is two dates, the earlier one first", "use"),
        (table(age={"kind": "date", "range": ["2021-01-01", "2020-01-01"]}), "a range is two dates", "use"),
        (table(age={"kind": "date", "range": ["x", "2020-01-01"]}), "range has 'x', which is no date", "in quotes"),
        (table(age={"kind": "date", "missing": 7}), "missing is '7', and no date", "in quotes"),
        (table(age={"kind": "date", "parts": ["year", "day"]}), "a column makes 2 values for each row", "join"),
        (table(city={"kind": "category", "unknown": "a"}), "without categories no word is unknown", "`categories`"),
        (table(city={"kind": "category", "categories": ["a", "a"]}), "a category is there twice", "once"),
        (table(city={"kind": "category", "categories": ["a"], "unknown": 1}), "unknown is '1'", "`unknown`"),
        (table("x", a={"kind": "number"}, age={"kind": "number"}), "the name 'age' is used twice", "another name"),
        (table("x", a={"kind": "number", "to": "x"}, b={"kind": "number"}), "`to` and the table's `input`", "remove"),
        (dates("when", "year"), "makes 1 value of each date, and 'when' is [n, m, 3]", "one part"),
        (dates("city", "year"), "the parts of dates are numbers, and 'city' is string", "remove"),
        ({"op": "date_parts", "input": "when"}, "date_parts needs parts", "parts: …"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(tmp_path: Path, step: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, step)
    told = [problem for problem in caught.value.problems if message in problem.message]
    assert told, [problem.message for problem in caught.value.problems]
    assert hint in told[0].hint
    assert len(caught.value.problems) == 1, [problem.message for problem in caught.value.problems]


def test_all_that_is_wrong_with_a_table_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, table(age={"kind": "text"}, city={"kind": "number", "unknown": 1}, x={"kind": "number"}))
    assert len(caught.value.problems) >= 4


def test_steps_come_behind_the_table_that_makes_their_input(tmp_path: Path) -> None:
    scale = {"op": "scale", "input": "x", "scale": 2}
    assert read(tmp_path, table("x", **GOOD), scale).preprocess
    with pytest.raises(SpecError, match="scale changes 'x' in front of the table that makes it"):
        read(tmp_path, scale, table("x", **GOOD))
    with pytest.raises(SpecError, match="feeds the input 'age', which the model does not have here"):
        read(tmp_path, table(age={"kind": "number"}), table(b={"kind": "number", "to": "age"}))


def test_a_table_needs_an_opset_that_tells_nan(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="table needs opset 9, the spec asks for 8"):
        read(tmp_path, table("x", **GOOD), opset=8)


def test_missing_values_are_for_floats(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="missing does not apply to int64"):
        read(tmp_path, inputs={**INPUTS, "age": {**INPUTS["age"], "missing": True}})


@pytest.mark.parametrize(
    ("text", "days", "seconds"),
    [
        ("2024-02-29", 19782, 1709164800),
        ("2024-02-29T23:30:00-01:00", 19782, 1709253000),
        ("0001-01-01", -719162, -62135596800),
    ],
)
def test_dates_are_counted_from_1970(text: str, days: int, seconds: int) -> None:
    assert (count_date(text, "days"), count_date(text, "seconds")) == (days, seconds)
