"""Makes an axis dynamic that another exporter left at a fixed size, where the graph allows it.

The input's declaration and all inferred shapes go; a constant target of a Reshape changes only where it is provable
that the axis passes through it unchanged. What else holds the size fails when the model runs at another one.
"""

from math import prod
from typing import Any

import numpy as np
import onnx

from onnxpack.errors import SourceError
from onnxpack.graph.check import graphs, info_of, true_inputs
from onnxpack.spec.model import Spec
from onnxpack.values import Shape


def loosen(model: onnx.ModelProto, spec: Spec) -> dict[str, int]:
    """Edits ``model`` in place; gives the axes that it had at a fixed size, each with that size.

    Raises:
        SourceError: one axis has two sizes.
    """
    found: dict[str, int] = {}
    for value in true_inputs(model.graph):
        dims = value.type.tensor_type.shape.dim
        for dim, asked in zip(dims, spec.inputs[value.name].shape, strict=True):
            if (
                isinstance(asked, str)
                and dim.HasField("dim_value")
                and found.setdefault(asked, dim.dim_value) != dim.dim_value
            ):
                raise SourceError(
                    f"axis '{asked}' is {found[asked]} in one place of the model and {dim.dim_value} in another",
                    "give the two another name",
                )
    if found:
        _name_axes(model.graph, spec)
        for index, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"  # one that fails must be found again
        for graph in graphs(model.graph):
            del graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        _free_reshapes(model, found)
    return found


def _name_axes(graph: onnx.GraphProto, spec: Spec) -> None:
    for value in true_inputs(graph):
        for dim, asked in zip(value.type.tensor_type.shape.dim, spec.inputs[value.name].shape, strict=True):
            if isinstance(asked, str):
                dim.dim_param = asked


def _free_reshapes(model: onnx.ModelProto, fixed: dict[str, int]) -> None:
    """One after another in the graph's order, since the shape behind one is only known when it is free."""
    constants = _constants(model.graph)
    for node in [node for node in model.graph.node if node.op_type == "Reshape" and not node.domain]:
        target = constants.get(node.input[1])
        if target is None or (0 in target and any(attribute.name == "allowzero" for attribute in node.attribute)):
            continue
        shape = _shapes(model).get(node.input[0])
        freed = free_target(shape, target.tolist(), fixed) if shape else None
        if freed and freed != target.tolist():
            name = f"{node.output[0]}__shape"  # the constant may serve other nodes too
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(freed, dtype=np.int64), name))
            node.input[1] = name
            del node.attribute[:]  # allowzero, which would make a copied size an empty one


def free_target(shape: Shape, target: list[int], fixed: dict[str, int]) -> list[int] | None:
    """The target of a Reshape of a tensor of ``shape`` for every size of its axes, or None where none is proved.

    ``fixed`` has the sizes that the target was written for. A leading run of equal sizes is the same axes, and stays
    by 0, which copies. Of what remains, the axes' span must become one dimension (or a factor of one, with its
    neighbours), and in one place alone: then row-major order keeps the axes there, and -1 takes their place.
    """
    if any(isinstance(size, str) and size not in fixed for size in shape):
        return None
    sizes = [fixed[size] if isinstance(size, str) else size for size in shape]
    named = [index for index, size in enumerate(shape) if isinstance(size, str)]
    wanted = _concrete(target, sizes)
    if not wanted or not named:
        return None
    kept = 0
    while kept < min(len(sizes), len(wanted)) and sizes[kept] == wanted[kept]:
        kept += 1
    free = list(wanted)
    spans = [(index, index) for index in named if index < kept]
    rest = [index for index in named if index >= kept]
    for first, last in [*spans, (rest[0], rest[-1])] if rest else spans:
        places = _places(sizes, wanted, first, last)
        # A size of 1 may fit in several places, and then none is proved.
        if len(places) != 1 or (first < kept and places != [first]):
            return None
        free[places[0]] = 0 if first < kept else -1
    open_already = all(target[index] in (0, -1) for index, size in enumerate(free) if size in (0, -1))
    return target if open_already else free


def _concrete(target: list[int], sizes: list[int]) -> list[int] | None:
    """The target's own sizes, without 0 and -1; None if it does not fit."""
    if any(size == 0 and index >= len(sizes) for index, size in enumerate(target)) or 0 in sizes:
        return None
    copied = [sizes[index] if size == 0 else size for index, size in enumerate(target)]
    others = prod(size for size in copied if size != -1)
    wanted = [prod(sizes) // others if size == -1 else size for size in copied]
    return wanted if prod(wanted) == prod(sizes) else None


def _places(sizes: list[int], wanted: list[int], first: int, last: int) -> list[int]:
    """Where in the target the axes from ``first`` to ``last`` can be: a dimension of their own, else one they share."""
    before, behind = prod(sizes[:first]), prod(sizes[last + 1 :])
    around = [(prod(wanted[:index]), prod(wanted[index + 1 :])) for index in range(len(wanted))]
    own = [index for index, (left, right) in enumerate(around) if (left, right) == (before, behind)]
    return own or [index for index, (left, right) in enumerate(around) if before % left == 0 and behind % right == 0]


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray[Any, Any]]:
    """The small whole-number constants of a graph, by name."""
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


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """The shapes that are known, by tensor."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: info_of(value).shape for value in values if value.type.tensor_type.HasField("shape")}
