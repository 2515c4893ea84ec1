"""Data is read by rows, in batches that the model takes; what does not fit is told (case M6)."""

import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.core.errors import OnnxpackError, SourceError, SpecError
from onnxpack.data.datasets import Dataset, open_dataset
from onnxpack.spec.load import SpecFile

X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = np.arange(10)
INT_INPUT = {"k": {"dtype": "int64", "shape": ["n"]}}


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., SpecFile]:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return lambda **fields: write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields)


def sizes(dataset: Dataset, *asked: Any) -> list[int]:
    return [len(batch["x"]) for batch in dataset.batches(*asked)]


def npz(file: SpecFile, compressed: bool = False, **arrays: Any) -> str:
    (np.savez_compressed if compressed else np.savez)(file.folder / "d.npz", **arrays)
    return "d.npz"


def code(file: SpecFile, body: str) -> str:
    text = f"import numpy as np\nX = np.arange(40, dtype=np.float32).reshape(10, 4)\n{body}\n"
    name = f"data{abs(hash(str(file.folder)))}.py"  # a module of one name is imported once
    (file.folder / name).write_text(text)
    return f"{name}:load"


SOURCES = {
    "npz": lambda file: npz(file, x=X, y=Y, other=np.zeros(3)),
    "compressed": lambda file: npz(file, True, x=X, y=Y),
    "by columns": lambda file: npz(file, x=np.asfortranarray(X), y=Y),
    "big-endian": lambda file: npz(file, x=X.astype(">f4"), y=Y.astype(">i8")),
    "function": lambda file: code(file, "def load():\n    return {'x': X, 'y': np.arange(10), 'other': 1}"),
    "generator": lambda file: code(
        file,
        "def load():\n    for a, b in ((0, 3), (3, 4), (4, 10)):\n        yield {'x': X[a:b], 'y': np.arange(a, b)}",
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(
    ("asked", "expected"),
    [((4,), [4, 4, 2]), ((1,), [1] * 10), ((100,), [10]), ((4, 6), [4, 2]), ((4, 4), [4]), ((0,), [1] * 10)],
)
def test_all_rows_come_once_in_batches(spec: Any, kind: str, asked: Any, expected: list[int]) -> None:
    file = spec()
    dataset = open_dataset(file, SOURCES[kind](file), "evaluation", ("y",))
    assert dataset.names == ("x", "y")
    assert dataset.rows == 10
    assert dataset.rows == 10, "it may be asked again"
    assert sizes(dataset, *asked) == expected
    batches = list(dataset.batches(*asked))
    assert all(list(batch) == ["x", "y"] and batch["x"].dtype == np.float32 for batch in batches)
    count = sum(expected)
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), X[:count])
    np.testing.assert_array_equal(np.concatenate([batch["y"] for batch in batches]), Y[:count])
    np.testing.assert_array_equal(dataset.column("y"), Y)
    batches[0]["x"][:] = 0  # a model may change its inputs in place


