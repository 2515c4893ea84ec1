"""Samples cover the axes and the ranges, are the same each time, and a user's own are checked."""

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import write_spec
from hypothesis import given
from hypothesis import strategies as st
from onnx_examples import RELU, make_model

from onnxpack.core.errors import SpecError
from onnxpack.core.values import Axis
from onnxpack.data.case_budget import Budget
from onnxpack.data.test_inputs import (
    choose_odd_sizes,
    choose_tracing_sizes,
    draw,
    iterate_cases,
    list_corners,
    list_main_sizes,
    read_arrays,
    read_samples,
    write_arrays,
)
from onnxpack.spec.load import SpecFile

BATCH, SEQ = Axis("batch", 1, 8, 64), Axis("seq", 1, 16, 512)


def test_sizes_are_min_odd_opt_max_and_the_corners() -> None:
    assert list_main_sizes((BATCH, SEQ)) == [
        {"batch": 1, "seq": 1},
        {"batch": 3, "seq": 5},
        {"batch": 8, "seq": 16},
        {"batch": 64, "seq": 512},
    ]
    assert {"batch": 64, "seq": 1} in list_corners((BATCH, SEQ))
    assert {"batch": 1, "seq": 512} in list_corners((BATCH, SEQ))


def test_the_corners_of_many_axes_are_limited() -> None:
    assert len(list_corners(tuple(Axis(f"a{index}", 1, 8, 64) for index in range(20)))) == 8


axis_lists = st.lists(
    st.tuples(st.integers(0, 80), st.integers(1, 2**31 - 1), st.integers(0, 10)), min_size=1, max_size=5
).map(
    lambda found: tuple(
        Axis(f"a{index}", low, min(low + step, max(low, high)), max(low, high))
        for index, (low, high, step) in enumerate(found)
    )
)


@given(axis_lists)
def test_every_size_is_within_its_axis(axes: tuple[Axis, ...]) -> None:
    for at in (*list_main_sizes(axes), *list_corners(axes)):
        assert list(at) == [axis.name for axis in axes]
        assert all(axis.min <= at[axis.name] <= axis.max for axis in axes)


@given(axis_lists)
def test_odd_sizes_are_odd_and_differ_where_there_is_room(axes: tuple[Axis, ...]) -> None:
    at = choose_odd_sizes(axes)
    for index, axis in enumerate(axes):
        if axis.max - axis.min >= 2 * len(axes) + 2:
            assert at[axis.name] % 2 == 1
            assert at[axis.name] > 1
            assert at[axis.name] not in list(at.values())[:index]


@given(axis_lists)
def test_tracing_sizes_are_at_least_2_and_all_differ(axes: tuple[Axis, ...]) -> None:
    found = list(choose_tracing_sizes(axes).values())
    assert min(found) >= 2
    assert len(set(found)) == len(found)


# Drawing


@pytest.fixture
def file(tmp_path: Path) -> Any:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")

    def make(inputs: dict[str, Any] | None = None, **fields: Any) -> SpecFile:
        changed = {"inputs": inputs} if inputs else {}
        return write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **(changed | fields))

    return make


INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@pytest.mark.parametrize("dtype", [*INTEGERS, "float16", "float32", "float64", "bool", "string"])
def test_every_dtype_is_drawn_as_it_is(file: Any, dtype: str) -> None:
    array = draw(file({"x": {"dtype": dtype, "shape": ["n", 4]}}).spec, {"n": 5}, 0)["x"]
    assert array.shape == (5, 4)
    assert ("string" if array.dtype.kind == "U" else array.dtype.name) == dtype
    assert len(np.unique(array)) > 1


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("int64", 0, 2), ("int8", -128, -127), ("uint8", 254, 255), ("int32", 7, 7), ("uint64", 0, 1)],
)
def test_both_ends_of_a_range_of_integers_are_drawn(file: Any, dtype: str, low: int, high: int) -> None:
    spec = file({"x": {"dtype": dtype, "shape": ["n"], "range": [low, high]}}, dynamic_axes={"n": [1, 500]}).spec
    assert set(draw(spec, {"n": 500}, 0)["x"].tolist()) == set(range(low, high + 1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_stay_within_their_range(file: Any, dtype: str) -> None:
    low, high = 0.25, 0.5009765625
    spec = file({"x": {"dtype": dtype, "shape": ["n"], "range": [low, high]}}, dynamic_axes={"n": [1, 4000]}).spec
    array = draw(spec, {"n": 4000}, 0)["x"]
    assert array.dtype == dtype
    assert low <= array.min() < low + 0.01
    assert high - 0.01 < array.max() <= high


@pytest.mark.parametrize(
    ("dtype", "choices"), [("string", ["a", "longer"]), ("int32", [-5, 70000]), ("float32", [0.5, 2])]
)
def test_choices_alone_are_drawn(file: Any, dtype: str, choices: list[Any]) -> None:
    spec = file({"x": {"dtype": dtype, "shape": ["n"], "choices": choices}}, dynamic_axes={"n": [1, 100]}).spec
    assert sorted(set(draw(spec, {"n": 100}, 0)["x"].tolist())) == sorted(choices)


def test_columns_are_drawn_each_from_its_own_values(file: Any) -> None:
    columns = [{"range": [0, 1]}, {"choices": [5, 7]}, {"range": [-3, 3], "integers": True}]
    spec = file({"x": {"dtype": "float32", "shape": ["n", 3], "columns": columns}}, dynamic_axes={"n": [1, 200]}).spec
    array = draw(spec, {"n": 200}, 0)["x"]
    assert array.dtype == np.float32
    assert 0 <= array[:, 0].min() < array[:, 0].max() <= 1
    assert set(array[:, 1].tolist()) == {5, 7}
    assert set(array[:, 2].tolist()) == set(range(-3, 4))


@pytest.mark.parametrize("given", [{}, {"range": [0.0, 9.0]}, {"range": [-0.5, 9.9]}])
def test_integers_are_floats_that_are_whole(file: Any, given: dict[str, Any]) -> None:
    tensor = {"dtype": "float32", "shape": ["n"], "integers": True} | given
    spec = file({"x": tensor}, dynamic_axes={"n": [1, 500]}).spec
    assert set(draw(spec, {"n": 500}, 0)["x"].tolist()) == set(range(10))


@pytest.mark.parametrize(
    "given",
    [
        {"dtype": "bool"},
        {"dtype": "int64", "range": [0, 1]},
        {"dtype": "float32", "choices": [0, -2]},
        {"dtype": "float32", "range": [-1, 0], "integers": True},
    ],
)
def test_a_mask_with_at_least_one_has_no_row_of_zeros(file: Any, given: dict[str, Any]) -> None:
    tensor = {"shape": ["n", 2], **given}
    many = {"dynamic_axes": {"n": [1, 500]}}
    assert not draw(file({"x": tensor}, **many).spec, {"n": 500}, 0)["x"].any(axis=1).all(), "else this proves nothing"
    array = draw(file({"x": tensor | {"at_least_one": True}}, **many).spec, {"n": 500}, 0)["x"]
    assert array.any(axis=1).all()
    assert len(np.unique(array)) == 2


@pytest.mark.parametrize(("dtype", "side"), [("int64", "right"), ("bool", "left"), ("float32", "right")])
def test_a_mask_of_padding_has_ones_and_zeros_apart(file: Any, dtype: str, side: str) -> None:
    tensor = {"dtype": dtype, "shape": ["n", 4], "padding": side}
    array = draw(file({"x": tensor}, dynamic_axes={"n": [1, 500]}).spec, {"n": 500}, 0)["x"]
    ones = array.astype(int)[:, ::-1] if side == "left" else array.astype(int)
    assert (np.diff(ones, axis=1) <= 0).all()
    assert set(ones.sum(axis=1)) == {1, 2, 3, 4}, "each length, a row of zeros excepted"


def test_samples_are_the_same_for_the_same_seed_and_case(file: Any) -> None:
    spec, other = file().spec, file(verify={"seed": 1}).spec
    once = draw(spec, {"n": 3}, 0)["x"]
    np.testing.assert_array_equal(once, draw(spec, {"n": 3}, 0)["x"])
    assert not np.array_equal(once, draw(spec, {"n": 3}, 1)["x"])
    assert not np.array_equal(once, draw(other, {"n": 3}, 0)["x"])


def test_cases_are_named_by_their_sizes_and_the_users_come_last(file: Any, tmp_path: Path) -> None:
    spec = file().spec
    np.savez(tmp_path / "s.npz", x=np.zeros((5, 4), np.float32))
    assert [(name, at) for name, at, _ in iterate_cases(spec, tmp_path / "s.npz", Budget(spec).sizes())] == [
        ("00_n1", {"n": 1}),
        ("01_n3", {"n": 3}),
        ("02_n8", {"n": 8}),
        ("03_n16", {"n": 16}),
        ("samples", {"n": 5}),
    ]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({}, ["00_fixed", "01_fixed", "02_fixed"]),
        ({"n": [1, 1]}, ["00_n1", "01_n1", "02_n1"]),
        ({"n": [1, 2]}, ["00_n1", "01_n2", "02_n1"]),
    ],
)
def test_a_model_of_few_sizes_has_several_random_cases(file: Any, axes: Any, expected: list[str]) -> None:
    spec = file({"x": {"dtype": "float32", "shape": [next(iter(axes), 2), 2]}}, dynamic_axes=axes).spec
    found = list(iterate_cases(spec, None, Budget(spec).sizes()))
    assert [name for name, _, _ in found] == expected
    assert not np.array_equal(found[0][2]["x"], found[2][2]["x"])


def test_real_samples_alone_come_at_two_sizes(file: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.arange(20, dtype=np.float32).reshape(5, 4))
    spec = file(verify={"samples": "s.npz", "random": False}).spec
    found = [(name, at) for name, at, _ in iterate_cases(spec, tmp_path / "s.npz", Budget(spec).sizes())]
    assert found == [("samples", {"n": 5}), ("samples_first", {"n": 2})]


# Files


