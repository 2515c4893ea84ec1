import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpack.conformance.tensors import Tensor, flatten, from_bytes, make_samples, read_sample
from onnxpack.core.errors import SpecError

VALUES: dict[str, tuple[Any, ...]] = {
    "BOOL": (True, False), "INT8": (-128, 127), "INT16": (-(2**15), 1), "INT32": (-(2**31), 1), "INT64": (-(2**63), 1),
    "UINT8": (0, 255), "UINT16": (0, 2**16 - 1), "UINT32": (0, 2**32 - 1), "UINT64": (0, 2**64 - 1),
    "FP16": (0.5, -2.0), "BF16": (1.0, -2.5), "FP32": (0.25, -2.0**100), "FP64": (0.1, -1e300), "BYTES": ("", "ä\0"),
}  # fmt: skip


@pytest.mark.parametrize("datatype", VALUES)
def test_elements_in_binary_come_back(datatype: str) -> None:
    tensor = Tensor("x", datatype, (2,), VALUES[datatype])
    assert from_bytes(datatype, tensor.to_bytes()) == list(VALUES[datatype])


@pytest.mark.parametrize(
    ("datatype", "dtype"), [("FP16", "<f2"), ("FP32", "<f4"), ("INT64", "<i8"), ("UINT16", "<u2"), ("BOOL", "?")]
)
def test_binary_is_as_numpy_writes_it(datatype: str, dtype: str) -> None:
    tensor = Tensor("x", datatype, (2,), VALUES[datatype])
    assert tensor.to_bytes() == np.array(VALUES[datatype], dtype).tobytes()


def test_strings_are_behind_their_lengths() -> None:
    assert Tensor("x", "BYTES", (2,), ("a", "bc")).to_bytes() == b"\x01\0\0\0a\x02\0\0\0bc"


@pytest.mark.parametrize(
    ("datatype", "part"), [("FP32", b"123"), ("BF16", b"123"), ("BYTES", b"\x05\0\0\0abc"), ("BYTES", b"\1\0\0\0\xff")]
)
def test_bytes_that_are_no_tensor_are_an_error(datatype: str, part: bytes) -> None:
    with pytest.raises(ValueError, match=r"no whole number|ends behind|decode"):
        from_bytes(datatype, part)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3), (0, 2), (2, 0), (1, 1, 1)])
def test_nest_is_as_numpy_nests(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    tensor = Tensor("x", "INT64", shape, tuple(array.ravel().tolist()))
    if shape:
        assert tensor.nest() == array.tolist()
    assert list(flatten(tensor.nest())) == array.ravel().tolist()


def test_samples_of_metadata_take_1_for_any_size() -> None:
    inputs = [
        {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "s", "datatype": "BYTES", "shape": [2]},
        {"name": "b", "datatype": "BOOL", "shape": [-1]},
    ]
    first, second, jpeg, png = make_samples(inputs)
    assert [(tensor.shape, tensor.data) for tensor in first.tensors] == [
        ((1, 3), (0.0, 1.0, 0.0)), ((2,), ("a", "b")), ((1,), (False,)),
    ]  # fmt: skip
    assert second.tensors[0].data == (0.0, 0.0, 0.0)
    for sample, start in ((jpeg, b"\xff\xd8\xff"), (png, b"\x89PNG")):
        binary = sample.tensors[1].to_bytes()
        assert binary[4:].startswith(start), "JSON has pictures as base64, and binary as they are"
        assert int.from_bytes(binary[:4], "little") == len(binary) / 2 - 4
        assert sample.tensors[0] == second.tensors[0]
    assert len(list(make_samples(inputs[:1]))) == 2


def test_a_request_is_read_from_a_file(tmp_path: Path) -> None:
    item = {"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [[1.5], [2]], "parameters": {"a": 1}}
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"inputs": [item], "id": "1"}))
    (tensor,) = read_sample(path).tensors
    assert tensor == Tensor("x", "FP32", (2, 1), (1.5, 2), {"a": 1})


GOOD = {"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "it has no list of 'inputs'"),
        ('{"inputs": []}', "it has no list of 'inputs'"),
        ('{"inputs": [1]}', "an input is no object"),
        ("[" * 100_000, "recursion"),
        *(
            (json.dumps({"inputs": [GOOD | change]}), why)
            for change, why in (
                ({"name": 1}, "the input 1 has the datatype"),
                ({"datatype": "FLOAT"}, "has the datatype 'FLOAT'"),
                ({"shape": [-1]}, r"has the shape \[-1\]"),
                ({"shape": [2**60, 0]}, "has the shape"),
                ({"shape": "1"}, "has the shape '1'"),
                ({"data": [1, 2]}, "has 2 elements, and its shape 1"),
                ({"data": [300]}, "are not of INT8"),
                ({"data": ["a"]}, "are not of INT8"),
                ({"datatype": "BOOL"}, "are not of BOOL"),
                ({"datatype": "BYTES"}, "are not of BYTES"),
                ({"data": None}, "are not of INT8"),
                ({"parameters": 1}, "the parameters of 'x' are no object"),
            )
        ),
    ],
    ids=lambda value: value[:30],
)
def test_a_file_that_is_no_request_is_an_error_with_its_place(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=why) as caught:
        read_sample(path)
    assert caught.value.problems[0].where is not None
    assert caught.value.problems[0].where.file == str(path)


def test_bf16_is_the_upper_half_of_fp32() -> None:
    assert Tensor("x", "BF16", (1,), (1.0,)).to_bytes() == struct.pack("<f", 1.0)[2:]


def test_flatten_of_very_deep_lists_is_no_recursion() -> None:
    data: Any = 1
    for _ in range(5000):
        data = [data]
    assert list(flatten(data)) == [1]
