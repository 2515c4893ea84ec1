"""The forms of two models' outputs, and whether their values agree."""

from typing import Any

import numpy as np
import pytest

from onnxpack.parity.prepared import compare_forms

ONE = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ([ONE], ""),
        ([ONE, ONE], "`prepare` changes the number of outputs from 1 to 2"),
        ([ONE.astype(np.float64)], "`prepare` changes the dtype of output 1 from float32 to float64"),
        ([ONE[:, :2]], "`prepare` changes the shape of output 1 from (2, 3) to (2, 2)"),
    ],
)
def test_forms_that_differ_are_told(after: list[Any], reason: str) -> None:
    assert compare_forms([ONE], after) == reason


def test_strings_of_other_lengths_have_one_form() -> None:
    assert compare_forms([np.array(["a"])], [np.array(["longer"])]) == ""
