"""Give an exported graph the spec's names and shapes, one opset, and nothing of the machine that made it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from onnxpack.core.errors import GateError, Problem, SourceError
from onnxpack.core.text import plural
from onnxpack.core.values import Shape
from onnxpack.graph.check import get_opset, list_inputs, read_info, rename_tensors
from onnxpack.graph.passes import Edit, GraphPass, run_passes
from onnxpack.graph.tidy import LowerIrVersion, Strip, set_opset
from onnxpack.spec.model import Spec


def finish(model: onnx.ModelProto, spec: Spec, output_names: Sequence[str]) -> None:
    """Edit ``model`` in place until it is the one that the spec describes.

    Raises:
        SourceError: the inputs, the outputs or the opset are not what the spec asks for.
        GateError: an axis that the spec calls dynamic has become fixed, or an output got lost.
    """
    run_passes(
        model,
        (KeepOneOpset(spec), LowerIrVersion(), Strip(), NameOutputs(spec, tuple(output_names)), DeclareInputs(spec)),
    )


@dataclass(frozen=True)
class KeepOneOpset(GraphPass):
    """Keep one import of each operator set, the default one first; the opset must be the spec's."""

    spec: Spec

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Remove repeated imports, or raise a ``SourceError`` where the model has another opset than the spec."""
        actual = get_opset(model)
        if self.spec.opset is not None and actual != self.spec.opset:
            hint = f"set `opset: {actual}`"
            raise SourceError(f"opset {self.spec.opset} cannot be had: the export has {actual}", hint)
        return model, set_opset(model, actual)

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Check that no domain is imported twice."""
        domains = [entry.domain for entry in model.opset_import]
        return [Problem(f"domain '{name}' is imported twice") for name in sorted({*domains}) if domains.count(name) > 1]


def declare_outputs(
    model: onnx.ModelProto, sizes: Sequence[dict[str, int]], outputs: Sequence[dict[str, np.ndarray[Any, Any]]]
) -> None:
    """Write the outputs' shapes, observed case by case, into ``model``.

    Raises:
        SourceError: an output has more dimensions in one case than in another.
    """
    shapes = {value.name: tuple(case[value.name].shape for case in outputs) for value in model.graph.output}
    run_passes(model, (DeclareOutputs(tuple(sizes), shapes),))


@dataclass(frozen=True)
class DeclareOutputs(GraphPass):
    """Write the outputs' shapes as the source model showed them over all cases.

    A dimension that had one size throughout is fixed, one that followed an axis gets its name, any other is left open.
    ``sizes`` has the size of every axis, case by case, ``shapes`` each output's shape, case by case.
    """

    sizes: tuple[dict[str, int], ...]
    shapes: Mapping[str, tuple[tuple[int, ...], ...]]

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Declare the shapes, or raise a ``SourceError`` where an output's number of dimensions changes."""
        before = [read_info(value) for value in model.graph.output]
        for value in model.graph.output:
            shapes = self.shapes[value.name]
            ranks = {len(shape): shape for shape in shapes}
            if len(ranks) != 1:
                raise SourceError(
                    f"output '{value.name}' has another number of dimensions at other sizes: "
                    + " and ".join(map(str, ranks.values())),
                    "a squeeze() without a dimension does that: name the dimension, as in squeeze(1)",
                )
            # Without this a scalar, of no dimensions, would count as a tensor of unknown shape.
            value.type.tensor_type.shape.SetInParent()
            observed = zip(*shapes, strict=True)
            sizes = [self._size(seen) for seen in observed]
            write_shape(value, tuple(f"{value.name}_{i}" if size is None else size for i, size in enumerate(sizes)))
        return model, before != [read_info(value) for value in model.graph.output]

    def _size(self, observed: tuple[int, ...]) -> int | str | None:
        """Return the axis that the observed sizes followed, else the one size that they all have, else None."""
        followed = (
            name for name in self.sizes[0]
            if all(case[name] == size for case, size in zip(self.sizes, observed, strict=True))
        )  # fmt: skip
        # The axis first: with one case alone every size looks fixed.
        return next(followed, observed[0] if len(set(observed)) == 1 else None)


def make_count_error(source: int, export: int) -> GateError:
    """Return the error for an export that has another number of outputs than the source."""
    return GateError(
        f"the source gives {plural(source, 'output')}, the export has {export}",
        "return the same outputs whether the model is traced or not",
    )


@dataclass(frozen=True)
class NameOutputs(GraphPass):
    """Give the outputs the spec's names, or the framework's where the spec has none.

    ``framework_names`` has one name for each output, in the graph's order.
    """

    spec: Spec
    framework_names: tuple[str, ...]

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Rename; raise a ``GateError`` where outputs got lost, a ``SourceError`` where the spec's names do not fit."""
        names = _choose_output_names(model, self.spec, self.framework_names)
        nodes = len(model.graph.node)
        _copy_inputs(model.graph, names)
        changing = {old: new for old, new in names.items() if old != new}
        _rename(model.graph, changing)
        return model, bool(changing) or len(model.graph.node) != nodes


