"""The protocol of graph passes: conditions are checked, what changed is told, and every pass keeps its promise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_examples import FLOAT, MATMUL, RELU, constant, make_model

from onnxpack.core.errors import GateError, Problem
from onnxpack.graph.passes import Edit, GraphPass, PassError, run_passes
from onnxpack.graph.tidy import DropConstantInputs, ImportUsed, LowerIrVersion, NameNodes, Strip
from onnxpack.precision.edit import DropUnused, LiftConstants, PoolBeforeRelu, SortNodes, SplitGemms


@dataclass(frozen=True)
class Rename(GraphPass):
    """Names the graph; may be told to fail before or behind."""

    to: str
    needs: str = ""
    leaves: str = ""

    def requires(self, model: onnx.ModelProto) -> Sequence[Problem]:
        return [] if not self.needs or model.graph.name == self.needs else [Problem(f"it is no {self.needs}")]

    def apply(self, model: onnx.ModelProto) -> Edit:
        changed = model.graph.name != self.to
        model.graph.name = self.to
        return model, changed

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        return [] if not self.leaves or model.graph.name == self.leaves else [Problem(f"no {self.leaves}", "wait")]


class Copy(GraphPass):
    """Gives another model than it was given."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        made = onnx.ModelProto()
        made.CopyFrom(model)
        made.producer_name = "copied"
        return made, True


def test_run_passes_names_those_that_changed_something() -> None:
    passed = run_passes(make_model(RELU), (Rename("a"), Rename("a"), Copy(), Rename("b", needs="a", leaves="b")))
    assert passed.modified == ("Rename", "Copy", "Rename")
    assert (passed.model.graph.name, passed.model.producer_name) == ("b", "copied")


def test_run_passes_failed_precondition_names_the_pass_and_edits_nothing() -> None:
    model = make_model(RELU)
    with pytest.raises(PassError) as failed:
        run_passes(model, (Rename("b", needs="a"),))
    assert (failed.value.name, failed.value.when) == ("Rename", "before")
    assert str(failed.value) == "before the graph pass Rename: it is no a (report it as a bug)"
    assert isinstance(failed.value, GateError)
    assert model.graph.name == "example"


def test_run_passes_failed_postcondition_names_the_pass_and_stops() -> None:
    model = make_model(RELU)
    with pytest.raises(PassError, match=r"^after the graph pass Rename: no c \(wait\)$"):
        run_passes(model, (Rename("b", leaves="c"), Rename("d")))
    assert model.graph.name == "b"


def test_drop_constant_inputs_of_an_old_file_raises_its_ir_version() -> None:
    model = make_model(MATMUL, [("w", FLOAT, [4, 4]), ("x", FLOAT, ["b", 4])], constants=[constant("w")], opset=7, ir=3)
    assert run_passes(model, (DropConstantInputs(), DropConstantInputs())).modified == ("DropConstantInputs",)
    assert ([value.name for value in model.graph.input], model.ir_version) == (["x"], 4)
    onnx.checker.check_model(model)


def test_sort_nodes_of_a_cycle_is_refused() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"], name="last")]
    with pytest.raises(PassError, match=r"SortNodes: node 'last' \(Neg\) reads 'a', which is made behind it"):
        run_passes(make_model(nodes), (SortNodes(),))


def untidy() -> onnx.ModelProto:
    """A model on which every pass below has something to do."""
    nodes = [
        helper.make_node("Gemm", ["k", "w"], ["y"], alpha=2.0, doc_string="said"),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[1]),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Constant", [], ["k"], value=constant("k", np.ones((4, 4), np.float32))),
    ]
    constants = [constant("w"), constant("unused")]
    values = [("w", FLOAT, [4, 4]), ("unused", FLOAT, [4, 4]), ("x", FLOAT, [1, 1, 4])]
    outputs = [("y", FLOAT, [4, 4]), ("p", FLOAT, [1, 1, 4])]
    return make_model(nodes, values, outputs, constants, ir=99, domains={"acme": 1})


PASSES: list[GraphPass] = [
    Strip(),
    LowerIrVersion(),
    DropConstantInputs(),
    NameNodes(),
    ImportUsed(),
    PoolBeforeRelu(),
    SortNodes(),
    LiftConstants(),
    SplitGemms(frozenset()),
    DropUnused(),
]


@pytest.mark.parametrize("one", PASSES, ids=lambda one: one.name)
def test_each_pass_tells_whether_it_changed_the_model(one: GraphPass) -> None:
    model = untidy()
    before = model.SerializeToString(deterministic=True)
    passed = run_passes(model, (one,))
    assert passed.modified == (one.name,)
    first = passed.model.SerializeToString(deterministic=True)
    assert first != before
    again = run_passes(passed.model, (one,))
    assert again.modified == ()
    assert again.model.SerializeToString(deterministic=True) == first


def test_all_passes_in_turn_leave_a_valid_model() -> None:
    passed = run_passes(untidy(), PASSES)
    assert passed.modified == tuple(one.name for one in PASSES)
    onnx.checker.check_model(passed.model, full_check=True)
    assert [node.op_type for node in passed.model.graph.node] == ["MatMul", "MaxPool", "Relu"]
    assert [tensor.name for tensor in passed.model.graph.initializer] == ["k", "Gemm_0__weight"]
