"""Upgrade a graph of opset 1 to 6 to opset 7, the lowest that onnxruntime runs in full.

onnx's own converter lacks rules for many of these operators, and some of those that it has are wrong: what is broadcast
along an ``axis`` gets too many dimensions, a PRelu's slopes move to the last axis, an Upsample keeps a mode that the
next version does not know. So each change between the versions is written here, after the operators' definitions:
https://github.com/onnx/onnx/blob/main/docs/Changelog.md
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from onnxpack.core.errors import Problem, SourceError
from onnxpack.graph.check import get_opset, iterate_graphs, iterate_nodes
from onnxpack.graph.old_opsets import RUNTIME_MIN_OPSET, read_cast_type, take, write_defaults
from onnxpack.graph.passes import Edit, GraphPass
from onnxpack.graph.tidy import DEFAULT_DOMAINS, FREE_CONSTANTS_IR, set_opset

BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
"""What had ``broadcast`` and ``axis`` before opset 7, where numpy's rules came."""
_ALIKE = frozenset({"Sum", "Max", "Min", "Mean", "InstanceNormalization", "PRelu", "Upsample"})
"""What gives a tensor of its first input's rank, and has no inference in opset 7."""
_TRAINING = "export it again for inference, or set its attribute is_test to 1 if it is meant for inference"
_AGAIN = "export the model again with an opset of 7 or higher"