def test_an_archive_is_not_read_to_know_its_rows(spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = spec()
    dataset = open_dataset(file, npz(file, x=X), "calibration")
    monkeypatch.delattr("onnxpack.data.npz.Npz.pieces")
    assert dataset.rows == 10


def test_without_columns_a_batch_is_what_a_session_takes(spec: Any) -> None:
    file = spec(inputs={"x": {"dtype": "float32", "shape": ["n", 4]}, **INT_INPUT})
    (batch,) = open_dataset(file, npz(file, y=Y, k=Y, x=X), "calibration").batches(16)
    assert list(batch) == ["x", "k"]


@pytest.mark.parametrize("kind", ["npz", "generator"])
def test_batches_keep_to_the_first_axis(spec: Any, kind: str) -> None:
    file = spec(dynamic_axes={"n": {"min": 1, "max": 3}})
    assert sizes(open_dataset(file, SOURCES[kind](file), "calibration"), 8) == [3, 3, 3, 1]
    file = spec(dynamic_axes={"n": {"min": 3, "max": 4}})
    dataset = open_dataset(file, SOURCES[kind](file), "calibration")
    assert sizes(dataset, 1) == [3, 3, 3]
    assert sizes(dataset, 4) == [4, 4], "the last two are fewer than the model takes"
    file = spec(inputs={"x": {"dtype": "float32", "shape": [4, 4]}}, dynamic_axes={})
    assert sizes(open_dataset(file, SOURCES[kind](file), "calibration"), 1) == [4, 4]
    file = spec(inputs={"x": {"dtype": "float32", "shape": [11, 4]}}, dynamic_axes={})
    with pytest.raises(SpecError, match=r"has too few rows \(give it 11 or more: the model takes so many at once\)"):
        list(open_dataset(file, SOURCES[kind](file), "calibration").batches(1))


def test_a_function_may_change_other_axes_between_batches(spec: Any) -> None:
    file = spec(inputs={"x": {"dtype": "float32", "shape": ["n", "m"]}}, dynamic_axes={"n": [1, 4], "m": [1, 4]})
    body = "def load():\n    for n, m in ((3, 4), (3, 4), (2, 2), (1, 3)):\n        yield {'x': X[:n, :m]}"
    dataset = open_dataset(file, code(file, body), "calibration")
    shapes = [batch["x"].shape for batch in dataset.batches(4)]
    assert shapes == [(4, 4), (2, 4), (2, 2), (1, 3)]


def test_strings_are_read(spec: Any) -> None:
    file = spec(inputs={"x": {"dtype": "string", "shape": ["n"]}})
    dataset = open_dataset(file, npz(file, x=np.array(["a", "bcd", ""])), "evaluation")
    assert [batch["x"].tolist() for batch in dataset.batches(2)] == [["a", "bcd"], [""]]


def test_what_a_client_sends_is_checked_and_not_what_the_model_takes(spec: Any) -> None:
    file = spec(preprocess=[{"op": "cast", "input": "x", "dtype": "uint8"}])
    assert sizes(open_dataset(file, npz(file, x=X.astype(np.uint8)), "calibration"), 16) == [10]
    assert message(file, npz(file, x=X)).startswith("calibration data 'd.npz': 'x' has dtype float32, the input uint8")


def test_an_archive_is_never_whole_in_memory(spec: Any, tmp_path: Path) -> None:
    file = spec(inputs={"x": {"dtype": "float32", "shape": ["n", 1000]}})
    name = npz(file, True, x=np.zeros((10_000, 1000), np.float32))
    tracemalloc.start()
    try:
        assert sum(sizes(open_dataset(file, name, "calibration"), 16)) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def message(file: SpecFile, data: str, *columns: str) -> str:
    with pytest.raises(OnnxpackError) as refused:
        list(open_dataset(file, data, "calibration", columns).batches(4))
    return str(refused.value)


NAN = np.where(X > 38, np.nan, X)
SPOILT = [
    ({}, "no array named 'x' (it is empty)"),
    ({"X": X}, "no array named 'x' (it has: X)"),
    ({"x": X.astype(float)}, "'x' has dtype float64, the input float32"),
    ({"x": X[:, 0]}, "'x' has 1 dimensions, the input 2"),
    ({"x": X[:, :3]}, "'x' has a dimension of 3 where the input has 4"),
    ({"x": X[:0]}, "has zero rows"),
    ({"x": NAN}, "'x' has NaN or infinite values"),
    ({"x": np.where(X > 38, np.inf, X)}, "'x' has NaN or infinite values"),
    ({"x": X.astype(object)}, "'x' has dtype object"),
    ({"x": X.astype(complex)}, "'x' has dtype complex128"),
]


@pytest.mark.case("M6")
@pytest.mark.parametrize(
    ("arrays", "words"), SPOILT, ids=[f"{number} {words}" for number, (_, words) in enumerate(SPOILT)]
)
def test_an_archive_that_does_not_fit_is_told(spec: Any, arrays: Any, words: str) -> None:
    file = spec()
    told = message(file, npz(file, **arrays))
    assert told.startswith("calibration data 'd.npz'")
    assert words in told


def test_different_numbers_of_rows_are_told(spec: Any) -> None:
    file = spec(inputs={"x": {"dtype": "float32", "shape": ["n", 4]}, **INT_INPUT})
    assert "arrays have different numbers of rows: 'x' 10, 'k' 9" in message(file, npz(file, x=X, k=Y[:9]))
    assert "'x' 10, 'k' 10, 'y' none" in message(file, npz(file, x=X, k=Y, y=np.array(1)), "y")
    assert "no array named 'z'" in message(file, npz(file, x=X, k=Y), "z")


def test_inputs_without_a_common_first_axis_are_told(spec: Any) -> None:
    file = spec(inputs={"x": {"dtype": "float32", "shape": ["n", 4]}, "s": {"dtype": "float32", "shape": []}})
    assert "they have none in common" in message(file, npz(file, x=X, s=np.float32(1)))


def broken(file: SpecFile, kind: str) -> str:
    np.savez_compressed(file.folder / "d.npz", x=np.random.default_rng(0).random((10, 4), np.float32))
    good = (file.folder / "d.npz").read_bytes()
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (10, 4), }".ljust(118)
    with zipfile.ZipFile(file.folder / "d.npz", "w") as archive:
        archive.writestr("x.npy", "no array" if kind == "text" else header + bytes(9))
    if kind in ("truncated", "flipped", "empty"):
        content = {"truncated": good[:100], "flipped": good[:170] + b"\xff\xff" + good[172:], "empty": b""}[kind]
        (file.folder / "d.npz").write_bytes(content)
    if kind == "json":
        (file.folder / "d.npz").write_text(json.dumps({"x": [1]}))
    return "d.npz"


