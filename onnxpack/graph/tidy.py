"""Clean up a graph without changing what it computes: metadata, names, imports, and constants listed as inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from onnxpack.core.errors import Problem
from onnxpack.graph.check import MAX_IR, get_opset, iterate_graphs, iterate_nodes, list_inputs
from onnxpack.graph.passes import Edit, GraphPass

DEFAULT_DOMAINS = ("", "ai.onnx")
"""Both words mean ONNX's own operators."""
_TALK = ("doc_string", "metadata_props", "value_info")
FREE_CONSTANTS_IR = 4
"""From this IR version on, an initializer need not be a graph input."""


@dataclass(frozen=True)
class Strip(GraphPass):
    """Remove what differs between machines: stack traces, source paths, tool names and inferred shapes."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Clear these fields, and set the producer's and the graph's name, which exporters derive from themselves."""
        heads = (model.producer_name, model.graph.name)
        model.producer_name = "onnxpack"
        model.graph.name = "model"
        changed = heads != ("onnxpack", "model")
        for field in ("producer_version", "domain", "model_version"):
            changed = changed or bool(getattr(model, field))
            model.ClearField(field)
        return model, _forget(model) or changed


def _forget(message: Any) -> bool:
    """Clear all descriptions in a protobuf message and its parts; return whether there were any."""
    if isinstance(message, onnx.TensorProto):  # its other fields are data, and large
        changed = bool(message.doc_string or message.metadata_props)
        message.ClearField("doc_string")
        del message.metadata_props[:]
        return changed
    changed = False
    for field, value in message.ListFields():
        if field.name in _TALK:
            message.ClearField(field.name)
            changed = True
        elif field.type == field.TYPE_MESSAGE:
            for item in [value] if hasattr(value, "ListFields") else value:
                changed = _forget(item) or changed
    return changed


@dataclass(frozen=True)
class LowerIrVersion(GraphPass):
    """Lower the IR version to the highest that the runtime reads; what is in the file stays the same."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Change the version and nothing else."""
        changed = model.ir_version > MAX_IR
        model.ir_version = min(model.ir_version, MAX_IR)
        return model, changed


@dataclass(frozen=True)
class DropConstantInputs(GraphPass):
    """Remove constants from the graph's inputs, where old files list them, and raise the IR version to allow it.

    Before IR 4 every initializer had to be an input, so that a pass that adds or removes one would break the file; and
    the runtime folds no constant that a caller might replace.
    """

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Remove them; a file of IR 4 or later that lists none stays as it is."""
        kept = list_inputs(model.graph)
        listed = len(kept) < len(model.graph.input)
        if not listed and model.ir_version >= FREE_CONSTANTS_IR:
            return model, False
        if listed:
            del model.graph.input[:]
            model.graph.input.extend(kept)
        model.ir_version = max(model.ir_version, FREE_CONSTANTS_IR)
        return model, True

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Check that no initializer is among the inputs."""
        extra = len(model.graph.input) - len(list_inputs(model.graph))
        return [Problem(f"the inputs still list constants: {extra}")] if extra else []


@dataclass(frozen=True)
class NameNodes(GraphPass):
    """Name every node that has no name, or a name that is taken, by its operator and its place."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Make names unique within each graph; a node of an inner graph may share an outer node's name."""
        changed = False
        for graph in iterate_graphs(model.graph):
            taken: set[str] = {""}
            for index, node in enumerate(graph.node):
                if node.name in taken:
                    node.name = f"{node.op_type}_{index}"
                    changed = True
                    while node.name in taken:
                        # The name that was made up may be a real node's.
                        node.name += "_"
                taken.add(node.name)
        return model, changed

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Check that every node has a name that no other node of its graph has."""
        found = ([node.name for node in graph.node] for graph in iterate_graphs(model.graph))
        twice = any("" in names or len({*names}) < len(names) for names in found)
        return [Problem("two nodes have one name, or one has none")] if twice else []


@dataclass(frozen=True)
class ImportUsed(GraphPass):
    """Import each operator set once, and only those that nodes use; a model with functions keeps them all."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Import the default domain at its highest version, as ``get_opset`` reads it."""
        used = {node.domain if node.domain != "ai.onnx" else "" for node in iterate_nodes(model.graph)}
        versions = {entry.domain: entry.version for entry in model.opset_import} | {"": get_opset(model)}
        kept = {name: version for name, version in versions.items() if name in used | {""} or model.functions}
        return model, import_opsets(model, kept)


def set_opset(model: onnx.ModelProto, opset: int) -> bool:
    """Import the default operator set at ``opset``, keep the others; return whether the imports changed."""
    others = {entry.domain: entry.version for entry in model.opset_import if entry.domain not in DEFAULT_DOMAINS}
    return import_opsets(model, others | {"": opset})


def import_opsets(model: onnx.ModelProto, versions: Mapping[str, int]) -> bool:
    """Import exactly these operator sets, sorted by domain; return whether the imports changed."""
    before = [(entry.domain, entry.version) for entry in model.opset_import]
    after = sorted(versions.items())
    # Written even if they stay: an entry may say its domain or leave it out, which are different bytes.
    del model.opset_import[:]
    for domain, version in after:
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))
    return before != after
