"""Convert a graph to a higher opset with onnx's own converter, and name the operator where that fails."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from onnxpack.core.errors import Problem, SourceError
from onnxpack.graph.check import get_opset, iterate_graphs, iterate_nodes
from onnxpack.graph.external_data import keep_places
from onnxpack.graph.passes import Edit, GraphPass
from onnxpack.graph.tidy import DEFAULT_DOMAINS

_NO_RULE = re.compile(r"No Adapter (?:(?:To|From) Version \S+ )?[Ff]or (?P<op>\w+)")
_ASSERTION = re.compile(r"^\S+:\d+: .*? failed: ")
_GRID_OPSET = 11
"""From here on Resize says how it maps places, with another default; before, and in Upsample, there is one way."""
_LAST_AXIS_OPSET = 13
"""From here on Hardmax is along one axis, the last; before, along that and all behind it."""


def make_conversion_passes(have: int, to: int) -> tuple[GraphPass, ...]:
    """Return the passes that bring a model from opset ``have`` to ``to``, with what onnx's converter does not keep."""
    return FlattenHardmax(to), ConvertOpset(to), KeepResizeGrid(have)


@dataclass(frozen=True)
class ConvertOpset(GraphPass):
    """Convert the default operator set to the opset ``to``, which is the model's or a higher one."""

    to: int

    def requires(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Refuse to go down: an older operator may not be able to say what a newer one says."""
        have = get_opset(model)
        return [Problem(f"opset {have} is above {self.to}", f"set `opset: {have}`")] if have > self.to else []

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Convert, or raise a ``SourceError`` that names the operator and the nearest opset that can be reached."""
        have = get_opset(model)
        if have == self.to:
            return model, False
        try:
            return _convert(model, self.to), True
        except Exception as error:  # the converter raises RuntimeError and more
            # Found by trying: the converter does not say how far it got.
            reached = find_nearest_opset(model, self.to)
            raise SourceError(
                f"the model's opset {have} cannot be converted to {self.to}: {_explain_failure(error, model, reached)}",
                f"set `opset: {reached}`",
            ) from None

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Check that the model now has the opset ``to``."""
        have = get_opset(model)
        return [Problem(f"the opset is {have} instead of {self.to}")] if have != self.to else []


def find_nearest_opset(model: onnx.ModelProto, wanted: int) -> int:
    """Return the highest opset up to ``wanted`` that the model can be converted to; at least its own."""
    have = get_opset(model)
    return next((opset for opset in range(wanted, have, -1) if _can_convert(model, opset)), have)


def _can_convert(model: onnx.ModelProto, opset: int) -> bool:
    try:
        _convert(model, opset)
    except Exception:  # as above; the reason was told for the opset that was asked for
        return False
    return True


def _convert(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    converted = onnx.version_converter.convert_version(model, opset)
    # The converter drops where external data is.
    keep_places(converted, model)
    return converted


def _explain_failure(error: Exception, model: onnx.ModelProto, reached: int) -> str:
    """Return the converter's message without places in its own code, and the operators that it failed on."""
    words = _ASSERTION.sub("", " ".join(str(error).split()))[:300]
    # The converter names an operator only where it has no rule for it; other errors are assertions inside a rule.
    found = _NO_RULE.search(words)
    if found:
        return f"onnx's converter has no rule for the operator {found['op']} at opset {reached + 1}"
    nodes = (node for node in iterate_nodes(model.graph) if node.domain in DEFAULT_DOMAINS)
    ops = {node.op_type for node in nodes if onnx.defs.has(node.op_type, reached + 1, "")}
    changed = sorted(op for op in ops if onnx.defs.get_schema(op, reached + 1).since_version == reached + 1)
    return f"{words}, at the step to opset {reached + 1}, which changes {', '.join(changed) or 'no operator of it'}"


@dataclass(frozen=True)
class FlattenHardmax(GraphPass):
    """Rewrite each Hardmax of opset 1 to 12 to mean the same from opset 13 on, which onnx's converter misses.

    ``to`` is the opset that the model is converted to afterwards.
    """

    to: int

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Flatten the input of each Hardmax to a matrix, and restore its shape behind it."""
        if not get_opset(model) < _LAST_AXIS_OPSET <= self.to:
            return model, False
        changed = False
        for graph in iterate_graphs(model.graph):
            nodes = list(graph.node)
            del graph.node[:]
            for node in nodes:
                flattened = node.op_type == "Hardmax" and node.domain in DEFAULT_DOMAINS
                graph.node.extend(_flatten_hardmax(node) if flattened else [node])
                changed = changed or flattened
        return model, changed


def _flatten_hardmax(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes that replace a Hardmax; Flatten and the old Hardmax read ``axis`` in the same way."""
    axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
    (source,), (end,) = node.input, node.output
    shape, matrix, chosen = (f"{end}__{part}" for part in ("shape", "matrix", "hardmax"))
    make = onnx.helper.make_node
    return [
        make("Shape", [source], [shape], f"{shape}_of"),
        # The old Hardmax worked on a matrix: all axes from ``axis`` on were one.
        make("Flatten", [source], [matrix], f"{matrix}_of", axis=axis),
        make("Hardmax", [matrix], [chosen], node.name, axis=1),
        make("Reshape", [chosen, shape], [end], f"{end}__as_before"),
    ]


@dataclass(frozen=True)
class KeepResizeGrid(GraphPass):
    """Set how each Resize that came from opset 7 to 10 maps coordinates, which onnx's converter leaves out.

    ``since`` is the opset that the model had before its conversion. The way is that of onnxruntime's Upsample.
    """

    since: int

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Add the attributes that are missing; those that are there stay."""
        if not self.since < _GRID_OPSET <= get_opset(model):
            return model, False
        changed = False
        for node in (node for node in iterate_nodes(model.graph) if node.op_type == "Resize"):
            given = {item.name for item in node.attribute}
            # What Upsample and the old Resize did; the newer default is half_pixel.
            for name, value in (("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")):
                if name not in given:
                    node.attribute.append(onnx.helper.make_attribute(name, value))
                    changed = True
        return model, changed
