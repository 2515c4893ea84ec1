"""Make an axis dynamic that another exporter left at a fixed size, where the graph allows it.

The input's declaration and all inferred shapes go; a constant target of a Reshape changes only where it is provable
that the axis passes through it unchanged. What else holds the size fails when the model runs at another one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx

from onnxpack.core.errors import Problem, SourceError
from onnxpack.core.values import Shape
from onnxpack.graph.check import iterate_graphs, list_inputs, read_info
from onnxpack.graph.passes import Edit, GraphPass, run_passes
from onnxpack.graph.tidy import FREE_CONSTANTS_IR, DropConstantInputs, NameNodes
from onnxpack.spec.model import Spec


def free_axes(model: onnx.ModelProto, spec: Spec) -> dict[str, int]:
    """Edit ``model`` in place; return the axes that it had at a fixed size, each with that size.

    Raises:
        SourceError: one axis has two sizes.
    """
    fixed = find_fixed_axes(model.graph, spec)
    if fixed:
        # Nodes are named so that one that fails can be found again.
        run_passes(model, (DropConstantInputs(), NameAxes(spec), NameNodes(), ForgetShapes(), FreeReshapes(fixed)))
    return fixed


def find_fixed_axes(graph: onnx.GraphProto, spec: Spec) -> dict[str, int]:
    """Return the sizes at which the graph fixes axes that the spec calls dynamic.

    Raises:
        SourceError: one axis has two sizes.
    """
    found: dict[str, int] = {}
    for value in list_inputs(graph):
        dims = value.type.tensor_type.shape.dim
        for dim, asked in zip(dims, spec.inputs[value.name].shape, strict=True):
            if (
                isinstance(asked, str)
                and dim.HasField("dim_value")
                and found.setdefault(asked, dim.dim_value) != dim.dim_value
            ):
                raise SourceError(
                    f"axis '{asked}' is {found[asked]} in one place of the model and {dim.dim_value} in another",
                    "give the two axes different names in the spec",
                )
    return found


@dataclass(frozen=True)
class NameAxes(GraphPass):
    """Declare in the inputs' shapes the axes that the spec calls dynamic, by their names."""

    spec: Spec

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Change the inputs' declarations and nothing else."""
        changed = False
        for value in list_inputs(model.graph):
            for dim, asked in zip(value.type.tensor_type.shape.dim, self.spec.inputs[value.name].shape, strict=True):
                if isinstance(asked, str):
                    changed = changed or dim.dim_param != asked
                    dim.dim_param = asked
        return model, changed


@dataclass(frozen=True)
class ForgetShapes(GraphPass):
    """Drop all shapes that an exporter inferred or declared behind the inputs, since they hold the fixed sizes."""

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Clear the shapes; the outputs keep their element types."""
        changed = any(graph.value_info for graph in iterate_graphs(model.graph))
        for graph in iterate_graphs(model.graph):
            del graph.value_info[:]
        for output in model.graph.output:
            changed = changed or output.type.tensor_type.HasField("shape")
            output.type.tensor_type.ClearField("shape")
        return model, changed


@dataclass(frozen=True)
class FreeReshapes(GraphPass):
    """Replace the constant target of a Reshape by one that holds for every size, where ``find_free_target`` proves one.

    ``fixed`` has the sizes that the targets were written for. It adds initializers that are no inputs.
    """

    fixed: Mapping[str, int]

    def requires(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Refuse a file whose IR version requires every initializer to be an input."""
        old = model.ir_version < FREE_CONSTANTS_IR
        return [Problem(f"IR version {model.ir_version} wants every constant among the inputs")] if old else []

    def apply(self, model: onnx.ModelProto) -> Edit:
        """Go through the graph in order: the shape behind a Reshape is known only when its target is free."""
        # Once, since only targets are added below and no constant changes.
        constants = _find_constants(model.graph)
        changed = False
        for node in [node for node in model.graph.node if node.op_type == "Reshape" and not node.domain]:
            target = _read_target(node, constants)
            if target is None or (0 in target and any(attribute.name == "allowzero" for attribute in node.attribute)):
                continue
            # Inferred anew for each node: the last target that was freed may tell the shape of this input.
            shape = _infer_shapes(model).get(node.input[0])
            freed = find_free_target(shape, target, self.fixed) if shape else None
            if freed and freed != target:
                _write_target(model.graph, node, freed)
                changed = True
        return model, changed


