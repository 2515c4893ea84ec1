"""Run bfloat16 models on the CPU, which has no bfloat16: compute in float32 and round each value at once.

A bfloat16 is the upper half of a float32, and accelerators add its products in float32: this gives what they give, but
for the order of sums.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnxpack.graph import external_data
from onnxpack.graph.check import iterate_graphs, open_session

_BFLOAT16 = TensorProto.BFLOAT16
_ROUNDED = ".bfloat16"


def open_cpu_session(path: Path) -> ort.InferenceSession:
    """Return a CPU session for any model; one that holds bfloat16 is computed in float32 with rounding.

    Raises:
        SourceError: the runtime refuses the model.
    """
    outline = onnx.load(path, load_external_data=False)
    # ``plain`` for float16: onnxruntime 1.31 crashes when it fuses such products with their transposes.
    if not _holds(outline, _BFLOAT16):
        return open_session(path, plain=_holds(outline, TensorProto.FLOAT16))
    with tempfile.TemporaryDirectory(prefix="onnxpack-") as folder:
        wide = Path(folder) / path.name
        # In a folder of its own, because the session reads external data from beside the file.
        model = widen_bfloat16(onnx.load(path))
        large = sum(map(external_data.count_bytes, model.graph.initializer)) > external_data.EXTERNAL_DATA_OVER
        onnx.save(model, wide, save_as_external_data=large)
        return open_session(wide)


def widen_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace bfloat16 by float32, with a rounding behind every node that gives bfloat16; edit in place."""
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=False)
    for graph, known in zip(iterate_graphs(model.graph), iterate_graphs(typed.graph), strict=True):
        values = (*known.value_info, *known.input, *known.output)
        halves = {value.name for value in values if value.type.tensor_type.elem_type == _BFLOAT16}
        _widen(graph, halves)
    return model


def _widen(graph: onnx.GraphProto, halves: set[str]) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == _BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(_float32(tensor), tensor.name))
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.tensor_type.elem_type == _BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == _BFLOAT16:
                attribute.t.CopyFrom(numpy_helper.from_array(_float32(attribute.t), attribute.t.name))
            elif attribute.name in ("to", "dtype") and attribute.i == _BFLOAT16:
                attribute.i = TensorProto.FLOAT
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in halves:
                node.output[index] = f"{name}{_ROUNDED}.wide"
                # Two casts: there and back is the rounding to bfloat16.
                nodes.append(helper.make_node("Cast", [node.output[index]], [f"{name}{_ROUNDED}"], to=_BFLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}{_ROUNDED}"], [name], to=TensorProto.FLOAT))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _float32(tensor: onnx.TensorProto) -> np.ndarray:
    return numpy_helper.to_array(tensor).astype(np.float32)


def _holds(model: onnx.ModelProto, dtype: int) -> bool:
    return any(
        any(tensor.data_type == dtype for tensor in graph.initializer)
        or any(
            attribute.i == dtype and attribute.name in ("to", "dtype")
            for node in graph.node
            for attribute in node.attribute
        )
        for graph in iterate_graphs(model.graph)
    )