@pytest.mark.parametrize("kind", ["empty", "json", "truncated", "flipped", "text", "short"])
def test_a_broken_archive_is_told(spec: Any, kind: str) -> None:
    file = spec()
    assert message(file, broken(file, kind)).startswith("calibration data 'd.npz'")


def test_an_array_that_says_more_than_it_has_is_told_at_once(spec: Any) -> None:
    file = spec()
    name = broken(file, "short")
    with pytest.raises(SpecError, match="'x' ends early"):
        open_dataset(file, name, "calibration")


class Canary:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.path,)


def test_labels_are_not_unpickled(spec: Any, tmp_path: Path) -> None:
    file = spec()
    labels = np.array([Canary(tmp_path / "ran")] * 10, dtype=object)
    told = message(file, npz(file, x=X, y=labels), "y")
    assert "'y' has dtype object (save numbers, or strings as dtype str)" in told
    assert not (tmp_path / "ran").exists()


FUNCTIONS = [
    ("def other():\n    pass", "has no 'load'"),
    ("def load(:\n    pass", "line 3: "),
    ("def load():\n    return 1 / 0", "load raised ZeroDivisionError"),
    ("def load():\n    yield {'x': X}\n    raise ValueError('torn')", "load raised ValueError: torn"),
    ("def load(a):\n    return {}", "load raised TypeError"),
    ("def load():\n    return 3", "returned an int"),
    ("def load():\n    return [X]", "gives a ndarray"),
    ("def load():\n    return {'y': X}", "no array named 'x' (it gives y)"),
    ("def load():\n    return {'x': [[1, 2], [3]]}", "'x' is no array"),
    ("def load():\n    return {'x': np.array([None])}", "'x' has dtype object"),
    ("def load():\n    return {'x': X.tolist()}", "'x' has dtype float64"),
    ("def load():\n    return {'x': np.float32(1)}", "'x' has 0 dimensions"),
    ("def load():\n    return {'x': X[:0]}", "has zero rows"),
    ("def load():\n    return []", "has too few rows"),
    ("def load():\n    yield {'x': X}\n    yield {'x': X * np.nan}", "has NaN or infinite values"),
]


@pytest.mark.parametrize(("body", "words"), FUNCTIONS, ids=[words for _, words in FUNCTIONS])
def test_a_function_that_does_not_fit_is_told(spec: Any, body: str, words: str) -> None:
    file = spec()
    assert words in message(file, code(file, body))


def test_a_function_of_a_package_is_found(spec: Any) -> None:
    with pytest.raises(SourceError, match=r"importing no_such_package\.data failed"):
        open_dataset(spec(), "no_such_package.data:load", "calibration")


def test_nan_stands_for_missing_values_where_an_input_may_have_them(spec: Callable[..., SpecFile]) -> None:
    x = np.where(X > 38, np.nan, X).astype(np.float32)
    file = spec(inputs={"x": {"dtype": "float32", "shape": ["n", 4], "missing": True}})
    (batch,) = open_dataset(file, npz(file, x=x), "calibration").batches(10)
    np.testing.assert_array_equal(batch["x"], x)
    wrong = open_dataset(file, npz(file, x=np.where(X > 38, np.inf, X).astype(np.float32)), "calibration")
    with pytest.raises(SpecError, match="'x' has NaN or infinite values"):
        list(wrong.batches(10))