def _choose_output_names(model: onnx.ModelProto, spec: Spec, framework_names: Sequence[str]) -> dict[str, str]:
    """Map the graph's output names to the shipped ones: the spec's, all in order, else the framework's."""
    graph_names = [output.name for output in model.graph.output]
    if len(graph_names) != len(framework_names):
        raise make_count_error(len(framework_names), len(graph_names))
    asked = spec.outputs or tuple(framework_names)
    if len(asked) != len(graph_names):
        raise SourceError(
            f"the spec names {plural(len(asked), 'output')}, the model has {len(graph_names)}: "
            f"{', '.join(framework_names)}",
            "name all of them in `outputs`, in this order",
        )
    twice = sorted({name for name in graph_names if graph_names.count(name) > 1})
    if twice:
        raise SourceError(f"the model gives output '{twice[0]}' twice", "give each output a tensor of its own")
    return dict(zip(graph_names, asked, strict=True))


def _copy_inputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Copy an input that is also an output to a tensor of its own; ``names`` is changed with it."""
    inputs = {value.name for value in graph.input}
    for output in graph.output:
        name = output.name
        if name in inputs and names[name] != name:
            copied = f"{name}__copy"
            graph.node.append(onnx.helper.make_node("Identity", [name], [copied]))
            names[copied] = names.pop(name)
            output.name = copied


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    # New names that no output has now: these may stand for something else inside.
    taken = set(names.values()) - set(names)

    def rename(name: str) -> str:
        # A name that becomes an output's may already stand for something inside the graph.
        return names.get(name) or (f"{name}__inner" if name in taken else name)

    inputs = {value.name for value in graph.input}
    clash = [new for new in names.values() if new in inputs]
    if clash:
        raise SourceError(f"output '{clash[0]}' has an input's name", "give the output another name")
    rename_tensors(graph, rename)


@dataclass(frozen=True)
class DeclareInputs(GraphPass):
    """Check that the graph's inputs agree with the spec, and write the spec's names of dynamic axes."""

    spec: Spec

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Declare; raise a ``SourceError`` where the inputs differ, a ``GateError`` where an axis became fixed."""
        values = {value.name: value for value in list_inputs(model.graph)}
        if tuple(values) != tuple(self.spec.inputs):
            raise SourceError(
                f"the export's inputs are {', '.join(values)}; the spec's {', '.join(self.spec.inputs)}",
                "the export drops an input that the model does not use: remove it from the spec",
            )
        wrong, baked = find_mismatches(model.graph, self.spec)
        if wrong:
            raise SourceError(wrong + baked)
        if baked:
            raise GateError(baked)
        before = [read_info(value) for value in values.values()]
        for name, asked in self.spec.inputs.items():
            write_shape(values[name], asked.shape)
        return model, before != [read_info(value) for value in values.values()]

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Check that the inputs are declared as the spec describes them."""
        infos = {value.name: read_info(value).shape for value in list_inputs(model.graph)}
        return [
            Problem(f"input '{name}' is declared as {list(infos[name])} instead of {list(asked.shape)}")
            for name, asked in self.spec.inputs.items()
            if infos[name] != asked.shape
        ]


def find_mismatches(graph: onnx.GraphProto, spec: Spec) -> tuple[list[Problem], list[Problem]]:
    """Find where the graph's inputs differ from the spec's, and which of the spec's axes have a fixed size there."""
    # Two lists, as a fixed axis is a failed gate (exit code 4) and any other difference a wrong source (3).
    wrong: list[Problem] = []
    baked: list[Problem] = []
    infos = {value.name: read_info(value) for value in list_inputs(graph)}
    for name, asked in spec.inputs.items():
        info = infos[name]
        if info.dtype != asked.dtype:
            message = f"input '{name}' is {info.dtype} in the model, {asked.dtype} in the spec"
            wrong.append(Problem(message, f"set `dtype: {info.dtype}`"))
        if len(info.shape) != len(asked.shape):
            dimensions = plural(len(info.shape), "dimension")
            message = f"input '{name}' has {dimensions} in the model, {len(asked.shape)} in the spec"
            wrong.append(Problem(message, f"describe the model's shape, {list(info.shape)}, in `shape`"))
            continue
        for have, want in zip(info.shape, asked.shape, strict=True):
            if isinstance(have, int) and have != want:
                hint = f"make the model's code independent of this size, or replace {want} by {have} in `shape`"
                problem = Problem(f"input '{name}': '{want}' is fixed at {have} in the model", hint)
                (baked if isinstance(want, str) else wrong).append(problem)
    return wrong, baked


def write_shape(value: onnx.ValueInfoProto, shape: Shape) -> None:
    """Declare a tensor's shape from sizes and names of dynamic axes."""
    dims = value.type.tensor_type.shape.dim
    del dims[:]
    for size in shape:
        if isinstance(size, str):
            dims.add().dim_param = size
        else:
            dims.add().dim_value = size
