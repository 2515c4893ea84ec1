"""Makes an exported graph ours: the spec's names and shapes, one opset entry, nothing of the machine that made it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from onnxpack.errors import GateError, Problem, SourceError
from onnxpack.graph.check import MAX_IR, info_of, opset_of, rename_tensors, true_inputs
from onnxpack.spec.model import Spec
from onnxpack.values import Shape

_DEFAULT_DOMAINS = ("", "ai.onnx")
_TALK = ("doc_string", "metadata_props", "value_info")


def finish(model: onnx.ModelProto, spec: Spec, output_names: Sequence[str]) -> None:
    """Edits ``model`` in place.

    Raises:
        SourceError: the inputs, the outputs or the opset are not what the spec asks for.
        GateError: an axis that the spec calls dynamic has become fixed, or an output got lost.
    """
    _one_opset(model, spec)
    model.ir_version = min(model.ir_version, MAX_IR)
    strip(model)
    names = _chosen_outputs(model, spec, output_names)
    _copy_inputs(model.graph, names)
    _rename(model.graph, {old: new for old, new in names.items() if old != new})
    _declare_inputs(model.graph, spec)


def strip(model: onnx.ModelProto) -> None:
    """Removes stack traces, source paths, tool names and inferred shapes: what differs between machines."""
    model.producer_name = "onnxpack"
    model.ClearField("producer_version")
    model.ClearField("domain")
    model.ClearField("model_version")
    model.graph.name = "model"
    _forget(model)


def _forget(message: Any) -> None:
    if isinstance(message, onnx.TensorProto):  # its other fields are data, and large
        message.ClearField("doc_string")
        del message.metadata_props[:]
        return
    for field, value in message.ListFields():
        if field.name in _TALK:
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for item in [value] if hasattr(value, "ListFields") else value:
                _forget(item)


def declare_outputs(
    model: onnx.ModelProto, sizes: Sequence[dict[str, int]], outputs: Sequence[dict[str, np.ndarray[Any, Any]]]
) -> None:
    """Writes the outputs' shapes as the source model showed them over all cases.

    A dimension that had one size throughout is fixed, one that followed an axis gets its name, any other is left open.

    Raises:
        SourceError: an output has more dimensions in one case than in another.
    """
    for value in model.graph.output:
        shapes = [case[value.name].shape for case in outputs]
        ranks = {len(shape): shape for shape in shapes}
        if len(ranks) != 1:
            raise SourceError(
                f"output '{value.name}' has another number of dimensions at other sizes: "
                + " and ".join(map(str, ranks.values())),
                "a squeeze of all dimensions of size 1 does that; name the dimension",
            )
        value.type.tensor_type.shape.SetInParent()
        dims = value.type.tensor_type.shape.dim
        del dims[:]
        for index, observed in enumerate(zip(*shapes, strict=True)):
            dim = dims.add()
            axis = next((name for name in sizes[0] if all(
                case[name] == size for case, size in zip(sizes, observed, strict=True))), None)  # fmt: skip
            if axis is not None:
                dim.dim_param = axis
            elif len(set(observed)) == 1:
                dim.dim_value = observed[0]
            else:
                dim.dim_param = f"{value.name}_{index}"


def _one_opset(model: onnx.ModelProto, spec: Spec) -> None:
    actual = opset_of(model)
    if spec.opset is not None and actual != spec.opset:
        raise SourceError(f"opset {spec.opset} cannot be had: the export has {actual}", f"write `opset: {actual}`")
    others = {entry.domain: entry.version for entry in model.opset_import if entry.domain not in _DEFAULT_DOMAINS}
    del model.opset_import[:]
    for domain, version in sorted({"": actual, **others}.items()):
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))


def other_count(source: int, export: int) -> GateError:
    """What an export is refused with that lost outputs, or has some of its own."""
    return GateError(
        f"the source gives {source} outputs, the export has {export}",
        "make the outputs the same whether the model is traced or not",
    )


def _chosen_outputs(model: onnx.ModelProto, spec: Spec, framework_names: Sequence[str]) -> dict[str, str]:
    """The graph's output names → the shipped ones. The spec names all in order, or some by the framework's names."""
    graph_names = [output.name for output in model.graph.output]
    if len(graph_names) != len(framework_names):
        raise other_count(len(framework_names), len(graph_names))
    asked = spec.outputs or tuple(framework_names)
    if len(asked) != len(graph_names):
        raise SourceError(
            f"the spec names {len(asked)} outputs, the model has {len(graph_names)}: {', '.join(framework_names)}",
            "name them all, in order",
        )
    twice = sorted({name for name in graph_names if graph_names.count(name) > 1})
    if twice:
        raise SourceError(f"the model gives output '{twice[0]}' twice", "give each output a tensor of its own")
    return dict(zip(graph_names, asked, strict=True))


def _copy_inputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """An input that is given back under another name becomes a tensor of its own; ``names`` is changed with it."""
    inputs = {value.name for value in graph.input}
    for output in graph.output:
        name = output.name
        if name in inputs and names[name] != name:
            copied = f"{name}__copy"
            graph.node.append(onnx.helper.make_node("Identity", [name], [copied]))
            names[copied] = names.pop(name)
            output.name = copied


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    taken = set(names.values()) - set(names)

    def renamed(name: str) -> str:
        # A name that becomes an output's may already stand for something inside the graph.
        return names.get(name) or (f"{name}__inner" if name in taken else name)

    inputs = {value.name for value in graph.input}
    clash = [new for new in names.values() if new in inputs]
    if clash:
        raise SourceError(f"output '{clash[0]}' has an input's name", "give the output another name")
    rename_tensors(graph, renamed)


def _declare_inputs(graph: onnx.GraphProto, spec: Spec) -> None:
    """Writes the spec's names of dynamic axes, after making sure that the graph agrees with the spec."""
    values = {value.name: value for value in true_inputs(graph)}
    if tuple(values) != tuple(spec.inputs):
        raise SourceError(
            f"the export's inputs are {', '.join(values)}; the spec's {', '.join(spec.inputs)}",
            "an input that the model does not use is lost: remove it from the spec",
        )
    wrong, baked = mismatches(graph, spec)
    if wrong:
        raise SourceError(wrong + baked)
    if baked:
        raise GateError(baked)
    for name, asked in spec.inputs.items():
        _declare(values[name], asked.shape)


