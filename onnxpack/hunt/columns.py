"""Trace the features of a graph's trees back to the inputs' columns, through nodes that only move or scale them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from onnxpack.data.domains import Domain, list_domains
from onnxpack.spec.model import Spec

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
_MOVES = ("Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
"""What changes no value, and not the order of a row's values, in graphs that estimators are converted to."""


@dataclass(frozen=True)
class Column:
    """A feature, ``(value - offset) * scale`` of an input's element; ``place`` counts the elements of one row."""

    input: str
    place: int
    domain: Domain
    offset: float = 0.0
    scale: float = 1.0

    @property
    def exact(self) -> bool:
        """Return whether the feature is the input's own value, so that not even its last bit differs."""
        return self.offset == 0 and self.scale == 1


Columns = list[Column | None]
"""One for each feature; None for one that is made of others, such as a word's place among known words."""


def find_columns(graph: onnx.GraphProto, name: str, spec: Spec) -> Columns | None:
    """Return the input columns behind the features in the value ``name``; None if even their number is unknown."""
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def follow(value: str) -> Columns | None:
        node = makers.get(value)
        if node is None:
            return _make_columns(value, spec)
        attributes = {found.name: onnx.helper.get_attribute_value(found) for found in node.attribute}
        return _follow_node(node, attributes, follow, constants)

    return follow(name)


def _make_columns(name: str, spec: Spec) -> Columns | None:
    tensor = spec.inputs.get(name)
    if tensor is None or tensor.dtype == "string" or not all(isinstance(size, int) for size in tensor.shape[1:]):
        return None
    found = list_domains(tensor)
    size = prod(int(size) for size in tensor.shape[1:])
    return [Column(name, place, found[place % len(found)]) for place in range(size)]


def _follow_node(
    node: onnx.NodeProto,
    attributes: dict[str, Any],
    follow: Callable[[str], Columns | None],
    constants: dict[str, Any],
) -> Columns | None:
    """Return the columns of a node's output, from those of its inputs."""
    if node.op_type in _MOVES or (node.op_type == "Cast" and attributes["to"] in _FLOATS):
        return follow(node.input[0])
    if node.op_type == "Concat" and attributes["axis"] in (1, -1):
        parts = [follow(name) for name in node.input]
        return None if any(part is None for part in parts) else [column for part in parts for column in part or ()]
    if node.op_type == "Scaler":
        return _scale_columns(follow(node.input[0]), attributes)
    # Each of its features is 0 or 1 by a category, and has no threshold on the input's own value.
    if node.op_type == "OneHotEncoder":
        return [None] * len(attributes.get("cats_strings") or attributes.get("cats_int64s") or ())
    if node.op_type in ("ArrayFeatureExtractor", "Gather") and node.input[1] in constants:
        taken = follow(node.input[0])
        wanted = np.ravel(constants[node.input[1]])
        fits = taken is not None and (node.op_type != "Gather" or attributes.get("axis", 0) in (1, -1))
        return [taken[index] for index in wanted] if fits and taken else None
    return None


def _scale_columns(columns: Columns | None, attributes: dict[str, Any]) -> Columns | None:
    """Return the columns behind a Scaler node."""
    if columns is None:
        return None
    offset, scale = (np.broadcast_to(attributes[word], len(columns)).tolist() for word in ("offset", "scale"))
    return [
        column and replace(
            column, offset=column.offset + by / column.scale, scale=column.scale * factor
        ) if factor else None
        for column, by, factor in zip(columns, offset, scale, strict=True)
    ]  # fmt: skip
