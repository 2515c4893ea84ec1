"""Pack weights of matrix products into 4 or 8 bits, block by block, for onnxruntime's operator MatMulNBits.

B of shape [K, N] becomes N columns of ``ceil(K / block)`` blocks, each with a float32 scale and, in 4 bits, a zero
point. See MatMulNBits in onnxruntime's ContribOperators.md; the runtime's own functions pack the bits.
"""

from typing import Any

import numpy as np
import onnx

from onnxpack.graph.passes import run_passes
from onnxpack.precision import Converted, Job, Left
from onnxpack.precision.edit import (
    DropUnused,
    LiftConstants,
    SplitGemms,
    find_constant_products,
    find_initializers,
    is_matrix,
    replace_nodes,
)

_MIN_BLOCK = 16
"""The smallest block that the operator knows; a shorter K saves nothing."""
_INT8_ACCURACY = 4
"""The operator's ``accuracy_level``: inputs become int8 too. Without it the CPU unpacks the weights and is slow."""
_DOMAIN = "com.microsoft"


def refusal(model: onnx.ModelProto) -> str:
    """Return why there is nothing to pack; empty where there is."""
    constants = {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    known = find_initializers(model)
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm") and (
            node.input[1] in constants or (node.input[1] in known and is_matrix(known[node.input[1]]))
        ):
            return ""
    return "the model has no MatMul or Gemm with constant weights"


def convert(job: Job, bits: int) -> Converted:
    """Convert every MatMul and Gemm with constant weights, except excluded ones and those of shape K < 16."""
    model = job.model
    run_passes(model, (LiftConstants(), SplitGemms(job.excluded), DropUnused()))
    products = find_constant_products(model)
    done: dict[str, list[onnx.TensorProto]] = {}
    left, nodes = [], []
    for node in model.graph.node:
        why = _why_not(node, products, job.excluded)
        if why is not None:
            nodes.append(node)
            left += [Left(node.name, node.op_type, why)] if why else []
            continue
        weight = products[node.name]
        block = choose_block_size(weight.dims[0], bits)
        if weight.name not in done:
            done[weight.name] = _pack_weight(weight, bits, block)
            model.graph.initializer.extend(done[weight.name])
        nodes.append(_product(node, weight, done[weight.name], bits, block, job.wish.device))
    replace_nodes(model, nodes)
    run_passes(model, (DropUnused(),))
    if done and all(entry.domain != _DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    return Converted(model, tuple(left))


def choose_block_size(rows: int, bits: int) -> int:
    """Return the number of rows that share a scale: few in 4 bits, more in 8, and if possible without padding."""
    sizes = (32, 16) if bits == 4 else (128, 64, 32, 16)
    return next((size for size in sizes if rows % size == 0), 32 if rows >= 32 else 16)


def _why_not(node: onnx.NodeProto, products: dict[str, onnx.TensorProto], excluded: frozenset[str]) -> str | None:
    """Return why a node stays; empty for one that nobody asks about, None for one that is converted."""
    if node.op_type not in ("MatMul", "Gemm"):
        return ""
    if node.name in excluded:
        return "excluded"
    if node.name not in products:
        return "its weights are not a constant float32 matrix" if node.op_type == "MatMul" else "a Gemm of another form"
    return None if products[node.name].dims[0] >= _MIN_BLOCK else f"fewer than {_MIN_BLOCK} rows of weights"


def _pack_weight(weight: onnx.TensorProto, bits: int, block: int) -> list[onnx.TensorProto]:
    """Return B, its scales and, in 4 bits, its zero points, as the operator takes them."""
    from onnxruntime.capi import _pybind_state as runtime

    matrix = np.ascontiguousarray(onnx.numpy_helper.to_array(weight))
    rows, columns = matrix.shape
    # Rounded up: the last block is padded with zeros below.
    blocks = -(-rows // block)
    per_byte = 8 // bits
    padded = np.pad(matrix, ((0, blocks * block - rows), (0, 0)))
    packed = np.zeros((columns, blocks, block // per_byte), np.uint8)
    # Zero points are packed as the values are: two in a byte of 4 bits.
    zeros = np.zeros((columns, -(-blocks // per_byte)), np.uint8)
    scales = np.zeros((columns, blocks), np.float32)
    pack = runtime.quantize_matmul_4bits if bits == 4 else runtime.quantize_matmul_8bits
    symmetric = bits == 8
    pack(packed, padded, scales, zeros, block, columns, rows, symmetric)
    parts: dict[str, Any] = {"packed": packed, "scales": scales}
    if not symmetric:
        parts["zeros"] = zeros
    return [onnx.numpy_helper.from_array(array, f"{weight.name}__{part}{bits}") for part, array in parts.items()]


def _product(
    node: onnx.NodeProto, weight: onnx.TensorProto, parts: list[onnx.TensorProto], bits: int, block: int, device: str
) -> onnx.NodeProto:
    extra: dict[str, Any] = {"accuracy_level": _INT8_ACCURACY} if device == "cpu" else {}
    rows, columns = weight.dims
    return onnx.helper.make_node(
        "MatMulNBits",
        [node.input[0], *(part.name for part in parts)],
        [node.output[0]],
        name=node.name,
        domain=_DOMAIN,
        K=rows,
        N=columns,
        bits=bits,
        block_size=block,
        **extra,
    )
