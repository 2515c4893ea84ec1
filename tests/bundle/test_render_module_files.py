"""Files of inputs and outputs of a generated module: npz, JSON and csv, and what is said of those that are none."""

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

Load = Callable[..., ModuleType]

TABLE = {
    "age": np.array([[1.5], [np.nan], [-np.inf]], np.float32),
    "income": np.array([0.1, 1e300, -0.0]),
    "visits": np.array([[2**63 - 1], [-(2**63)], [0]], np.int64),
    "code": np.array([0, 255, 7], np.uint8),
    "member": np.array([[True], [False], [True]]),
    "city": np.array([["Köln, Dom"], ['"q"\nr'], [""]], object),
}
CSV = """\
age,income,visits,code,member,city
1.5,0.1,9223372036854775807,0,true,"Köln, Dom"
NaN,1e300,-9223372036854775808,255,FALSE,"""  # the rest of its text has quotes and line ends
CSV += '''"""q""
r"
-Infinity,-0.0,0,7,1,
'''


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, name)


def save_json(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def list_values(arrays: dict[str, Any]) -> dict[str, Any]:
    """Nested lists, with words where JSON has no numbers."""
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return {
        name: np.vectorize(lambda value: words.get(str(value), value), [object])(array.astype(object)).tolist()
        for name, array in arrays.items()
    }


def test_every_kind_of_value_is_read_from_csv_and_json_as_from_npz(load: Load, tmp_path: Path) -> None:
    files = load("table", "files")
    (tmp_path / "x.csv").write_text(CSV, encoding="utf-8")
    assert_equal(files.read(tmp_path / "x.csv"), TABLE)
    windows = "\ufeff" + CSV.replace("\n", "\r\n").replace("\r\nr", "\nr")
    (tmp_path / "BOM.CSV").write_text(windows, encoding="utf-8", newline="")
    assert_equal(files.read(tmp_path / "BOM.CSV"), TABLE)
    assert_equal(files.read(save_json(tmp_path / "x.json", list_values(TABLE))), TABLE)
    np.savez(tmp_path / "x.npz", **{**TABLE, "city": TABLE["city"].astype(str)})
    assert_equal(files.read(tmp_path / "x.npz"), {**TABLE, "city": TABLE["city"].astype(str)})


def test_a_request_for_the_server_is_read_too(load: Load, tmp_path: Path) -> None:
    inputs = [
        {"name": name, "datatype": "any", "shape": list(TABLE[name].shape), "data": data}
        for name, data in list_values(TABLE).items()
    ]
    flat = [{**item, "data": np.array(item["data"], object).ravel().tolist()} for item in inputs]
    files = load("table", "files")
    for items in (inputs, flat):
        document = {"id": "1", "inputs": items, "outputs": [{"name": "total"}]}
        assert_equal(files.read(save_json(tmp_path / "x.json", document)), TABLE)


def test_columns_may_come_in_any_order_and_empty_lines_are_no_rows(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("float_input3,float_input1,float_input0,float_input2\n\n3,1,0,2\n\n7,5,4,6\n\n")
    found = load("iris", "files").read(tmp_path / "x.csv")
    assert_equal(found, {"float_input": np.arange(8, dtype=np.float32).reshape(2, 4)})


HEAD = "float_input0,float_input1,float_input2,float_input3\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the column 'float_input0' is missing"),
        ("a,b\n", "line 1: there is no column 'a'"),
        (HEAD.replace(",", ";"), "line 1: commas must be between the names and values of columns"),
        (HEAD.replace("3", "2"), "line 1: the column 'float_input2' is there twice"),
        (HEAD.replace("\n", ",x\n"), "line 1: there is no column 'x'"),
        (HEAD + "1,2,3\n", "row 1 (line 2): 3 values, and the first line has 4 names"),
        (HEAD + "1,2,3,4\n\n1,2,3,4,5\n", "row 2 (line 4): 5 values, and the first line has 4 names"),
        (HEAD + "1,2,,4\n", "row 1 (line 2), column 'float_input2': a value is missing"),
        (HEAD + "1,2,3,4\n1,2,3,x\n", "row 2 (line 3), column 'float_input3': expected a number, got 'x'"),
        (HEAD + "1,2,3,1_0\n", "expected a number, got '1_0'"),
        (HEAD + "1,2,3,1e999\n", "row 1 (line 2), column 'float_input3': 1e999 fits no floating point number"),
        (HEAD + "1,2,3,1e300\n", "row 1, column 'float_input3': 1e+300 does not fit float32"),
        (HEAD + "1,2,3," + "x" * 200_000, "line 2: field larger than field limit"),
        (HEAD + '1,2,3,"4', "line 2: unexpected end of data"),
        (HEAD + '1,2,3,"4"x\n', "line 2: ',' expected after '\"'"),
        (HEAD + "1,2,3,4\n" * 65, "row 65 (line 66): the model takes no more than 64 rows at once"),
        (HEAD + "," * 2**20, "line 1: behind it is a row of 1048576 characters or more"),
        ("\0" * 99, "line 1: there is no column '\\x00"),
    ],
    ids=range(18),
)
def test_a_wrong_table_is_told_with_its_line(load: Load, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load("iris", "files").read(tmp_path / "x.csv")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("visits", "1.0", "row 1 (line 2), column 'visits': expected a whole number, got '1.0'"),
        ("visits", "1_0", "row 1 (line 2), column 'visits': expected a whole number, got '1_0'"),
        ("visits", str(2**63), "row 1, column 'visits': 9223372036854775808 does not fit int64"),
        ("code", "256", "row 1, column 'code': 256 does not fit uint8"),
        ("code", "-1", "row 1, column 'code': -1 does not fit uint8"),
        ("code", "9" * 5000, "row 1 (line 2), column 'code': expected a whole number, got '999"),
        ("member", "yes", "row 1 (line 2), column 'member': expected true or false, got 'yes'"),
    ],
)
def test_a_wrong_cell_is_told(load: Load, tmp_path: Path, column: str, cell: str, message: str) -> None:
    row = {"age": "1", "income": "1", "visits": "1", "code": "1", "member": "1", "city": "x", column: cell}
    (tmp_path / "x.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        load("table", "files").read(tmp_path / "x.csv")


def test_a_csv_that_is_no_utf_8_is_told(load: Load, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(CSV.encode("latin-1"))
    with pytest.raises(ValueError, match="not a text in UTF-8"):
        load("table", "files").read(tmp_path / "x.csv")


ONE = {"name": "float_input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "not JSON: Expecting value"),
        ("{", "not JSON: "),
        ("[" * 50_000, "nested too deeply"),
        ("1", "expected an object"),
        ("{}", "input 'float_input' is missing"),
        ('{"float_input": [[NaN, 1, 2, 3]]}', 'JSON has no NaN: write "NaN", in quotes'),
        ('{"float_input": [[1e999, 1, 2, 3]]}', "1e999 fits no floating point number"),
        ('{"float_input": [[1' + "0" * 400 + ", 1, 2, 3]]}", "a value does not fit float32"),
        ('{"float_input": 1, "float_input": 2}', "the key 'float_input' is there twice"),
        ({"x": 1}, "input 'float_input' is missing"),
        ({"float_input": 1}, "input 'float_input': expected lists nested 2 deep"),
        ({"float_input": [1, 2, 3, 4]}, "input 'float_input': expected lists nested 2 deep"),
        ({"float_input": [[1, 2, 3, 4], [1]]}, "input 'float_input', dimension 1: lists of 1 and of 4"),
        ({"float_input": [[1, 2, 3, [4]]]}, "input 'float_input': expected numbers, got [4]"),
        ({"float_input": [[1, 2, 3, "4"]]}, "input 'float_input': expected numbers, got '4'"),
        ({"float_input": [[1, 2, 3, True]]}, "input 'float_input': expected numbers, got True"),
        ({"float_input": [[1, 2, 3, None]]}, "input 'float_input': expected numbers, got None"),
        ({"float_input": [[1, 2, 3, 1e300]]}, "input 'float_input': a value does not fit float32"),
        ({"float_input": [[1, 2, 3]]}, "input 'float_input', dimension 1: must be 4, got 3"),
        ({"float_input": []}, "input 'float_input', dimension 0 (batch): must be 1 to 64, got 0"),
        ({"inputs": []}, "input 'float_input' is missing"),
        ({"inputs": [{}]}, "each of 'inputs' must have a 'name' of its own, got [None]"),
        ({"inputs": [ONE, ONE]}, "each of 'inputs' must have a 'name' of its own"),
        ({"inputs": [{**ONE, "name": "x"}]}, "input 'float_input' is missing"),
        ({"inputs": [ONE, {**ONE, "name": "x"}]}, "there is no input 'x'"),
        ({"inputs": [{**ONE, "data": None}]}, "'data' must be a list; binary tensors are for the server"),
        ({"inputs": [{**ONE, "shape": [1, -4]}]}, "'shape' must be a list of sizes, got [1, -4]"),
        ({"inputs": [{**ONE, "shape": [True, 4]}]}, "'shape' must be a list of sizes"),
        ({"inputs": [{**ONE, "shape": [2, 4]}]}, "'data' is not of the shape [2, 4]"),
        ({"inputs": [{**ONE, "shape": [0, 2**70], "data": []}]}, "dimension 0 (batch): must be 1 to 64, got 0"),
        ({"inputs": [{**ONE, "data": [[1, 2], [3, 4]]}]}, "'data' is not of the shape [1, 4]"),
    ],
    ids=range(31),
)
def test_a_wrong_json_is_told(load: Load, tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load("iris", "files").read(save_json(tmp_path / "x.json", document))
    assert len(str(caught.value)) < 200


def test_half_a_character_is_no_text(load: Load, tmp_path: Path) -> None:
    document = {**list_values(TABLE), "city": [["\ud800"], [""], [""]]}
    with pytest.raises(ValueError, match="surrogates not allowed"):
        load("table", "files").read(save_json(tmp_path / "x.json", document))


@pytest.mark.parametrize(("model", "suffix"), [("odd", "csv"), ("transactions", "csv")])
def test_a_model_whose_inputs_are_no_table_says_so(load: Load, tmp_path: Path, model: str, suffix: str) -> None:
    with pytest.raises(ValueError, match="the inputs of this model are no table: give them as npz or json"):
        load(model, "files").read(tmp_path / f"x.{suffix}")


def test_outputs_that_are_no_table_are_not_written_as_one(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the outputs of this model are no table"):
        load("odd", "files").write(tmp_path / "y.csv", {})
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_written_as_csv_and_json(load: Load, tmp_path: Path) -> None:
    module, files = load("table"), load("table", "files")
    outputs = module.Model().run(TABLE | {"age": TABLE["age"].clip(0, 9)})
    files.write(tmp_path / "y.csv", outputs)
    assert (tmp_path / "y.csv").read_text(encoding="utf-8") == (
        "total,ages0,ages1,guest,place\n"
        '9.223372036854776e+18,1.5,1.5,false,"Köln, Dom"\n'
        'nan,nan,nan,true,"""q""\nr"\n'
        "7.0,0.0,0.0,false,\n"
    )
    files.write(tmp_path / "y.JSON", outputs)
    document = json.loads((tmp_path / "y.JSON").read_text())
    assert document["ages"] == [[1.5, 1.5], ["NaN", "NaN"], [0.0, 0.0]]
    assert document["place"] == TABLE["city"].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["y.JSON", "y.csv"]


def test_numbers_written_as_csv_are_read_back_exactly(load: Load, tmp_path: Path) -> None:
    files = load("iris", "files")

    @given(st.lists(st.tuples(*[st.floats(width=32)] * 4), min_size=1, max_size=5))
    @example([(0.1, -0.0, 1e-45, 3.4028234663852886e38)])
    def check(rows: list[tuple[float, ...]]) -> None:
        arrays = {"float_input": np.array(rows, np.float32)}
        files.write(tmp_path / "x.csv", arrays)
        assert_equal(files.read(tmp_path / "x.csv"), arrays)

    check()


def test_a_failed_write_leaves_nothing(load: Load, tmp_path: Path) -> None:
    files = load("iris", "files")
    with pytest.raises(ValueError, match="Object arrays"):
        files.write(tmp_path / "y.npz", {"a": np.zeros(3), "b": np.array([None])})
    with pytest.raises(ValueError, match="zip"):
        files.write(tmp_path / "y.csv", {"a": np.zeros(3), "b": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []


def save_bomb(path: Path, head: dict[str, Any], method: int, size: int) -> None:
    """An npz with one array of zeros, which takes a thousandth of its size or less."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"fortran_order": False, **head})
    with (
        zipfile.ZipFile(path, "w", method) as archive,
        archive.open("float_input.npy", "w", force_zip64=True) as member,
    ):
        member.write(file.getvalue())
        for _ in range(size >> 20):
            member.write(bytes(2**20))


@pytest.mark.parametrize(
    ("head", "method", "message"),
    [
        ({"descr": "<f4", "shape": (2**26, 4)}, zipfile.ZIP_DEFLATED, "dimension 0 (batch): must be 1 to 64"),
        ({"descr": "|S16777216", "shape": (64, 4)}, zipfile.ZIP_DEFLATED, "input 'float_input': 4294967296 bytes of"),
        ({"descr": "<U16777216", "shape": (64, 4)}, zipfile.ZIP_DEFLATED, "input 'float_input': 17179869184 bytes"),
        ({"descr": "<f4", "shape": (64, 4)}, zipfile.ZIP_BZIP2, "compressed in a way that numpy does not know"),
        ({"descr": "<f4", "shape": (64, 4)}, zipfile.ZIP_LZMA, "compressed in a way that numpy does not know"),
        ({"descr": "<f4", "shape": (1, 4)}, zipfile.ZIP_DEFLATED, ""),
    ],
)
def test_an_npz_bomb_takes_no_memory(
    apps: dict[str, Path], tmp_path: Path, head: dict[str, Any], method: int, message: str
) -> None:
    save_bomb(tmp_path / "x.npz", head, method, 256 * 2**20)
    assert (tmp_path / "x.npz").stat().st_size < 2**20
    command = [sys.executable, "-B", "-c", READ, str(tmp_path / "x.npz")]
    done = subprocess.run(command, cwd=apps["iris"], capture_output=True, text=True, timeout=60)
    assert message in done.stderr
    grown = int(done.stdout)
    assert grown < 32 * 2**20, grown


READ = """
import sys
from pathlib import Path
import files

def read_peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before = read_peak()
try:
    files.read(Path(sys.argv[1]))
except ValueError as error:
    print(error, file=sys.stderr)
print(read_peak() - before)
"""


def test_a_json_that_no_inputs_take_is_not_read(load: Load, tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(2**40)  # a file of zeros that takes no room
    with pytest.raises(ValueError, match=r"more than \d+ bytes, which no inputs take; npz has no such limit"):
        load("iris", "files").read(tmp_path / "x.json")


def test_a_csv_without_an_end_is_not_read_whole(load: Load) -> None:
    with pytest.raises(ValueError, match="line 1: behind it is a row of"):
        load("iris", "files").read_table(Path("/dev/zero"))


def check_bytes(files: ModuleType, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        found = files.read(path)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert list(found) == ["float_input"]


def test_any_bytes_are_a_value_error(load: Load, tmp_path: Path) -> None:
    files = load("iris", "files")

    @given(st.binary(max_size=200), st.sampled_from(["npz", "json", "csv"]))
    @example(b"PK\x05\x06" + bytes(18), "npz")
    @example(b"\xff\xfe", "json")
    @example(b'"', "csv")
    def check(data: bytes, suffix: str) -> None:
        check_bytes(files, tmp_path / f"x.{suffix}", data)

    check()


def test_a_changed_byte_of_an_npz_is_a_value_error_or_harmless(load: Load, tmp_path: Path) -> None:
    files = load("iris", "files")
    file = io.BytesIO()
    np.savez_compressed(file, float_input=np.eye(4, dtype=np.float32))
    whole = file.getvalue()

    @given(st.integers(0, len(whole) - 1), st.integers(0, 255))
    def check(at: int, byte: int) -> None:
        check_bytes(files, tmp_path / "x.npz", whole[:at] + bytes([byte]) + whole[at + 1 :])

    check()
