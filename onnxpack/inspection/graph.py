"""Reads the facts of an ONNX file, valid or not: leniently, in a child process, without its external data."""

import math
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.graph.check import (
    DTYPES,
    MAX_IR,
    get_opset,
    has_text,
    iterate_graphs,
    iterate_nodes,
    list_inputs,
    read_info,
)
from onnxpack.spec.traits import RUNTIME_MAX_OPSET

_BITS = {
    "float32": 32, "float64": 64, "float16": 16, "bfloat16": 16, "bool": 8, "complex64": 64, "complex128": 128,
    "int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64,
    "int4": 4, "uint4": 4, "float4e2m1": 4, "int2": 2, "uint2": 2,
}  # fmt: skip
_DEFAULT_DOMAINS = ("", "ai.onnx")


def onnx_facts(path: Path) -> dict[str, Any]:
    """Return the facts about an ONNX file as JSON values; sizes are in bytes.

    Raises:
        SourceError: it is no ONNX file.
    """
    file = Path(path)
    try:
        model = onnx.load(file, format="protobuf", load_external_data=False)
    except Exception as error:  # protobuf's decode errors have no common base
        raise SourceError(
            f"'{file.name}' is not an ONNX model: {flatten_words(error, 300)}",
            "export the model again, or check the path",
        ) from None
    if not has_text(model):
        raise SourceError(f"'{file.name}' holds a name that is no UTF-8 text", "export the model again")
    if not model.graph.node and not model.graph.output:
        raise SourceError(f"'{file.name}' holds no graph", "export the model again")
    nodes = list(iterate_nodes(model.graph))
    weights = list(_weights(model.graph))
    by_dtype: dict[str, int] = defaultdict(int)
    for tensor in weights:
        by_dtype[_dtype(tensor.data_type)] += _bytes(tensor)
    ops = Counter(
        node.op_type if node.domain in _DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}" for node in nodes
    )
    return {
        "kind": "onnx",
        "path": path,
        "size_bytes": file.stat().st_size,
        "opset": get_opset(model),
        "domains": {e.domain: e.version for e in model.opset_import if e.domain not in _DEFAULT_DOMAINS},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "inputs": [_tensor(value) for value in list_inputs(model.graph)],
        "outputs": [_tensor(value) for value in model.graph.output],
        "nodes": len(nodes),
        "ops": dict(sorted(ops.items(), key=lambda item: (-item[1], item[0]))),
        "functions": len(model.functions),
        "parameters": sum(_count(tensor) for tensor in weights),
        "attribute_values": sum(len(a.floats) + len(a.ints) for node in nodes for a in node.attribute),
        "weights": dict(sorted(by_dtype.items(), key=lambda item: -item[1])),
        "precision": max(by_dtype, key=lambda dtype: by_dtype[dtype]) if by_dtype else None,
        "external_data": _external(weights, file.parent),
        "problems": _problems(model),
    }


def _weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the constants of a graph and of all graphs inside it: initializers, and Constant nodes' tensors."""
    for inner in iterate_graphs(graph):
        yield from inner.initializer
        yield from (sparse.values for sparse in inner.sparse_initializer)
        for node in inner.node:
            if node.op_type == "Constant":
                yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _count(tensor: onnx.TensorProto) -> int:
    # A broken file may hold negative sizes.
    return math.prod(max(size, 0) for size in tensor.dims)


def _bytes(tensor: onnx.TensorProto) -> int:
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    if tensor.string_data:
        return sum(map(len, tensor.string_data))
    return _count(tensor) * _BITS.get(_dtype(tensor.data_type), 8) // 8


def _dtype(number: int) -> str:
    names = onnx.TensorProto.DataType
    return DTYPES.get(number) or (names.Name(number).lower() if number in names.values() else f"type {number}")


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return {"name": value.name, "dtype": (kind or "unknown").removesuffix("_type"), "shape": []}
    info = read_info(value)
    return {"name": info.name, "dtype": _dtype(value.type.tensor_type.elem_type), "shape": list(info.shape)}


def _external(weights: list[onnx.TensorProto], folder: Path) -> list[dict[str, Any]]:
    """Return the external data files, with the bytes that the model uses of each; none is opened."""
    used: dict[str, int] = defaultdict(int)
    for tensor in weights:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            used[location] += _bytes(tensor)
    return [
        {"location": location, "used_bytes": count, "size_bytes": _size_of(folder, location)}
        for location, count in used.items()
    ]


def _size_of(folder: Path, location: str) -> int | None:
    """Return the size in bytes of a regular file in the model's folder, and None for anything else."""
    path = folder / location
    if not location or Path(location).is_absolute() or ".." in Path(location).parts:
        return None
    try:
        status = path.lstat()
    except (OSError, ValueError):  # it is not there, or no name of a file
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _problems(model: onnx.ModelProto) -> list[str]:
    """List why the runtime would refuse the model, as far as its IR version and opset tell."""
    found = []
    if model.ir_version > MAX_IR:
        found.append(f"IR version {model.ir_version}: the runtime reads {MAX_IR} at most")
    if get_opset(model) > RUNTIME_MAX_OPSET:
        found.append(f"opset {get_opset(model)}: the runtime reads {RUNTIME_MAX_OPSET} at most")
    return found
