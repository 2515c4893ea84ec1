"""The domains of inputs, and values from their middle."""

from typing import Any

import pytest

from onnxpack.data.domains import list_typical_values
from onnxpack.spec.model import Column, Input


@pytest.mark.parametrize(
    ("dtype", "fields", "values"),
    [
        ("float32", {}, (0.0,)),
        ("float32", {"range": (4.3, 7.9)}, (6.1,)),
        ("float32", {"range": (40971.0, 40975.0)}, (40973.0,)),
        ("float64", {"integers": True}, (4.0,)),
        ("int64", {}, (4,)),
        ("uint8", {"range": (0, 255)}, (127,)),
        ("int8", {"choices": (3, 1)}, (3,)),
        ("bool", {}, (False,)),
        ("int64", {"at_least_one": True, "range": (0, 1)}, (1,)),
        ("bool", {"at_least_one": True}, (True,)),
        ("string", {}, ("alpha",)),
        ("string", {"choices": ("red", "blue")}, ("red",)),
        ("float32", {"columns": (Column(range=(0, 120)), Column(choices=(0, 1)))}, (60.0, 0.0)),
    ],
)
def test_typical_values_are_from_the_middle_of_the_domain(
    dtype: Any, fields: dict[str, Any], values: tuple[Any, ...]
) -> None:
    found = list_typical_values(Input(dtype, ("batch", 2), **fields))
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
