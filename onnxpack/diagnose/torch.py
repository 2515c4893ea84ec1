"""Finds the first difference of a torch model: the export's values are matched with what the model computes.

An operator is wrong if no value that its module computed, of the same shape, is the one that the graph has. Exports
split and join operators, so that alone proves little; it counts only in a module whose own output is nowhere in the
graph, and around which the same is true of all modules.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from onnxpack.core.values import MODEL
from onnxpack.data.test_inputs import Arrays
from onnxpack.diagnose import Judge, UnknownPlaceError
from onnxpack.diagnose.axes import NODE
from onnxpack.diagnose.eager import Computed, Trace, observe_model
from onnxpack.diagnose.graphs import describe_node, list_values, run_all
from onnxpack.sources import Source
from onnxpack.sources.torch.values import strip_flat_path
from onnxpack.spec.load import SpecFile

# A frame of a stack trace as Python prints it, and a value's name in the exporter's note: `%relu : [num_users=1] = …`.
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_FX_NAME = re.compile(r"^%(\w+) :")
_METADATA = "pkg.torch.onnx."
"""The prefix of the dynamo exporter's notes on nodes; ``torch/onnx/_internal/exporter/_core.py`` writes them."""


@dataclass(frozen=True)
class Made:
    """A value of the export, with its node, the module it comes from, and the user's line where it is known."""

    name: str
    node: onnx.NodeProto
    module: str
    line: str
    value: Any


def place(source: Source, model: Any, file: SpecFile, work: Path, inputs: Arrays, judge: Judge) -> str:
    """Describe the first operator that differs, its module's path and class, and the line of the user's code."""
    if not isinstance(model, torch.nn.Module):
        raise UnknownPlaceError("onnxpack can look only inside a torch.nn.Module")
    graph = onnx.load(work / MODEL, load_external_data=False)
    modules = dict(model.named_modules())
    nodes = {name: node for name, node in list_values(graph).items() if _is_result(node, name)}
    found = run_all(work / MODEL, inputs, nodes)
    if isinstance(found, str):
        return _describe_stop(found, graph, modules, file.folder)
    made = [
        Made(name, node, _module(node, set(modules)), _user_line(node, file.folder), found[name])
        for name, node in nodes.items()
        if name in found
    ]
    copies = {name: array.copy() for name, array in inputs.items()}
    trace = observe_model(model, lambda: source.run(model, copies), file.folder)
    wrong, suspects = _suspects(trace, made, judge)
    operator = _first_wrong_operator(trace, suspects, judge, _shapes_differ(trace, made, graph))
    if operator is None and not wrong.module:
        raise UnknownPlaceError("all that the modules compute is in the export")
    if operator is None:
        words = _describe_module(modules, wrong.module, wrong.line)
        return f"the {words} is the first whose output differs from the source's"
    line = operator.line or _source_line(trace, operator.module, made, judge)
    line = line or _forward_line(modules[operator.module], file.folder)
    return (
        f"{describe_node(operator.node, operator.name)} is the first that differs from the source's, "
        f"in the {_describe_module(modules, operator.module, line)}"
    )


def _shapes_differ(trace: Trace, made: list[Made], graph: onnx.ModelProto) -> bool:
    """Return whether the export's outputs have other shapes than the model's own outputs."""
    names = {output.name for output in graph.graph.output}
    shapes = {value.value.shape for value in made if value.name in names}
    return shapes != {done.value.shape for done in trace.modules if not done.module}


def _describe_module(modules: dict[str, torch.nn.Module], path: str, line: str) -> str:
    words = f"{type(modules[path]).__name__} module"
    return words + (f" '{path}'" if path else "") + (f", {line}" if line else "")


def _describe_stop(reason: str, graph: onnx.ModelProto, modules: dict[str, torch.nn.Module], folder: Path) -> str:
    """Describe the node at which the runtime gave up, and its module."""
    named = NODE.search(reason)
    node = next((node for node in graph.graph.node if named and node.name == named[2]), None)
    if node is None:
        raise UnknownPlaceError(f"the export does not run: {reason}")
    module = _describe_module(modules, _module(node, set(modules)), _user_line(node, folder))
    return f"{describe_node(node, node.output[0])} does not run, in the {module}"