@dataclass
class _Graph:
    """The graph that the rules rewrite: types, constants, and the nodes to insert before the current one."""

    types: dict[str, onnx.TypeProto]
    constants: dict[str, onnx.TensorProto]
    added: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def rank(self, node: onnx.NodeProto, index: int) -> int:
        """Return an input's number of dimensions, or raise a ``SourceError`` where nothing tells it."""
        name = node.input[index]
        if name not in self.types or not self.types[name].tensor_type.HasField("shape"):
            raise _refuse(node, f"the number of dimensions of '{name}' is not known", _AGAIN)
        return len(self.types[name].tensor_type.shape.dim)

    def infer(self, node: onnx.NodeProto) -> None:
        """Infer the types of a node's outputs; onnx infers few of them in the form that they had before opset 7."""
        inputs = [name for name in node.input if name]
        if node.op_type in _ALIKE and self.types.get(inputs[0]):
            self.types[node.output[0]] = self.types[inputs[0]]
        elif all(name in self.types for name in inputs):
            schema = onnx.defs.get_schema(node.op_type, RUNTIME_MIN_OPSET, node.domain)
            constants = {name: self.constants[name] for name in inputs if name in self.constants}
            imports = [onnx.helper.make_opsetid("", RUNTIME_MIN_OPSET)]
            with contextlib.suppress(onnx.shape_inference.InferenceError):  # then nothing is known, as before
                self.types |= onnx.shape_inference.infer_node_outputs(
                    schema, node, {name: self.types[name] for name in inputs}, constants, opset_imports=imports
                )

    def dtype(self, node: onnx.NodeProto, index: int) -> np.dtype[Any]:
        """Return an input's dtype; float32 unless a constant tells another."""
        tensor = self.constants.get(node.input[index])
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type) if tensor else np.float32)

    def constant(self, node: onnx.NodeProto, index: int) -> np.ndarray[Any, Any]:
        """Return an input's value, or raise a ``SourceError`` where it is known only when the model runs."""
        name = node.input[index]
        if name not in self.constants:
            raise _refuse(node, f"its input '{name}' is not a constant", _AGAIN)
        value: np.ndarray[Any, Any] = onnx.numpy_helper.to_array(self.constants[name])
        return value

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Insert a node before the current one; return its output's name."""
        self.count += 1
        name = f"onnxpack_opset7_{self.count}"
        self.added.append(onnx.helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def add_constant(self, value: np.ndarray[Any, Any]) -> str:
        """Add an initializer to the outer graph and return its name."""
        self.count += 1
        # In the outer graph, which inner graphs see; a Constant node would hold floats alone before opset 9.
        tensor = onnx.numpy_helper.from_array(value, f"onnxpack_opset7_{self.count}")
        self.initializers.append(tensor)
        self.constants[tensor.name] = tensor
        self.types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        return str(tensor.name)


Rule = Callable[[onnx.NodeProto, _Graph], None]


@dataclass(frozen=True)
class UpgradeToOpset7(GraphPass):
    """Rewrite every node of an older opset so that it means the same in opset 7."""

    def requires(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Refuse a graph whose constants must be inputs, since this pass adds constants."""
        old = model.ir_version < FREE_CONSTANTS_IR
        return [Problem(f"IR version {model.ir_version} wants every constant among the inputs")] if old else []

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Rewrite, or raise a ``SourceError`` for a node that opset 7 cannot express, or that trains."""
        opset = get_opset(model)
        if opset >= RUNTIME_MIN_OPSET:
            return model, False
        known = _Graph(_find_types(model), _find_constants(model))
        for graph in iterate_graphs(model.graph):
            nodes = list(graph.node)
            del graph.node[:]
            for node in nodes:
                if node.domain in DEFAULT_DOMAINS:
                    _upgrade(node, known, opset)
                for made in (*known.added, node):
                    known.infer(made)
                    graph.node.append(made)
                known.added.clear()
        # At the end, as rules of inner graphs add to the outer graph too.
        model.graph.initializer.extend(known.initializers)
        set_opset(model, RUNTIME_MIN_OPSET)
        return model, True

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Check that no node has an attribute that opset 7 lacks."""
        opset = get_opset(model)
        problems = []
        for node in (node for node in iterate_nodes(model.graph) if node.domain in DEFAULT_DOMAINS):
            known = onnx.defs.get_schema(node.op_type, max(opset, RUNTIME_MIN_OPSET)).attributes
            strange = [item.name for item in node.attribute if item.name not in known]
            if strange:
                problems.append(
                    Problem(f"{_describe_node(node)} has the attribute {strange[0]}, which opset {opset} lacks")
                )
        return problems


def _upgrade(node: onnx.NodeProto, graph: _Graph, opset: int) -> None:
    # Before the attributes are rewritten: a default that changed must be read by the node's own opset.
    write_defaults(node, opset)
    # A hint for memory that opset 6 dropped; it changes no value.
    take(node, "consumed_inputs", None)
    rule = _broadcast if node.op_type in BROADCASTING else _RULES.get(node.op_type)
    if rule:
        rule(node, graph)


def _broadcast(node: onnx.NodeProto, graph: _Graph) -> None:
    """Append dimensions of size 1 to B, so that opset 7 broadcasts it along the axes of A that begin at ``axis``."""
    axis = take(node, "axis", None)
    if not take(node, "broadcast", 0) or axis is None:
        return
    first, second = graph.rank(node, 0), graph.rank(node, 1)
    behind = first - (axis if axis >= 0 else axis + first) - second
    if behind > 0:
        axes = list(range(second, second + behind))
        node.input[1] = graph.add("Unsqueeze", [node.input[1]], axes=axes)


def _prelu(node: onnx.NodeProto, graph: _Graph) -> None:
    """Shape the slopes, one for each channel, for opset 7, which aligns them from the last axis."""
    behind = graph.rank(node, 0) - 2
    if graph.rank(node, 1) == 1 and behind > 0:
        node.input[1] = graph.add("Unsqueeze", [node.input[1]], axes=list(range(1, behind + 1)))


def _gemm(node: onnx.NodeProto, graph: _Graph) -> None:
    take(node, "broadcast", 0)


def _batch_normalization(node: onnx.NodeProto, graph: _Graph) -> None:
    _require_inference(node)
    if len(node.output) > 1:
        raise _refuse(node, "it gives the statistics that training needs", _TRAINING)
    # Before opset 9, 0 means a scale for each value of a row. From there on it is always one for each channel.
    if take(node, "spatial", 1):
        return
    epsilon = take(node, "epsilon", 1e-5)
    take(node, "momentum", None)
    data, scale, bias, mean, variance = node.input
    small = graph.add_constant(np.array([epsilon], graph.dtype(node, 4)))
    deviation = graph.add("Sqrt", [graph.add("Add", [variance, small])])
    factor = graph.add("Div", [scale, deviation])
    scaled = graph.add("Mul", [graph.add("Sub", [data, mean]), factor])
    del node.input[:]
    node.input.extend([scaled, bias])
    node.op_type = "Add"


def _dropout(node: onnx.NodeProto, graph: _Graph) -> None:
    _require_inference(node)


def _require_inference(node: onnx.NodeProto) -> None:
    if not take(node, "is_test", 0):
        raise _refuse(
            node, "it is in training mode, in which its output depends on the batch or on random numbers", _TRAINING
        )


def _cast(node: onnx.NodeProto, graph: _Graph) -> None:
    to = take(node, "to", None)
    node.attribute.append(onnx.helper.make_attribute("to", read_cast_type(to)))


def _concat(node: onnx.NodeProto, graph: _Graph) -> None:
    """Set the axis, which in opset 1 to 3 is the second one by default."""
    node.attribute.append(onnx.helper.make_attribute("axis", take(node, "axis", 1)))


def _recurrent(node: onnx.NodeProto, graph: _Graph) -> None:
    take(node, "output_sequence", 0)


def _lp_pool(node: onnx.NodeProto, graph: _Graph) -> None:
    power = take(node, "p", 2)
    if power != int(power):
        raise _refuse(node, f"its p is {power}, and opset 7 takes whole numbers only", _AGAIN)
    node.attribute.append(onnx.helper.make_attribute("p", int(power)))


def _pad(node: onnx.NodeProto, graph: _Graph) -> None:
    if (pads := take(node, "paddings", None)) is not None:
        node.attribute.append(onnx.helper.make_attribute("pads", pads))


def _reshape(node: onnx.NodeProto, graph: _Graph) -> None:
    if (shape := take(node, "shape", None)) is not None:
        node.input.append(graph.add_constant(np.array(shape, np.int64)))


def _split(node: onnx.NodeProto, graph: _Graph) -> None:
    if len(node.input) > 1:
        sizes = graph.constant(node, 1).astype(np.int64).tolist()
        take(node, "split", None)
        del node.input[1:]
        node.attribute.append(onnx.helper.make_attribute("split", sizes))


def _tile(node: onnx.NodeProto, graph: _Graph) -> None:
    """Replace the count and the axis, which opset 1 to 5 take as inputs, by one count for each axis."""
    if len(node.input) < 3:
        return
    # From opset 6 on the second input holds a count for each axis.
    repeats = np.ones(graph.rank(node, 0), np.int64)
    tiles, axis = (int(graph.constant(node, index).reshape(-1)[0]) for index in (1, 2))
    repeats[axis] = tiles
    del node.input[1:]
    node.input.append(graph.add_constant(repeats))


def _upsample(node: onnx.NodeProto, graph: _Graph) -> None:
    """Write the scales of images [N, C, H, W], the only ones before opset 7, as one list."""
    height, width = take(node, "height_scale", None), take(node, "width_scale", None)
    mode = take(node, "mode", b"nearest")
    node.attribute.append(onnx.helper.make_attribute("mode", b"linear" if mode == b"bilinear" else mode))
    node.attribute.append(onnx.helper.make_attribute("scales", [1.0, 1.0, height, width]))


_RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_normalization, "Cast": _cast, "Concat": _concat, "Dropout": _dropout, "Gemm": _gemm,
    "GRU": _recurrent, "GlobalLpPool": _lp_pool, "LSTM": _recurrent, "LpPool": _lp_pool, "PRelu": _prelu, "Pad": _pad,
    "RNN": _recurrent, "Reshape": _reshape, "Split": _split, "Tile": _tile, "Upsample": _upsample,
}  # fmt: skip


def _describe_node(node: onnx.NodeProto) -> str:
    named = f"'{node.name}' ({node.op_type})" if node.name else f"{node.op_type} that gives '{node.output[0]}'"
    return f"the node {named}"


def _refuse(node: onnx.NodeProto, why: str, hint: str) -> SourceError:
    return SourceError(f"{_describe_node(node)} cannot be brought to opset {RUNTIME_MIN_OPSET}: {why}", hint)


def _find_types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Return the type of each tensor where it is declared or inferred, those of inner graphs included."""
    found: dict[str, onnx.TypeProto] = {}
    for graph in iterate_graphs(onnx.shape_inference.infer_shapes(model).graph):
        found |= {tensor.name: onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
                  for tensor in graph.initializer}  # fmt: skip
        found |= {value.name: value.type for value in (*graph.input, *graph.value_info)}
    return found


def _find_constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    found: dict[str, onnx.TensorProto] = {}
    for graph in iterate_graphs(model.graph):
        found |= {tensor.name: tensor for tensor in graph.initializer}
        found |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    return found
