"""Edit graphs as several conversions need it: types of tensors, constants, and small rewrites."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from onnxpack.core.errors import Problem
from onnxpack.graph.check import iterate_graphs, iterate_nodes
from onnxpack.graph.external_data import count_bytes
from onnxpack.graph.passes import Edit, GraphPass

_SMALL = 1024
"""Bytes of a constant that may hold a shape, and that inference therefore needs."""
Initializers = Mapping[str, onnx.TensorProto]


def find_initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return the constants of the outer graph, by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


@dataclass(frozen=True)
class LiftConstants(GraphPass):
    """Turn the tensors of Constant nodes into initializers, where every converter looks for weights."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Leave Constant nodes in inner graphs, and those of another form than ``value``, as they are."""
        kept = []
        for node in model.graph.node:
            value = next((item.t for item in node.attribute if item.name == "value"), None)
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and value is not None:
                tensor = model.graph.initializer.add()
                tensor.CopyFrom(value)
                tensor.name = node.output[0]
            else:
                kept.append(node)
        changed = len(kept) < len(model.graph.node)
        replace_nodes(model, kept)
        return model, changed


def replace_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Replace the graph's nodes by these, in this order."""
    nodes = list(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@dataclass(frozen=True)
class PoolBeforeRelu(GraphPass):
    """Swap each Relu with the MaxPool behind it, which gives the same: the greatest of the positive parts.

    onnxruntime moves a quantization from behind a MaxPool to before it, and pools bytes slowly; a Relu between
    them keeps the pooling in float32, after which it is dropped. ``SortNodes`` belongs behind it.
    """

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Swap, except where something else reads the tensor between the two."""
        # Inner graphs count too: they may read the tensor between the two.
        readers = Counter(name for node in iterate_nodes(model.graph) for name in node.input)
        outside = {value.name for value in model.graph.output}
        relus = {node.output[0]: node for node in model.graph.node if node.op_type == "Relu"}
        changed = False
        for pool in model.graph.node:
            relu = relus.get(pool.input[0]) if pool.op_type == "MaxPool" and len(pool.output) == 1 else None
            if relu is None or readers[relu.output[0]] > 1 or relu.output[0] in outside:
                continue
            between, end = relu.output[0], pool.output[0]
            pool.input[0], pool.output[0] = relu.input[0], between
            # The names at both ends stay, so that nothing around the pair changes.
            relu.input[0], relu.output[0] = between, end
            changed = True
        return model, changed


@dataclass(frozen=True)
class SortNodes(GraphPass):
    """Sort the nodes so that each comes behind what it reads; nodes that are in order keep their places."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Walk depth first from each node to the makers of what it reads."""
        makers = {name: index for index, node in enumerate(model.graph.node) for name in node.output if name}
        placed: dict[int, None] = {}
        entered: set[int] = set()
        for start in range(len(model.graph.node)):
            # A list instead of recursion: graphs may be deeper than Python's stack.
            waiting = [start]
            while waiting:
                index = waiting[-1]
                entered.add(index)
                missing = {
                    makers[name] for name in iterate_reads(model.graph.node[index]) if name in makers
                } - placed.keys()
                missing -= entered  # a cycle, which no order helps: the walk must end all the same
                if index in placed or not missing:
                    placed[waiting.pop()] = None
                else:
                    waiting += sorted(missing)
        nodes = list(model.graph.node)
        replace_nodes(model, [nodes[index] for index in placed])
        return model, list(placed) != sorted(placed)

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Check that no node reads what is made behind it."""
        late = {name for node in model.graph.node for name in node.output if name}
        for node in model.graph.node:
            late -= set(node.output)
            if ahead := sorted(late.intersection(iterate_reads(node))):
                return [Problem(f"node '{node.name}' ({node.op_type}) reads '{ahead[0]}', which is made behind it")]
        return []


def iterate_reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node, or a graph inside it, reads."""
    yield from node.input
    for item in node.attribute:
        for graph in (*([item.g] if item.HasField("g") else []), *item.graphs):
            for inner in iterate_graphs(graph):
                yield from (value.name for value in inner.output)
                for other in inner.node:
                    yield from other.input


@dataclass(frozen=True)
class DropUnused(GraphPass):
    """Drop initializers that no node and no output reads; inner graphs may read outer ones."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Edit the outer graph alone, where all weights are."""
        used = {name for node in iterate_nodes(model.graph) for name in node.input}
        used |= {value.name for graph in iterate_graphs(model.graph) for value in graph.output}
        kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
        changed = len(kept) < len(model.graph.initializer)
        if changed:
            del model.graph.initializer[:]
            model.graph.initializer.extend(kept)
        return model, changed


def make_skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without its large weights, small enough to be serialized, as shape inference does."""
    bare = make_shell(model)
    for part in ("node", "input", "output", "sparse_initializer"):
        getattr(bare.graph, part).extend(getattr(model.graph, part))
    for tensor in model.graph.initializer:
        if count_bytes(tensor) <= _SMALL:
            bare.graph.initializer.add().CopyFrom(tensor)
        else:
            here = bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            here.data_location = onnx.TensorProto.EXTERNAL
            entry = here.external_data.add()
            # Marked as external data, so that inference takes its dtype and shape and asks for no bytes.
            entry.key, entry.value = "location", "left-out"
    return bare


def make_shell(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model of the same versions and functions, with an empty graph."""
    empty = onnx.ModelProto()
    empty.ir_version = model.ir_version
    empty.opset_import.extend(model.opset_import)
    empty.functions.extend(model.functions)
    empty.graph.name = model.graph.name or "model"
    return empty


def infer_types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """Infer the element type and, as far as known, the shape of every tensor of the outer graph."""
    graph = onnx.shape_inference.infer_shapes(make_skeleton(model), data_prop=True).graph
    found = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)}
    for tensor in model.graph.initializer:
        made = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        found[tensor.name] = made.tensor_type
    return found


