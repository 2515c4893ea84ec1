"""Compute matrix products in 8 bits: weights are quantized beforehand, inputs at run time, without calibration data.

``DynamicQuantizeLinear → MatMulInteger → Cast → Mul(scales)`` in standard ONNX, which onnxruntime fuses. Convolutions
stay in float32: ConvInteger is several times slower than the float convolution.
"""

import numpy as np
import onnx

from onnxpack.graph.check import get_opset
from onnxpack.graph.isa import needs_reduced_range
from onnxpack.graph.passes import run_passes
from onnxpack.precision import Converted, Job, Left, Wish, weights
from onnxpack.precision.edit import DropUnused, LiftConstants, SplitGemms, find_constant_products, replace_nodes
from onnxpack.spec.traits import PrecisionTraits

TRAITS = PrecisionTraits(
    noise=(0.25, 0.1),
    min_opset=13,
    refused_on={"cuda": ("int8-dynamic has no kernels on the GPU", "use float16, or int8-static")},
    tried_on={"cpu": 1},
    per_channel=True,
)

_MIN_OPSET = 11
"""Since then there is DynamicQuantizeLinear."""


def refusal(wish: Wish, model: onnx.ModelProto) -> str:
    """Refuse other devices than the CPU, and models without products with constant weights."""
    if wish.device != "cpu":
        return "onnxruntime computes MatMulInteger on the CPU only; int8-static or float16 are for GPUs"
    if get_opset(model) < _MIN_OPSET:
        return f"it needs opset {_MIN_OPSET}, the model has {get_opset(model)}"
    return weights.refusal(model)


def convert(job: Job) -> Converted:
    """Convert every MatMul and Gemm with constant weights; one scale per column unless the wish says otherwise."""
    model = job.model
    run_passes(model, (LiftConstants(), SplitGemms(job.excluded), DropUnused()))
    products = find_constant_products(model)
    per_channel = job.wish.per_channel is not False
    reduced = needs_reduced_range(job.wish.device, job.wish.isa)
    inputs: dict[str, list[str]] = {}
    done: dict[str, tuple[str, str]] = {}
    nodes: list[onnx.NodeProto] = []
    left = []
    for node in model.graph.node:
        if node.name not in products or node.name in job.excluded:
            nodes.append(node)
            left += _explain_float32(node, job.excluded)
            continue
        source, weight = node.input[0], products[node.name]
        # Once for each tensor: several products may read the same one.
        if source not in inputs:
            inputs[source] = [f"{source}__{part}" for part in ("int8", "scale", "zero")]
            nodes.append(
                onnx.helper.make_node("DynamicQuantizeLinear", [source], inputs[source], f"{source}__quantize")
            )
        # Once for each weight: tied ones stay tied.
        if weight.name not in done:
            done[weight.name] = _store_weight(model, weight, per_channel, reduced)
        nodes += _product(node, inputs[source], done[weight.name])
    replace_nodes(model, nodes)
    run_passes(model, (DropUnused(),))
    return Converted(model, tuple(left))


def quantize_matrix(matrix: np.ndarray, per_channel: bool, reduced: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return symmetric int8 values of a matrix [K, N] and their scales, [N] or a scalar: ``w ≈ scale · q``."""
    # 64 and not 63: two products of 255 · 64 just fit into 16 bits. 127 and not 128, so that the range is symmetric.
    limit = 64 if reduced else 127
    largest = np.abs(matrix).max(axis=0 if per_channel else None).astype(np.float32)
    # A column of zeros would divide by zero; its values are 0 at any scale.
    scale = np.where(largest > 0, largest / limit, 1).astype(np.float32)
    return np.clip(np.rint(matrix / scale), -limit, limit).astype(np.int8), scale


def _store_weight(
    model: onnx.ModelProto, weight: onnx.TensorProto, per_channel: bool, reduced: bool
) -> tuple[str, str]:
    """Add a weight's values and scales to the graph; return their names."""
    values, scale = quantize_matrix(onnx.numpy_helper.to_array(weight), per_channel, reduced)
    names = (f"{weight.name}__int8", f"{weight.name}__scale")
    for name, array in zip(names, (values, scale), strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return names


def _product(node: onnx.NodeProto, source: list[str], weight: tuple[str, str]) -> list[onnx.NodeProto]:
    """Return the nodes that replace a MatMul; ``source`` and ``weight`` are names of quantized tensors."""
    values, scale, zero = source
    base, output = node.name, node.output[0]
    whole, real, scales = (f"{output}__{part}" for part in ("int32", "float", "scales"))
    make = onnx.helper.make_node
    return [
        # The weights are symmetric, and have no zero point.
        make("MatMulInteger", [values, weight[0], zero], [whole], base),
        make("Cast", [whole], [real], f"{base}__cast", to=onnx.TensorProto.FLOAT),
        make("Mul", [scale, weight[1]], [scales], f"{base}__scales"),
        make("Mul", [real, scales], [output], f"{base}__scaled"),
    ]


def _explain_float32(node: onnx.NodeProto, excluded: frozenset[str]) -> list[Left]:
    """Return the reason why a node stays in float32, if somebody may ask for it."""
    if node.op_type in ("MatMul", "Gemm", "Conv") and node.name in excluded:
        return [Left(node.name, node.op_type, "excluded")]
    if node.op_type in ("MatMul", "Gemm"):
        return [Left(node.name, node.op_type, "its weights are not a constant float32 matrix")]
    if node.op_type in ("Conv", "LSTM", "GRU"):
        return [Left(node.name, node.op_type, "not quantized while it runs: slower, or unknown to the runtime")]
    return []
