"""JSON records and csv of a generated module: what they become, and what is said of those that are wrong."""

import csv
import io
import json
import math
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Load = Callable[..., ModuleType]

RECORDS: list[dict[str, Any]] = [
    {"age": 41.5, "visits": 3, "city": "Lima", "note": 'a, "b"\nc', "joined": "2024-02-29", "seen": "1970-01-02"},
    {"age": None, "visits": None, "city": "Oslo", "note": None, "joined": "1969-12-31T23:59:59+02:00", "seen": None},
    {"age": 7, "city": "", "joined": "0001-01-01", "seen": "2024-02-29T01:00:00+01:00"},
    {"age": "NaN", "visits": -(2**63), "city": "Köln", "note": "", "joined": "9999-12-31", "seen": "1969-12-31 23:59"},
]
ARRAYS = {
    "age": np.array([41.5, np.nan, 7, np.nan], np.float32),
    "visits": np.array([3, 1, 1, -(2**63)], np.int64),
    "city": np.array(["Lima", "Oslo", "", "Köln"], object),
    "note": np.array(['a, "b"\nc', "", "", ""], object),
    "joined": np.array([19782, -1, -719162, 2932896], np.int64),
    "seen": np.array([86400, 0, 1709164800, -60], np.int64),
}
CSV = """city,joined,age,seen,visits,note
Lima,2024-02-29,41.5,1970-01-02,3,"a, ""b""
c"
Oslo,1969-12-31T23:59:59+02:00,,,,
"",0001-01-01,7,2024-02-29T01:00:00+01:00,,
Köln,9999-12-31,nan,1969-12-31 23:59,-9223372036854775808,""
"""


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.parametrize("change", [str, lambda text: "\ufeff" + text.replace("\n", "\r\n").replace("\r\nc", "\nc")])
def test_records_and_csv_become_the_same_arrays(load: Load, change: Callable[[str], str]) -> None:
    module = load("declared", "records")
    assert_equal(module.read_records(RECORDS), ARRAYS)
    assert_equal(module.read_csv(change(CSV).encode()), ARRAYS)
    assert_equal(module.read_csv(bytearray(change(CSV).encode())), ARRAYS)


def test_a_column_that_may_be_missing_may_be_left_out_of_all_rows(load: Load) -> None:
    module = load("declared", "records")
    expected = {
        **{name: array[:1] for name, array in ARRAYS.items()},
        "age": np.array([np.nan], np.float32), "visits": np.array([1]), "note": np.array([""], object),
        "seen": np.array([0]),
    }  # fmt: skip
    assert_equal(module.read_records([{"city": "Lima", "joined": "2024-02-29"}]), expected)
    assert_equal(module.read_csv(b"joined,city\n2024-02-29,Lima\n"), expected)


def test_an_input_of_several_columns_is_given_by_its_columns_or_as_a_list(load: Load) -> None:
    module = load("iris", "records")
    by_column = {"float_input0": 5.1, "float_input1": 3.5, "float_input2": 1, "float_input3": 0.2}
    found = module.read_records([by_column, {"float_input": [1, 2, 3, 4]}])
    assert_equal(found, {"float_input": np.array([[5.1, 3.5, 1, 0.2], [1, 2, 3, 4]], np.float32)})


def test_no_rows_are_arrays_without_rows(load: Load) -> None:
    found = load("iris", "records").read_records([])
    assert_equal(found, {"float_input": np.zeros((0, 4), np.float32)})


