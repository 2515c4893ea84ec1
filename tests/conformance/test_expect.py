import math
from typing import Any

import pytest

from onnxpack.conformance.checks import FailedError
from onnxpack.conformance.expect import require_binary, require_output, require_same, require_same_values
from onnxpack.conformance.wire import Answer


@pytest.mark.parametrize(
    ("values", "expected", "same"),
    [
        ([1.0], [1], True),
        ([1.000001], [1.0], True),
        ([1.1], [1.0], False),
        ([2], [1], False),
        ([1], [1, 1], False),
        ([math.nan], ["NaN"], True),
        ([-math.inf], ["-Infinity"], True),
        ([math.inf], ["-Infinity"], False),
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        ([10**400], [1.0], False),
        ([None], [1.0], False),
    ],
)
def test_values_are_the_same_but_for_rounding(values: list[Any], expected: list[Any], same: bool) -> None:
    if same:
        require_same_values("y", values, expected)
    else:
        with pytest.raises(FailedError, match="expected 'y' to be as in the first answer"):
            require_same_values("y", values, expected)


def test_outputs_have_the_same_order() -> None:
    with pytest.raises(FailedError, match=r"the outputs \['b', 'a'\]"):
        require_same({"a": {}, "b": {}}, {"b": {}, "a": {}})


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ({"datatype": "FLOAT", "shape": [1], "data": [1]}, "a datatype of the protocol"),
        ({"datatype": "FP32", "shape": [-1], "data": [1]}, "a list of sizes"),
        ({"datatype": "FP32", "shape": 3, "data": [1]}, "a list of sizes"),
        ({"datatype": "FP32", "shape": [1]}, "a list as the data"),
        ({"datatype": "FP32", "shape": [2, 2], "data": [[1], [2]]}, "4 elements of 'y', and there are 2"),
    ],
)
def test_an_output_of_another_form_fails(output: dict[str, Any], why: str) -> None:
    with pytest.raises(FailedError, match=why):
        require_output("y", output)


TEXT = b'{"outputs":[{"name":"y","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}}]}'
EXPECTED = {"y": {"data": [1, 2]}}


def test_an_answer_in_binary_is_read() -> None:
    answer = Answer(200, {"inference-header-content-length": str(len(TEXT))}, TEXT + b"\1\2")
    require_binary(answer, EXPECTED)
    with pytest.raises(FailedError, match="as in the first answer"):
        require_binary(answer, {"y": {"data": [1, 3]}})


@pytest.mark.parametrize(
    ("length", "body", "why"),
    [
        ("", TEXT + b"\1\2", "inference-header-content-length"),
        ("²", TEXT + b"\1\2", "inference-header-content-length"),
        ("9" * 5000, TEXT + b"\1\2", "inference-header-content-length"),
        ("5", TEXT + b"\1\2", "expected JSON"),
        (str(len(TEXT)), TEXT + b"\1", "binary_data_size"),
        (str(len(TEXT)), TEXT + b"\1\3", "as in the first answer"),
        (str(len(TEXT)), TEXT + b"\1\2\3", "no further bytes"),
        (str(len(TEXT)), TEXT.replace(b'"y"', b'"z"') + b"\1\2", r"the outputs \['y'\]"),
        (str(len(TEXT) + 9), TEXT.replace(b'"name"', b'"data":3,"name"') + b"\1\2", "no 'data'"),
    ],
    ids=range(9),
)
def test_an_answer_in_binary_that_lies_fails(length: str, body: bytes, why: str) -> None:
    with pytest.raises(FailedError, match=why):
        require_binary(Answer(200, {"inference-header-content-length": length}, body), EXPECTED)