def _read_target(node: onnx.NodeProto, constants: Mapping[str, np.ndarray[Any, Any]]) -> list[int] | None:
    """Return a Reshape's target if it is constant; before opset 5 it is an attribute."""
    if len(node.input) < 2:
        return next((list(attribute.ints) for attribute in node.attribute if attribute.name == "shape"), None)
    found = constants.get(node.input[1])
    return None if found is None else found.tolist()


def _write_target(graph: onnx.GraphProto, node: onnx.NodeProto, target: list[int]) -> None:
    """Give a Reshape a new target of its own, as the old constant may serve other nodes too."""
    if len(node.input) < 2:
        shape = next(attribute for attribute in node.attribute if attribute.name == "shape")
        shape.ints[:] = target
        return
    name = f"{node.output[0]}__shape"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(target, dtype=np.int64), name))
    node.input[1] = name
    del node.attribute[:]  # allowzero, which would make a copied size an empty one


def find_free_target(shape: Shape, target: list[int], fixed: Mapping[str, int]) -> list[int] | None:
    """Return a Reshape's target that holds for every size of the axes in ``shape``; None where none is proved.

    ``fixed`` has the sizes that the target was written for. A leading run of equal sizes is the same axes, and stays
    by 0, which copies. Of what remains, the axes' span must become one dimension (or a factor of one, with its
    neighbours), and in one place alone: then row-major order keeps the axes there, and -1 takes their place.
    """
    if any(isinstance(size, str) and size not in fixed for size in shape):
        return None
    sizes = [fixed[size] if isinstance(size, str) else size for size in shape]
    named = [index for index, size in enumerate(shape) if isinstance(size, str)]
    wanted = _resolve_target(target, sizes)
    # Without a named axis there is nothing to free.
    if not wanted or not named:
        return None
    # The leading run of equal sizes: these dimensions are copied, whatever their size becomes.
    kept = 0
    while kept < min(len(sizes), len(wanted)) and sizes[kept] == wanted[kept]:
        kept += 1
    free = list(wanted)
    spans = [(index, index) for index in named if index < kept]
    rest = [index for index in named if index >= kept]
    # The remaining named axes go as one span: only one -1 may stand in a target.
    for first, last in [*spans, (rest[0], rest[-1])] if rest else spans:
        places = _find_places(sizes, wanted, first, last)
        # A size of 1 may fit in several places, and then none is proved.
        if len(places) != 1 or (first < kept and places != [first]):
            return None
        free[places[0]] = 0 if first < kept else -1
    open_already = all(target[index] in (0, -1) for index, size in enumerate(free) if size in (0, -1))
    return target if open_already else free


def _resolve_target(target: list[int], sizes: list[int]) -> list[int] | None:
    """Return the target's sizes with 0 and -1 resolved; None if it does not fit."""
    if any(size == 0 and index >= len(sizes) for index, size in enumerate(target)) or 0 in sizes:
        return None
    copied = [sizes[index] if size == 0 else size for index, size in enumerate(target)]
    others = prod(size for size in copied if size != -1)
    wanted = [prod(sizes) // others if size == -1 else size for size in copied]
    return wanted if prod(wanted) == prod(sizes) else None


def _find_places(sizes: list[int], wanted: list[int], first: int, last: int) -> list[int]:
    """Return where in the target the axes ``first`` to ``last`` can be: as a dimension of their own, else shared."""
    before, behind = prod(sizes[:first]), prod(sizes[last + 1 :])
    # Row-major order keeps an axis in place if as many elements stand before and behind it as did.
    around = [(prod(wanted[:index]), prod(wanted[index + 1 :])) for index in range(len(wanted))]
    own = [index for index, (left, right) in enumerate(around) if (left, right) == (before, behind)]
    return own or [index for index, (left, right) in enumerate(around) if before % left == 0 and behind % right == 0]


def _find_constants(graph: onnx.GraphProto) -> dict[str, np.ndarray[Any, Any]]:
    """Return the one-dimensional int64 constants of a graph, by name."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    return {
        name: onnx.numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if tensor.data_type == onnx.TensorProto.INT64 and tensor.data_location != onnx.TensorProto.EXTERNAL
        and len(tensor.dims) == 1
    }  # fmt: skip


def _infer_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Infer the shapes of the model's tensors; return those that are known, by name."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: read_info(value).shape for value in values if value.type.tensor_type.HasField("shape")}
