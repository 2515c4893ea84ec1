"""Which models have tables, and what their columns are called."""

import pytest

from onnxpack.bundle.tables import Tables, list_columns
from onnxpack.core.values import Shape, TensorInfo


def make_infos(**shapes: Shape) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(name, "float32", shape) for name, shape in shapes.items())


@pytest.mark.parametrize(
    ("shapes", "columns"),
    [
        ({"x": ("n",)}, {"x": ["x"]}),
        ({"x": ("n", 1), "y": ("n",)}, {"x": ["x"], "y": ["y"]}),
        ({"x": ("n", 3)}, {"x": ["x0", "x1", "x2"]}),
        ({"x": (4, 2), "y": (4,)}, {"x": ["x0", "x1"], "y": ["y"]}),
        ({"x": ()}, {}),
        ({"x": ("n", 2, 2)}, {}),
        ({"x": ("n",), "y": ("m",)}, {}),
        ({"x": ("n",), "y": (4,)}, {}),
        ({"x": ("n", "m")}, {}),
        ({"x": ("n", 0)}, {}),
        ({"x": ("n", 2), "x1": ("n",)}, {}),
        ({}, {}),
    ],
    ids=str,
)
def test_columns_are_named_after_tensors_or_there_is_no_table(
    shapes: dict[str, Shape], columns: dict[str, list[str]]
) -> None:
    assert list_columns(make_infos(**shapes)) == columns


def test_either_side_may_be_no_table() -> None:
    table, image = make_infos(a=("n",), b=("n", 2)), make_infos(i=("n", 3, 8, 8))
    assert (Tables(table, image).read, Tables(table, image).written) == (True, False)
    assert (Tables(image, table).read, Tables(image, table).written) == (False, True)
    assert Tables(image, table)
    assert not Tables(image, image)
    assert Tables(table, image).lines == ["input  columns", "a      a", "b      b0 to b1"]
    assert (Tables(table, image).row_axis, Tables(make_infos(a=(4,)), image).row_axis) == ("n", None)
