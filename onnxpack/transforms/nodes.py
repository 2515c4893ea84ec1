"""The ONNX nodes of a step, in the form that the model's opset has for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxpack.graph.check import DTYPES, get_opset, iterate_graphs
from onnxpack.spec.served import PreStage
from onnxpack.spec.table_stages import TableStage
from onnxpack.transforms.arrays import fold_normalize
from onnxpack.transforms.dates import express_date_parts
from onnxpack.transforms.operations import PostStage, choose_compute_dtype
from onnxpack.transforms.outputs import OPERATIONS
from onnxpack.transforms.pictures import PICTURES
from onnxpack.transforms.table_columns import express_table

_TYPES = {word: number for number, word in DTYPES.items()}


class Nodes:
    """The new nodes of a model, collected first and then inserted; their unique names begin with ``prefix``."""

    def __init__(self, prefix: str, model: onnx.ModelProto) -> None:
        self._prefix = prefix
        self._graph = model.graph
        self.opset = get_opset(model)
        self._nodes: list[onnx.NodeProto] = []
        self._outputs = {value.name for value in model.graph.output}
        self._taken = {
            name
            for graph in iterate_graphs(model.graph)
            for name in (
                *(value.name for value in (*graph.input, *graph.output, *graph.initializer)),
                *(name for node in graph.node for name in (node.name, *node.output)),
            )
        }

    def make_unique(self, name: str) -> str:
        """Return a name that nothing has yet: the given one, with underscores added if needed."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def is_inner(self, name: str) -> bool:
        """Return whether something in the model that is not one of its outputs has this name."""
        return name in self._taken and name not in self._outputs

    def rename(self, names: Mapping[str, str]) -> None:
        """Rename tensors of the new nodes."""
        for node in self._nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]

    def insert(self, place: int) -> None:
        """Insert the new nodes into the model in front of the node at index ``place``."""
        rest = list(self._graph.node[place:])
        del self._graph.node[place:]
        self._graph.node.extend([*self._nodes, *rest])

    def before(self, index: int, stage: PreStage, x: str, antialias: bool) -> str:
        """Add the nodes of a step in front of the model that changes the tensor ``x``; return the result's name."""
        self._at = f"{self._prefix}/{index}_{stage.step.op}"
        op = stage.step.op
        if op == "cast":
            return self.add_cast(x, stage.given.dtype)
        if op == "date_parts":
            return express_date_parts(self, x, stage.step.parts or (), stage.given.dtype, len(stage.taken.shape))
        if op == "layout":
            return self.add_node("Transpose", [x], perm=list(stage.axes))
        if op in PICTURES:
            return PICTURES[op].express(stage, self, x, antialias)
        dtype = choose_compute_dtype(stage.given.dtype)
        x = self.add_cast(x, dtype, stage.given.dtype)
        if op == "scale":
            x = self.add_node("Div", [x, self.add_constant(np.asarray(stage.step.scale, dtype), "scale")])
        else:
            factor, addend = (value.astype(dtype) for value in fold_normalize(stage))
            x = self.add_node("Mul", [x, self.add_constant(factor, "factor")])
            x = self.add_node("Add", [x, self.add_constant(addend, "addend")])
        return self.add_cast(x, stage.given.dtype, dtype)

    def add_table(self, index: int, stage: TableStage) -> dict[str, str]:
        """Add the nodes of a step that makes inputs of columns; return the results' names by inputs."""
        self._at = f"{self._prefix}/{index}_table"
        return express_table(stage, self)

    def add_behind(self, index: int, stage: PostStage, tensors: list[str]) -> list[str]:
        """Add the nodes of a step behind the model that takes these tensors; return the results' names.

        Raises:
            SourceError: the step cannot be expressed in the model's opset.
        """
        self._at = f"{self._prefix}/{index}_{stage.step.op}"
        return OPERATIONS[stage.step.op].express(stage, self, tensors)

    def add_cast(self, x: str, to: str, have: str | None = None) -> str:
        """Add a cast to a dtype, unless the tensor is known to have it."""
        return x if to == have else self.add_node("Cast", [x], to=_TYPES[to])

    def add_constant(self, value: np.ndarray[Any, Any], word: str) -> str:
        """Add a constant, named for what it is."""
        tensor = numpy_helper.from_array(value, self.make_unique(f"{self._at}/{word}"))
        self._graph.initializer.append(tensor)
        return tensor.name

    def add_node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node of one output."""
        return self.add_nodes(op, inputs, 1, **attributes)[0]

    def add_nodes(self, op: str, inputs: list[str], count: int, **attributes: Any) -> list[str]:
        """Add a node of ``count`` outputs."""
        name = self.make_unique(f"{self._at}/{op}")
        outputs = [self.make_unique(f"{name}_output_{number}") for number in range(count)]
        self._nodes.append(helper.make_node(op, inputs, outputs, name, **attributes))
        return outputs