def mismatches(graph: onnx.GraphProto, spec: Spec) -> tuple[list[Problem], list[Problem]]:
    """Where the graph's inputs differ from the spec's, and the spec's axes that the graph has at a fixed size."""
    wrong: list[Problem] = []
    baked: list[Problem] = []
    infos = {value.name: info_of(value) for value in true_inputs(graph)}
    for name, asked in spec.inputs.items():
        info = infos[name]
        if info.dtype != asked.dtype:
            message = f"input '{name}' is {info.dtype} in the model, {asked.dtype} in the spec"
            wrong.append(Problem(message, f"write dtype: {info.dtype}"))
        if len(info.shape) != len(asked.shape):
            message = f"input '{name}' has {len(info.shape)} dimensions in the model, {len(asked.shape)} in the spec"
            wrong.append(Problem(message, f"the model has {list(info.shape)}"))
            continue
        for have, want in zip(info.shape, asked.shape, strict=True):
            if isinstance(have, int) and have != want:
                hint = "make the model's code independent of this size, or fix it in the spec"
                problem = Problem(f"input '{name}': '{want}' is fixed at {have} in the model", hint)
                (baked if isinstance(want, str) else wrong).append(problem)
    return wrong, baked


def _declare(value: onnx.ValueInfoProto, shape: Shape) -> None:
    dims = value.type.tensor_type.shape.dim
    del dims[:]
    for size in shape:
        if isinstance(size, str):
            dims.add().dim_param = size
        else:
            dims.add().dim_value = size
