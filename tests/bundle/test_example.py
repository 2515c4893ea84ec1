"""The request that the documents of a server show."""

import json
from dataclasses import replace

import pytest
from bundle_examples import IRIS, MODULES, ODD

from onnxpack.bundle.example import MAX_ELEMENTS, format_example, make_example
from onnxpack.core.values import Axis, TensorInfo


def test_an_example_is_the_smallest_request_that_is_not_empty() -> None:
    example = make_example(ODD)
    assert example
    assert [item["shape"] for item in example["inputs"]] == [[1, 1], [2], [2, 2], []]
    assert [item["data"] for item in example["inputs"]] == [[""], [False, False], [0] * 4, [0]]


def test_an_example_repeats_the_values_of_a_row() -> None:
    view = replace(IRIS, values={"float_input": (1.5, 2.0, 3.0, 0.25)}, axes=(Axis("batch", 2, 8, 64),))
    example = make_example(view)
    assert example == {
        "inputs": [
            {"name": "float_input", "datatype": "FP32", "shape": [2, 4], "data": [1.5, 2.0, 3.0, 0.25] * 2},
        ]
    }
    one = make_example(replace(IRIS, values={"float_input": (7.0,)}))
    assert one
    assert one["inputs"][0]["data"] == [7.0] * 4


@pytest.mark.parametrize(("elements", "shown"), [(MAX_ELEMENTS, True), (MAX_ELEMENTS + 1, False)])
def test_an_example_that_is_too_large_to_look_at_is_left_out(elements: int, shown: bool) -> None:
    view = replace(IRIS, inputs=(TensorInfo("x", "float32", ("batch", elements)),))
    assert bool(make_example(view)) is shown


@pytest.mark.parametrize("model", ["iris", "transactions", "odd"])
def test_a_formatted_example_is_the_same_document(model: str) -> None:
    example = make_example(MODULES[model])
    assert example
    text = format_example(example)
    assert json.loads(text) == example
    assert text.count('"data": [') == text.count('\n      "data"') == len(MODULES[model].inputs)