def _read_note(node: onnx.NodeProto, key: str) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == _METADATA + key), "")


def _is_result(node: onnx.NodeProto, name: str) -> bool:
    """Return whether the value is what the traced operator gave; without dynamo's notes every value may be."""
    note = _FX_NAME.match(_read_note(node, "fx_node"))
    return node.op_type != "Constant" and (not note or name == note[1] or name.startswith("onnxpack.output."))


def _module(node: onnx.NodeProto, modules: set[str]) -> str:
    """Return the path of the innermost module that the node comes from; TorchScript's node names begin with it."""
    noted = _read_note(node, "name_scopes")
    if noted:
        scopes = [strip_flat_path(re.sub(r"@\d+$", "", scope)) for scope in ast.literal_eval(noted)]
        return next((scope for scope in reversed(scopes[:-1]) if scope in modules), "")
    path = strip_flat_path(".".join(node.name.strip("/").split("/")[:-1]))
    # A module that is called again gets a number behind its name.
    return next((known for known in (path, re.sub(r"_\d+(?=\.|$)", "", path)) if known in modules), "")


def _user_line(node: onnx.NodeProto, folder: Path) -> str:
    root = f"{folder.resolve()}/"
    lines = [f"{path[len(root) :]}:{line}" for path, line in _FRAME.findall(_read_note(node, "stack_trace"))
             if path.startswith(root)]  # fmt: skip
    return lines[-1] if lines else ""


def _forward_line(module: torch.nn.Module, folder: Path) -> str:
    """Return where the module's ``forward`` begins, if it is the user's own code."""
    code = getattr(type(module).forward, "__code__", None)
    root = f"{folder.resolve()}/"
    if code is None or not code.co_filename.startswith(root):
        return ""
    return f"{code.co_filename[len(root) :]}:{code.co_firstlineno}"


def _in(value: Any, others: list[Any], judge: Judge) -> bool:
    return any(other.shape == value.shape and judge.agrees(value, other) for other in others)


def _suspects(trace: Trace, made: list[Made], judge: Judge) -> tuple[Computed, list[Made]]:
    """Find the first module whose output is nowhere in the graph, and the values that may have made it so.

    The outputs of all modules around it must be missing too: else the graph computes the same in another way. A module
    around it may have changed its input, and a right module inside it may go on after its own output.
    """
    right: dict[str, int] = {}
    wrong: dict[str, Computed] = {}
    for computed in trace.modules:
        module = computed.module
        if not any(value.value.ndim == computed.value.ndim for value in made if _within(value.module, module)):
            continue
        places = [index for index, value in enumerate(made) if _in(computed.value, [value.value], judge)]
        # The model as a whole is known to be wrong.
        if places and module:
            right[module] = max(right.get(module, 0), places[-1])
        else:
            wrong.setdefault(module, computed)
    for module, computed in wrong.items():
        if not any(other != module and _within(module, other) for other in right.keys() - wrong.keys()):
            chosen = [
                value
                for index, value in enumerate(made)
                if _within(module, value.module)
                or (_within(value.module, module) and index > right.get(value.module, len(made)))
            ]
            return computed, chosen
    raise UnknownPlaceError("nothing that comes from the model's own code is in the export")


def _within(module: str, other: str) -> bool:
    return not other or module == other or module.startswith(f"{other}.")


def _first_wrong_operator(trace: Trace, made: list[Made], judge: Judge, shapes: bool) -> Made | None:
    """Find the first value that its module did not compute, though it computed others of that shape or none at all.

    Where the outputs have wrong ``shapes``, some of that rank are enough.
    """
    for value in made:
        own = [done.value for done in trace.operators if done.module == value.module]
        if not own and value.value.dtype.kind == "f":
            return value
        own = [array for array in own if array.ndim == value.value.ndim]
        if not shapes:
            own = [array for array in own if array.shape == value.value.shape]
        if own and not _in(value.value, own, judge):
            return value
    return None


def _source_line(trace: Trace, module: str, made: list[Made], judge: Judge) -> str:
    """Return the line of a module's first computation that the export does not have."""
    every = [value.value for value in made]
    missing = (done for done in trace.operators if done.module == module and not _in(done.value, every, judge))
    return next((done.line for done in missing), "")
