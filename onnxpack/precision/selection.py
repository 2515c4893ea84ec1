"""Select the nodes for static quantization: products with constant weights, and what passes 8 bits on between them."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from onnxpack.precision import Left
from onnxpack.precision.edit import find_initializers, get_attribute

WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_REMOVABLE = ("Relu", "Clip")
_BETWEEN = ("LeakyRelu", "Add", "Mul", "Sigmoid", "AveragePool", "GlobalAveragePool", "Concat", "Resize")
"""Quantized only where all that they take comes from a convolution: in a transformer's sums 8 bits cost more than they
save."""
_PASSING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Pad", "Split")
"""They move values only: in 8 bits if what they take is."""
OPS = (*WEIGHTED, *_REMOVABLE, *_BETWEEN, *_PASSING)
_FEW_CHANNELS = 4
"""Of the picture that comes in: onnxruntime's 8-bit convolution, with channels last, has little to add up there."""
_HUGE = 1e30
"""A mask's minus infinity and the like: no scale tells such values and ordinary ones apart."""


@dataclass(frozen=True)
class Selection:
    """Names of nodes to quantize: ``layers`` have weights, ``nodes`` are all; ``left`` are layers that stay float32."""

    layers: tuple[str, ...]
    nodes: tuple[str, ...]
    left: tuple[Left, ...]

    def only(self, layer: str) -> "Selection":
        """Return a selection of one layer and nothing else."""
        return Selection((layer,), (layer,), ())


def select_nodes(
    model: onnx.ModelProto, excluded: frozenset[str], ranges: dict[str, tuple[float, float]] | None = None
) -> Selection:
    """Select the nodes to quantize of a prepared graph; with ``ranges``, none whose values have no finite range."""
    known = find_initializers(model)
    layers, nodes, left = [], [], []
    convolved: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in OPS or node.domain not in ("", "ai.onnx"):
            continue
        why = _why_not(node, known, excluded, ranges)
        # Without constants: what counts is where the computed inputs come from.
        given = [name for name in node.input[: _data_inputs(node)] if name and name not in known]
        fed = bool(given) and all(name in convolved for name in given)
        if fed or node.op_type in ("Conv", "ConvTranspose"):
            convolved.update(node.output)
        if node.op_type in _BETWEEN and not fed:
            continue
        if why:
            left += [Left(node.name, node.op_type, why)] if node.op_type in WEIGHTED else []
            continue
        nodes.append(node.name)
        if node.op_type in WEIGHTED:
            layers.append(node.name)
    return Selection(tuple(layers), _of_use(model, nodes), tuple(left))


def list_tensors(model: onnx.ModelProto, types: dict[str, int]) -> list[str]:
    """Return the float32 tensors whose ranges may be asked for, in order."""
    known = find_initializers(model)
    return list(
        dict.fromkeys(
            name
            for node in model.graph.node
            if node.op_type in OPS
            for name in (*node.input, *node.output)
            if name and name not in known and types.get(name) == onnx.TensorProto.FLOAT
        )
    )


def find_float_ends(model: onnx.ModelProto, selection: Selection) -> frozenset[str]:
    """Return the products whose output no node takes in 8 bits: it stays in float32, which is free and exact."""
    chosen = set(selection.nodes)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return frozenset(
        node.name
        for node in model.graph.node
        if node.name in chosen
        and node.op_type in ("MatMul", "Gemm")
        and not any(reader.name in chosen for reader in readers.get(node.output[0], []))
    )


def _of_use(model: onnx.ModelProto, nodes: list[str]) -> tuple[str, ...]:
    """Return the nodes without those that only move values and whose output no node takes in 8 bits."""
    chosen = set(nodes)
    wanted: set[str] = set()
    # From the end, so that whoever reads a node's output was decided before it.
    for node in reversed(model.graph.node):
        if node.op_type in _PASSING and not wanted.intersection(node.output):
            chosen.discard(node.name)
        if node.name in chosen:
            wanted.update(node.input)
    return tuple(name for name in nodes if name in chosen)


def _why_not(
    node: onnx.NodeProto,
    known: dict[str, onnx.TensorProto],
    excluded: frozenset[str],
    ranges: dict[str, tuple[float, float]] | None,
) -> str:
    """Return why a node stays in float32; empty where it can be quantized."""
    if node.name in excluded:
        return "excluded"
    if node.op_type in WEIGHTED:
        weight = known.get(node.input[1])
        if weight is None or weight.data_type != onnx.TensorProto.FLOAT:
            return "its weights are not constant float32"
        if node.op_type in ("MatMul", "Gemm") and len(weight.dims) != 2:
            return "its weights are no matrix"
        if node.op_type == "Conv" and get_attribute(node, "group", 1) == 1 and weight.dims[1] < _FEW_CHANNELS:
            return "few input channels: faster in float32"
    if ranges is not None and any(not _fit(ranges[name]) for name in _values(node) if name in ranges):
        return "its values have no finite range"
    return ""


def _fit(ends: tuple[float, float]) -> bool:
    return -_HUGE < ends[0] <= ends[1] < _HUGE


def _data_inputs(node: onnx.NodeProto) -> int:
    """Return how many of the inputs are data rather than parameters."""
    return len(node.input) if node.op_type in ("Add", "Mul", "Concat") else 1


def _values(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    yield from node.output
