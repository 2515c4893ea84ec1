"""Count a model's operators and its bytes of weights by dtype, by which alone a quantizer is believed."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import onnx

from onnxpack.graph.check import count_weights, iterate_nodes

REDUCED_OPS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "ConvInteger",
        "MatMulNBits",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
        "MatMulIntegerToFloat",
    }
)
"""Operators that compute or store less than 16 bits."""
_HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Makeup:
    """The number of nodes by operator, bytes of constants by dtype, and the number of nodes of less than 32 bits."""

    ops: dict[str, int]
    weights: dict[str, int]
    reduced: int


def count_makeup(model: onnx.ModelProto) -> Makeup:
    """Count what a model is made of, its inner graphs included."""
    nodes = list(iterate_nodes(model.graph))
    return Makeup(
        ops=dict(sorted(Counter(node.op_type for node in nodes).items())),
        weights=count_weights(model),
        reduced=sum(
            node.op_type in REDUCED_OPS or node.op_type.startswith("QLinear") or _to_half(node) for node in nodes
        ),
    )


def has_fewer_bits(before: Makeup, after: Makeup) -> bool:
    """Return whether anything is computed or stored in fewer bits than before."""
    return after.reduced > before.reduced


def _to_half(node: Any) -> bool:
    """Return whether a node is a Cast to 16 bits."""
    return node.op_type == "Cast" and any(item.name == "to" and item.i in _HALF for item in node.attribute)
