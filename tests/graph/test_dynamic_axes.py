"""A fixed axis of another exporter's model becomes dynamic where that, else the node is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exporting import Made, export_here, write_spec
from onnx import helper
from onnx_examples import FLOAT, MATMUL, constant, make_model

from onnxpack.core.errors import GateError, SourceError
from onnxpack.graph.dynamic_axes import find_free_target
from onnxpack.parity.compare import require_parity


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Made]:
    def make(model: onnx.ModelProto, **fields: Any) -> Made:
        onnx.save(model, tmp_path / "m.onnx")
        return export_here(write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields), tmp_path / "out")

    return make


def reshape(source: str, result: str, *target: int) -> tuple[onnx.NodeProto, onnx.TensorProto]:
    name = f"{result}_target"
    return helper.make_node("Reshape", [source, name], [result]), constant(name, np.array(target, dtype=np.int64))


@pytest.mark.parametrize(
    ("shape", "target", "fixed", "free"),
    [
        # a batch that leads
        (("n", 3, 4), [8, 12], {"n": 8}, [0, 12]),
        (("n", 3, 4), [8, -1], {"n": 8}, [0, 12]),
        (("n", 3, 4), [1, -1], {"n": 1}, [0, 12]),
        (("n", 3, 4), [1, 12], {"n": 1}, [0, 12]),
        (("n", 12), [8, 3, 4], {"n": 8}, [0, 3, 4]),
        # an axis inside, whose place moves
        ((2, 3, "s"), [6, 8], {"s": 8}, [6, -1]),
        ((6, "s", 4), [2, 3, 8, 4], {"s": 8}, [2, 3, -1, 4]),
        # two axes, kept, merged, and one of each
        (("n", "s", 12), [8, 5, 3, 4], {"n": 8, "s": 5}, [0, 0, 3, 4]),
        (("n", "s", 12), [40, 12], {"n": 8, "s": 5}, [-1, 12]),
        (("n", 3, "s", 4), [8, 12, 4], {"n": 8, "s": 4}, [0, -1, 4]),
        (("n", 3, "s", 4), [24, 4, 4], {"n": 8, "s": 4}, None),
        ((7, "n", 16), [7, 32, 4], {"n": 8}, [7, -1, 4]),
        # what is open already stays as it is
        (("n", 3, 4), [-1, 12], {"n": 8}, [-1, 12]),
        (("n", 3, 4), [0, -1], {"n": 8}, [0, -1]),
        # what is not proved
        (("n", 16), [1, 1, 16], {"n": 1}, None),
        (("n", 12), [6, 16], {"n": 8}, None),
        (("n", 12), [4, 2, 12], {"n": 8}, None),
        ((40, 12), [8, 5, 12], {}, None),
        (("n", "m"), [8, 4], {"n": 8}, None),
        (("n", 4), [5, 7], {"n": 8}, None),
    ],
)
def test_a_target_is_freed_only_where_the_axis_must_be(
    shape: tuple[int | str, ...], target: list[int], fixed: dict[str, int], free: list[int] | None
) -> None:
    assert find_free_target(shape, target, fixed) == free


def test_a_freed_target_gives_what_the_fixed_one_gave() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        sizes = random.choice([1, 2, 3, 4, 6], random.integers(1, 5)).tolist()
        shape = tuple("abcd"[index] if random.random() < 0.4 else size for index, size in enumerate(sizes))
        target = random.permutation(sizes).tolist() if random.random() < 0.5 else [int(np.prod(sizes)), 1]
        fixed = {name: size for name, size in zip(shape, sizes, strict=True) if isinstance(name, str)}
        free = find_free_target(shape, target, fixed)
        if free is not None:
            array = np.arange(np.prod(sizes)).reshape(sizes)
            copied = [sizes[index] if size == 0 else size for index, size in enumerate(free)]
            assert array.reshape(copied).shape == tuple(target)


def test_a_fixed_batch_becomes_dynamic_through_reshapes(export: Callable[..., Made]) -> None:
    first, one = reshape("x", "t", 8, 2, 2)
    last, two = reshape("r", "y", 8, 4)
    nodes = [first, helper.make_node("Relu", ["t"], ["r"]), last]
    made = export(make_model(nodes, [("x", FLOAT, [8, 4])], [("y", FLOAT, [8, 4])], [one, two]))
    assert made.model.inputs[0].shape == ("n", 4)
    assert made.model.outputs[0].shape == ("n", 4)
    require_parity("freed", made.rows())
    assert {at["n"] for at in made.reference.sizes} >= {1, 3, 16}


def test_one_constant_for_two_reshapes_is_freed_for_each(export: Callable[..., Made]) -> None:
    first, one = reshape("x", "t", 8, 4)
    last = helper.make_node("Reshape", ["u", one.name], ["y"])
    nodes = [first, helper.make_node("Transpose", ["t"], ["u"], perm=[1, 0]), last]
    model = make_model(nodes, [("x", FLOAT, [8, 4])], [("y", FLOAT, [8, 4])], [one])
    with pytest.raises(GateError, match=r"'y' has|node 'Reshape_2' \(Reshape\)"):
        export(model)


def test_a_node_that_holds_the_size_is_named(export: Callable[..., Made]) -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"], name="add_positions")
    model = make_model([node], [("x", FLOAT, [8, 4])], [("y", FLOAT, [8, 4])], [constant("w", np.ones((8, 4), "f4"))])
    with pytest.raises(GateError) as failed:
        export(model, dynamic_axes={"n": {"min": 3, "max": 16}})
    (problem,) = failed.value.problems
    assert problem.message.startswith("node 'add_positions' (Add) holds on to a fixed size ('n' was 8 in the file)")
    assert "x (16, 4)" in problem.message
    assert problem.hint


def test_a_batch_is_freed_beside_an_output_that_is_one_number(export: Callable[..., Made]) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Size", ["x"], ["z"])]
    outputs = [("y", FLOAT, [8, 4]), ("z", onnx.TensorProto.INT64, [])]
    made = export(make_model(nodes, [("x", FLOAT, [8, 4])], outputs))
    assert [info.shape for info in made.model.outputs] == [("n", 4), ()]
    require_parity("freed", made.rows())


def test_a_batch_whose_rows_depend_on_their_number_is_refused(export: Callable[..., Made]) -> None:
    axes = constant("a", np.array([0], dtype=np.int64))
    nodes = [
        helper.make_node("ReduceMean", ["x", "a"], ["m"], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    model = make_model(nodes, [("x", FLOAT, [8, 4])], [("y", FLOAT, [8, 4])], [axes], opset=18)
    with pytest.raises(GateError, match="output 'y' has"):
        export(model)


def test_one_axis_of_two_sizes_is_told(export: Callable[..., Made]) -> None:
    values = [("a", FLOAT, [8, 4]), ("b", FLOAT, [1, 4])]
    model = make_model([helper.make_node("Add", ["a", "b"], ["y"])], values, [("y", FLOAT, [8, 4])])
    fields = {name: {"dtype": "float32", "shape": ["n", 4]} for name in "ab"}
    with pytest.raises(SourceError, match="axis 'n' is 8 in one place of the model and 1 in another"):
        export(model, inputs=fields)


def test_loosen_of_dynamic_axes_changes_nothing(export: Callable[..., Made]) -> None:
    made = export(make_model(MATMUL, constants=[constant("w")]))
    assert [node.name for node in made.proto.graph.node] == [""]