def get_attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return an attribute's value, or ``default`` where the node has none."""
    return next((onnx.helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


@dataclass(frozen=True)
class SplitGemms(GraphPass):
    """Replace every Gemm of a constant, two-dimensional B by MatMul and Add, which quantizers know.

    ``alpha · A · B' + beta · C``: B takes alpha and the transposition, C takes beta. A Gemm whose A is transposed, or
    whose C is scaled and no constant, stays, and so do those in ``excluded``. ``DropUnused`` belongs behind it.
    """

    excluded: frozenset[str]

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Add the new constants; the old ones stay, since other nodes may read them."""
        known = find_initializers(model)
        nodes: list[onnx.NodeProto] = []
        changed = False
        for node in model.graph.node:
            parts = None if node.op_type != "Gemm" or node.name in self.excluded else _split_gemm(node, known)
            if parts is None:
                nodes.append(node)
                continue
            weight, bias, constants = parts
            model.graph.initializer.extend(constants)
            known |= {tensor.name: tensor for tensor in constants}
            nodes += _product(node, weight, bias)
            changed = True
        replace_nodes(model, nodes)
        return model, changed


def _product(gemm: onnx.NodeProto, weight: str, bias: str) -> list[onnx.NodeProto]:
    """Return the nodes that replace a Gemm."""
    (end,) = gemm.output
    if not bias:
        return [onnx.helper.make_node("MatMul", [gemm.input[0], weight], [end], name=gemm.name)]
    between = f"{end}__product"
    return [
        onnx.helper.make_node("MatMul", [gemm.input[0], weight], [between], name=gemm.name),
        onnx.helper.make_node("Add", [between, bias], [end], name=f"{gemm.name}__bias"),
    ]


def _split_gemm(node: onnx.NodeProto, known: Initializers) -> tuple[str, str, list[onnx.TensorProto]] | None:
    """Return the names of the new B and C, and the constants to add; None where the Gemm is of another kind."""
    alpha, beta = get_attribute(node, "alpha", 1.0), get_attribute(node, "beta", 1.0)
    bias = node.input[2] if len(node.input) > 2 else ""
    weight = known.get(node.input[1])
    if get_attribute(node, "transA", 0) or weight is None or len(weight.dims) != 2:
        return None
    # A C that is known only at run time would need a node to scale it.
    if beta != 1.0 and bias and bias not in known:
        return None
    added = []
    names = [node.input[1], bias]
    if get_attribute(node, "transB", 0) or alpha != 1.0:
        array = onnx.numpy_helper.to_array(weight)
        # Transposed and scaled once here instead of in each run.
        array = (array.T if get_attribute(node, "transB", 0) else array) * array.dtype.type(alpha)
        names[0] = f"{node.name}__weight"
        added.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), names[0]))
    if bias and beta != 1.0:
        array = onnx.numpy_helper.to_array(known[bias])
        names[1] = f"{node.name}__scaled"
        added.append(onnx.numpy_helper.from_array(array * array.dtype.type(beta), names[1]))
    return names[0], names[1], added


def find_constant_products(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return the MatMuls whose B is a constant float32 matrix: that matrix by the node's name."""
    known = find_initializers(model)
    return {
        node.name: known[node.input[1]]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in known and is_matrix(known[node.input[1]])
    }


def is_matrix(tensor: onnx.TensorProto) -> bool:
    """Return whether a constant is a float32 matrix."""
    return bool(tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2)
