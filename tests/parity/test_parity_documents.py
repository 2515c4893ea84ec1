"""Strings of JSON are compared by what they say."""

import numpy as np
import pytest

from onnxpack.parity.compare import compare
from onnxpack.parity.documents import agree

RIGHT = '[{"entity": "PER", "score": 0.98, "start": 0, "end": 5}]'


def test_numbers_of_documents_are_within_tolerance() -> None:
    words = np.array([RIGHT, "plain"])
    assert (
        compare("case", "y", words, np.array([RIGHT.replace("0.98", "0.98001"), "plain"], object), None, None).reason
        == ""
    )
    row = compare("case", "y", words, np.array([RIGHT.replace("0.98", "0.9"), "plain"]), None, None)
    assert row.reason == "1 of 2 values differ"


@pytest.mark.parametrize(
    "got",
    [
        RIGHT.replace("PER", "LOC"),
        RIGHT.replace('"end": 5', '"end": 6'),
        RIGHT.replace('"end": 5', '"end": 5.0'),
        RIGHT.replace('"end"', '"stop"'),
        "[]",
        "[" * 100_000,
        RIGHT[:-1],
        "",
    ],
)
def test_all_else_must_be_equal(got: str) -> None:
    assert agree([RIGHT], [got], (1, 1)) == [False]
    assert agree([got], [RIGHT], (1, 1)) == [False]


def test_strings_that_are_no_documents_must_be_equal() -> None:
    assert agree(["1.0", '{"a": 1}', "x"], ["1.00", '{"a":1}', "x"], (1, 1)) == [False, True, True]