GOOD: dict[str, Any] = RECORDS[0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (["x"], "row 2: expected an object with a value for each column, got a list"),
        (None, "row 2: expected an object with a value for each column, got null"),
        ({**GOOD, "age": "41"}, "row 2, column 'age': expected a number, got '41'"),
        ({**GOOD, "age": True}, "row 2, column 'age': expected a number, got true"),
        ({**GOOD, "age": [1]}, "row 2, column 'age': expected a number, got a list"),
        ({**GOOD, "age": 1e39}, "row 2, column 'age': 1e+39 does not fit float32"),
        ({**GOOD, "age": 10**400}, "row 2, column 'age': a number of many digits fits no floating point number"),
        ({**GOOD, "age": 1e999}, "row 2, column 'age': inf fits no floating point number"),
        ({**GOOD, "visits": 3.0}, "row 2, column 'visits': expected a whole number, got 3.0"),
        ({**GOOD, "visits": 2**63}, "row 2, column 'visits': 9223372036854775808 does not fit int64"),
        ({**GOOD, "visits": 10**5000}, "row 2, column 'visits': a number of many digits does not fit int64"),
        ({**GOOD, "city": 5}, "row 2, column 'city': expected a text, got 5"),
        ({**GOOD, "city": None}, "row 2, column 'city': a value is missing"),
        ({**GOOD, "city": "\ud800"}, "row 2, column 'city': 'utf-8' codec can't encode"),
        ({key: GOOD[key] for key in GOOD if key != "joined"}, "row 2, column 'joined': a value is missing"),
        ({**GOOD, "joined": "29.2.2024"}, "row 2, column 'joined': expected a date such as '2024-02-29', got '29"),
        ({**GOOD, "joined": "2023-02-29"}, "row 2, column 'joined': '2023-02-29' is not in the calendar"),
        ({**GOOD, "joined": "20240229"}, "expected a date such as '2024-02-29', got '20240229'"),
        ({**GOOD, "joined": "\uff12024-02-29"}, "expected a date such as '2024-02-29'"),
        ({**GOOD, "joined": 19782}, "expected a date such as '2024-02-29', got 19782"),
        ({**GOOD, "agee": 1}, "row 2: there is no column 'agee'; did you mean 'age'?"),
        ({**GOOD, "x" * 999: 1}, "row 2: there is no column 'xxx"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_told_with_its_row_and_column(load: Load, record: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load("declared", "records").read_records([GOOD, record, GOOD])
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_a_vector_is_given_once_and_whole(load: Load) -> None:
    read = load("iris", "records").read_records
    for record, message in (
        ({"float_input": [1, 2, 3]}, "row 1, input 'float_input': expected a list of 4 values, got 3"),
        ({"float_input": 1}, "row 1, input 'float_input': expected a list of 4 values, got 1"),
        ({"float_input": [1, 2, 3, 4], "float_input0": 1}, "it is there as a list and by its columns"),
        ({"float_input": [1, 2, 3, "x"]}, "row 1, column 'float_input3': expected a number, got 'x'"),
        ({}, "row 1, column 'float_input0': a value is missing"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            read([record])


def test_the_first_errors_of_all_rows_are_told_at_once(load: Load) -> None:
    module = load("declared", "records")
    rows = [{**GOOD, "age": "x"}, GOOD, {**GOOD, "visits": "y", "city": 1}]
    message = (
        "row 1, column 'age': expected a number, got 'x'; row 3, column 'visits': expected a whole number, got 'y'; "
        "row 3, column 'city': expected a text, got 1"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        module.read_records(rows)
    with pytest.raises(ValueError, match=r"; and maybe more$") as caught:
        module.read_records([{**GOOD, "age": "x"}] * 100)
    assert str(caught.value).count("column") == 5
    with pytest.raises(
        ValueError, match=re.escape("row 2 (line 3), column 'age': expected a number, got 'x'; row 3 (line 4)")
    ):
        module.read_csv(b"age,joined,city\n1,2024-02-29,a\nx,2024-02-29,a\n1,2024,a\n")


def test_rows_are_no_more_than_the_model_takes(load: Load) -> None:
    module = load("declared", "records")
    assert len(module.read_records([GOOD] * 100)["age"]) == 100
    for call in (
        lambda: module.read_records([GOOD] * 101),
        lambda: module.read_csv(b"joined,city\n" + b"2024-01-01,a\n" * 101),
    ):
        with pytest.raises(ValueError, match="no more than 100 rows"):
            call()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "line 1: the column 'city' is missing"),
        (b"city,joined\n\xff,2024-01-01\n", "not a text in UTF-8"),
        (b"city,city,joined\n", "line 1: the column 'city' is there twice"),
        (b"city,joined,agee\n", "line 1: there is no column 'agee'; did you mean 'age'?"),
        (b"city,joined\na\n", "row 1 (line 2): 1 values, and the first line has 2 names"),
        (b'city,joined\n"a",2024-01-01\n"b,2024-01-01', "line 3: unexpected end of data"),
        (b"city,joined\na,\n", "row 1 (line 2), column 'joined': a value is missing"),
        (b"\n" * 10_002, "line 10001: more than 10000 lines are empty"),
        (b"city,joined\n" + b'"\n",' * 2**19, "a row of 1048576 characters or more"),
    ],
    ids=range(9),
)
def test_a_wrong_csv_is_told_with_its_line(load: Load, body: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load("declared", "records").read_csv(body)
    assert len(str(caught.value)) < 200


def test_a_file_of_records_is_read_as_inputs(load: Load, tmp_path: Any) -> None:
    files = load("declared", "files")
    (tmp_path / "x.json").write_text(json.dumps(RECORDS), encoding="utf-8")
    (tmp_path / "x.csv").write_text(CSV, encoding="utf-8")
    assert_equal(files.read(tmp_path / "x.json"), ARRAYS)
    assert_equal(files.read(tmp_path / "x.csv"), ARRAYS)
    known = {name: array[:2] for name, array in files.read(tmp_path / "x.csv").items()}
    total = load("declared").Model().run(known)["total"]
    assert total[0] == 41.5 + 3 + 19782 + 86400
    assert math.isnan(total[1])


def make_inputs(**changes: Any) -> dict[str, Any]:
    known = {"city": np.array(["Lima", "Oslo", "", "Oslo"], object)}
    return {name: array[:2] for name, array in (ARRAYS | known | changes).items()}


def test_values_that_columns_may_not_have_are_refused_however_they_come(load: Load) -> None:
    model = load("declared").Model()
    assert model.run(make_inputs())["place"].tolist() == ["Lima", "Oslo"]
    assert load("declared", "inference").make_zeros()["city"].tolist() == ["Lima"] * 4
    assert len(model.run(load("declared", "inference").make_zeros())["total"]) == 4
    for changes, message in (
        ({"city": np.array(["Lima", "Paris"])}, "row 2, column 'city': 'Paris' is none of 'Lima', 'Oslo'"),
        ({"city": np.array(["", "Oslo"], object)}, "row 1, column 'city': a value is missing"),
        (
            {"joined": np.array([0, 2932897])},
            "row 2, column 'joined': 2932897 days from 1970-01-01 is in no year from 1",
        ),
        ({"joined": np.array([-719163, 0])}, "row 1, column 'joined': -719163 days"),
        ({"seen": np.array([0, 2**62])}, "row 2, column 'seen': 4611686018427387904 seconds"),
        (
            {"city": np.array(["Lima", "x"]), "joined": np.array([2**40, 0])},
            "row 1, column 'joined': 1099511627776 days from 1970-01-01 is in no year from 1 to 9999; row 2, column",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            model.run(make_inputs(**changes))


def test_the_first_values_that_are_refused_are_told(load: Load) -> None:
    model = load("declared").Model()
    many = {name: np.repeat(array[:1], 100) for name, array in make_inputs().items()}
    with pytest.raises(
        ValueError, match=r"row 5, column 'city': 'x' is none of 'Lima', 'Oslo'; and maybe more$"
    ) as caught:
        model.run(many | {"city": np.array(["x"] * 100)})
    assert "row 6" not in str(caught.value)


def test_garbage_is_refused_by_messages_of_one_line(load: Load) -> None:
    path = Path(__file__).parents[2] / "benchmarks/inputs/tables.py"
    fuzz = runpy.run_path(str(path))
    tally = fuzz["run"](150, load("declared", "records"))
    assert tally.taken > 30
    assert tally.refused > 100
    assert tally.longest < 1000


def draw_arrays(chance: np.random.Generator, rows: int) -> dict[str, Any]:
    """Draw what a client's tensors may hold, NaN and empty words among it."""
    age = chance.normal(40, 20, rows).astype(np.float32)
    return {
        "age": np.where(chance.random(rows) < 0.2, np.float32(np.nan), age),
        "visits": chance.integers(-(2**63), 2**63 - 1, rows),
        "city": chance.choice(np.array(["Lima", "Oslo"], object), rows),
        "note": chance.choice(np.array(["", 'a "b",\r\nc', "ü, é", " x "], object), rows),
        "joined": chance.integers(-719162, 2932897, rows),
        "seen": chance.integers(-62135596800, 253402300800, rows),
    }


def spell_records(arrays: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the same rows as a person would."""
    seconds = (np.datetime_as_string(arrays["seen"].astype("datetime64[s]")) + np.array("Z")).tolist()
    columns = {name: array.tolist() for name, array in arrays.items()}
    columns |= {"joined": np.datetime_as_string(arrays["joined"].astype("datetime64[D]")).tolist(), "seen": seconds}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


def test_random_rows_are_the_same_as_tensors_records_and_csv(load: Load) -> None:
    module, model = load("declared", "records"), load("declared").Model()
    arrays = draw_arrays(np.random.default_rng(3), 100)
    records = json.loads(json.dumps(spell_records(arrays)))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(reversed(arrays)))
    writer.writeheader()
    writer.writerows(records)
    for found in (module.read_records(records), module.read_csv(text.getvalue().encode())):
        assert_equal(found, arrays)
        for name, array in model.run(found).items():
            np.testing.assert_array_equal(array, model.run(arrays)[name], name)