def test_arrays_of_any_name_come_back_in_order(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b": np.array("x"), "args": np.zeros((0, 2)), "é ": np.array([True])}
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_the_bytes_of_a_file_depend_on_its_arrays_alone(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, {"x": np.arange(3)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


GOOD = np.zeros((5, 4), np.float32)
TWO_INPUTS = {
    "x": {"dtype": "float32", "shape": ["n", 4]},
    "y": {"dtype": "int64", "shape": ["n"]},
}


def problems(file: SpecFile, path: Path) -> list[str]:
    with pytest.raises(SpecError) as refused:
        read_samples(file.spec, path)
    return [problem.message for problem in refused.value.problems]


def test_good_samples_take_the_specs_order(file: Any, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "s.npz", y=np.zeros(5, np.int64), x=GOOD)
    assert list(read_samples(file(TWO_INPUTS).spec, tmp_path / "s.npz")) == ["x", "y"]


@pytest.mark.case("M6")
@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": GOOD}, ["s.npz: no array named 'y'"]),
        ({"x": GOOD, "y": np.zeros(5, np.int64), "z": GOOD}, ["s.npz: 'z' is not an input"]),
        ({"X": GOOD}, ["s.npz: no array named 'x'", "s.npz: no array named 'y'", "s.npz: 'X' is not an input"]),
        (
            {"x": GOOD.astype(float), "y": np.zeros(5, np.int32)},
            ["s.npz: 'x' has dtype float64, the input float32", "s.npz: 'y' has dtype int32, the input int64"],
        ),
        ({"x": GOOD[0], "y": np.zeros(5, np.int64)}, ["s.npz: 'x' has 1 dimensions, the input 2"]),
        ({"x": GOOD[:, :3], "y": np.zeros(5, np.int64)}, ["s.npz: 'x' has a dimension of 3 where the input has 4"]),
        ({"x": GOOD, "y": np.zeros(6, np.int64)}, ["s.npz: 'y' has 6 along 'n', another input 5"]),
        (
            {"x": GOOD[:0], "y": np.zeros(17, np.int64)},
            [
                "s.npz: 'x' has 0 along 'n', which goes from 1 to 16",
                "s.npz: 'y' has 17 along 'n', which goes from 1 to 16",
            ],
        ),
        ({"x": GOOD * np.nan, "y": np.zeros(5, np.int64)}, ["s.npz: 'x' has NaN or infinite values"]),
        ({"x": GOOD + np.inf, "y": np.zeros(5, np.int64)}, ["s.npz: 'x' has NaN or infinite values"]),
    ],
)
def test_samples_that_do_not_fit_are_told(file: Any, tmp_path: Path, arrays: Any, expected: list[str]) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    assert problems(file(TWO_INPUTS), tmp_path / "s.npz") == expected


class Canary:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.path,)


@pytest.mark.case("M6")
def test_an_object_array_is_not_unpickled(file: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.array([Canary(tmp_path / "ran")], dtype=object))
    (message,) = problems(file(), tmp_path / "s.npz")
    assert message == "s.npz: 'x' has dtype object"
    assert not (tmp_path / "ran").exists()


def not_archives(folder: Path) -> dict[str, bytes]:
    np.savez_compressed(folder / "good.npz", x=np.arange(1000, dtype=np.float32))
    np.save(folder / "one.npy", GOOD)
    with zipfile.ZipFile(folder / "text.npz", "w") as archive:
        archive.writestr("x.npy", "no array")
    good = (folder / "good.npz").read_bytes()
    return {
        "empty": b"",
        "text": b"x,y\n1,2\n",
        "npy": (folder / "one.npy").read_bytes(),
        "truncated": good[: len(good) // 2],
        "flipped": good[:200] + bytes([good[200] ^ 255]) + good[201:],
        "member": (folder / "text.npz").read_bytes(),
        "json": json.dumps({"x": [1]}).encode(),
    }


@pytest.mark.case("M6")
@pytest.mark.parametrize("kind", ["empty", "text", "npy", "truncated", "flipped", "member", "json"])
def test_what_is_no_archive_of_arrays_is_told(file: Any, tmp_path: Path, kind: str) -> None:
    (tmp_path / "s.npz").write_bytes(not_archives(tmp_path)[kind])
    (message,) = problems(file(), tmp_path / "s.npz")
    assert message.startswith("s.npz: ")


@given(position=st.integers(0, 10_000), change=st.integers(1, 255), length=st.integers(0, 400))
def test_a_damaged_archive_is_read_or_refused(
    position: int, change: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    onnx.save(make_model(RELU), folder / "m.onnx")
    spec = write_spec(folder, {"framework": "onnx", "path": "m.onnx"}).spec
    np.savez_compressed(folder / "s.npz", x=np.arange(20, dtype=np.float32).reshape(5, 4))
    data = bytearray((folder / "s.npz").read_bytes())
    data[position % len(data)] ^= change
    (folder / "s.npz").write_bytes(data[: len(data) - length % 2 * (length % len(data))])
    with contextlib.suppress(SpecError):
        assert read_samples(spec, folder / "s.npz")["x"].shape == (5, 4)
