"""Estimate the cost of one run of a model from its graph alone, so that a search is as long on every machine."""

import contextlib
from math import prod
from pathlib import Path

import onnx

from onnxpack.data.test_inputs import Arrays

_PER_NODE = 20_000
"""Multiplications that a framework could do in the time that it takes to start one operator (about 10 µs)."""
_PER_RUN = 1_000_000
"""For what a framework does around its operators."""
_PER_ESTIMATOR = 30_000_000
"""For what estimators do around their arithmetic: they check every input and start workers (about 10 ms)."""
_PER_WEIGHT = 4
"""Weights are read from memory, which takes longer than to multiply by them, where the inputs are few."""
_PER_TREE = 64
"""Comparisons along one path through a tree, with their cache misses."""


def estimate_run_cost(path: Path, inputs: Arrays) -> int:
    """Return a rough cost of one run on ``inputs``, in multiplications.

    Sizes come from onnx's shape inference; a node whose output is unknown to it counts by its weights.
    """
    model = onnx.load(path, load_external_data=False)
    for value in model.graph.input:
        if value.name in inputs and value.type.HasField("tensor_type"):
            dims = value.type.tensor_type.shape.dim
            del dims[:]
            for size in inputs[value.name].shape:
                dims.add().dim_value = size
    with contextlib.suppress(Exception):  # its errors share no base; without shapes the weights still count
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    sizes = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.output, *graph.input):
        shapes.setdefault(value.name, [dim.dim_value for dim in value.type.tensor_type.shape.dim])
    rows = max((array.shape[0] for array in inputs.values() if array.ndim), default=1)
    classic = any(node.domain == "ai.onnx.ml" for node in graph.node)
    around = _PER_ESTIMATOR if classic else _PER_RUN
    return around + sum(_node_cost(node, sizes, shapes, rows) for node in graph.node)


def _node_cost(node: onnx.NodeProto, sizes: dict[str, int], shapes: dict[str, list[int]], rows: int) -> int:
    if node.op_type.startswith("TreeEnsemble"):
        return _PER_NODE + rows * count_trees(node) * _PER_TREE
    out = prod(shapes.get(node.output[0], [])) or 1
    weights = max((sizes.get(name, 0) for name in node.input), default=0)
    if node.op_type == "Conv":
        kernel = shapes.get(node.input[1], [])
        return _PER_NODE + out * (prod(kernel[1:]) or 1) + _PER_WEIGHT * weights
    if node.op_type in ("Gemm", "MatMul"):
        depth = (shapes.get(node.input[0]) or [1])[-1] or 1
        return _PER_NODE + out * depth + _PER_WEIGHT * weights
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return _PER_NODE + out * max(weights // 8, 1)
    return _PER_NODE + out


def count_trees(node: onnx.NodeProto) -> int:
    """Return how many trees a TreeEnsemble node of any version has."""
    for attribute in node.attribute:
        if attribute.name == "nodes_treeids":
            return len(set(attribute.ints))
        if attribute.name == "tree_roots":
            return len(attribute.ints)
    return 1
