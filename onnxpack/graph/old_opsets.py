"""Handle what opset 1 to 6 write differently: attributes that are gone, words for numbers, other defaults."""

from typing import Any

import onnx

from onnxpack.graph.tidy import DEFAULT_DOMAINS

RUNTIME_MIN_OPSET = 7
"""The lowest opset whose operators onnxruntime has all."""


def take(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Remove an attribute from a node and return its value."""
    found = default
    for index, item in enumerate(node.attribute):
        if item.name == name:
            found = onnx.helper.get_attribute_value(item)
            del node.attribute[index]
            break
    return found


def write_defaults(node: onnx.NodeProto, opset: int) -> None:
    """Write the value of an attribute that was left out where opset 7 would read another one (Selu's digits)."""
    if node.domain not in DEFAULT_DOMAINS:
        return
    old = onnx.defs.get_schema(node.op_type, opset).attributes
    new = onnx.defs.get_schema(node.op_type, RUNTIME_MIN_OPSET).attributes
    given = {item.name for item in node.attribute}
    for name, attribute in old.items():
        default = attribute.default_value
        if default.name and name in new and name not in given and default != new[name].default_value:
            node.attribute.append(default)


def read_cast_type(to: int | bytes) -> int:
    """Return the element type of a Cast, which opset 1 to 5 give as a word."""
    return onnx.TensorProto.DataType.Value(to.decode().upper()) if isinstance(to, bytes) else to
