"""Convert float32 to 16 bits, node by node, where the operator's definition and the values allow it.

Between parts of different precision stands one Cast for each tensor. onnxruntime's own converter knows float16 alone,
gives two consumers of one tensor two casts of one name, and clamps constants that do not fit.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from onnxpack.graph.passes import run_passes
from onnxpack.precision import Converted, Job, Left
from onnxpack.precision.edit import DropUnused, LiftConstants, find_initializers, iterate_reads, replace_nodes
from onnxpack.precision.fitness import Fitness
from onnxpack.precision.schemas import Ports, find_ports
from onnxpack.precision.tensors import find_element_types

FLOAT = onnx.TensorProto.FLOAT
WORDS: dict[int, str] = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}


def convert(job: Job, half: int, fitness: Fitness) -> Converted:
    """Convert the model to ``half``, an element type; float32 inputs and outputs stay float32."""
    run_passes(job.model, (LiftConstants(),))
    work = _Work(job.model, half, find_element_types(job.model, job.scratch))
    left = []
    for node in list(job.model.graph.node):
        where = work.ports(node)
        why = "excluded" if node.name in job.excluded else _explain_unable(node, where) or fitness.why_not(node, where)
        if why or where is None or not work.worth(node, where):
            work.keep(node)
            left += [Left(node.name, node.op_type, why)] if why and work.touches(node) else []
        else:
            work.reduce(node, where)
    work.finish()
    return Converted(job.model, tuple(left))


def _explain_unable(node: onnx.NodeProto, where: Ports | None) -> str:
    """Return why a node cannot be converted, whatever its values are; empty where it can."""
    if any(item.HasField("g") or item.graphs for item in node.attribute):
        return "it holds graphs"
    return "" if where is not None else "the operator is not defined for it"


@dataclass
class _Work:
    """The graph while it is rewritten in its order; a tensor keeps its name in float32, and has another in 16 bits."""

    model: onnx.ModelProto
    half: int
    types: dict[str, int]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    halves: dict[str, str] = field(default_factory=dict)
    """The 16-bit name of every tensor that has one."""
    missing: set[str] = field(default_factory=set)
    """Tensors that so far exist in 16 bits alone."""

    def __post_init__(self) -> None:
        self.weights = find_initializers(self.model)
        self.versions = {entry.domain: entry.version for entry in self.model.opset_import}

    def floats(self, names: Any) -> list[int]:
        """Return the indices of the float32 tensors."""
        return [index for index, name in enumerate(names) if name and self.types.get(name) == FLOAT]

    def touches(self, node: onnx.NodeProto) -> bool:
        """Return whether a node gives float32 at all: nobody asks why other nodes stay."""
        return bool(self.floats(node.output))

    def ports(self, node: onnx.NodeProto) -> Ports | None:
        """Return where a node takes and gives 16 bits instead of float32; None where its definition forbids it."""
        return find_ports(node, self.versions, self.half, self.floats(node.input), self.floats(node.output))

    def worth(self, node: onnx.NodeProto, where: Ports) -> bool:
        """Return whether a node gains anything: it computes floats, or takes some that are in 16 bits already."""
        ready = any(node.input[index] in self.halves for index in where.inputs)
        return ready if not where.outputs or not where.inputs else True

    def reduce(self, node: onnx.NodeProto, where: Ports) -> None:
        """Add a node in 16 bits."""
        for index in range(len(node.input)):
            node.input[index] = (
                self._half_of(node.input[index]) if index in where.inputs else self._real(node.input[index])
            )
        for index in where.outputs:
            name = node.output[index]
            self.halves[name] = node.output[index] = f"{name}__{WORDS[self.half]}"
            self.missing.add(name)
        # A Cast to float32 now casts to 16 bits.
        if node.op_type == "Cast" and where.outputs:
            next(item for item in node.attribute if item.name == "to").i = self.half
        self.nodes.append(node)

    def keep(self, node: onnx.NodeProto) -> None:
        """Add a node as it is, behind the casts to float32 that it needs."""
        for name in iterate_reads(node):
            self._real(name)
        self.nodes.append(node)

    def finish(self) -> None:
        """Replace the graph's nodes, and cast its outputs back to float32."""
        for value in self.model.graph.output:
            self._real(value.name)
        replace_nodes(self.model, self.nodes)
        # The float32 constants whose readers all take 16 bits.
        run_passes(self.model, (DropUnused(),))

    def _half_of(self, name: str) -> str:
        if name not in self.halves:
            self.halves[name] = f"{name}__{WORDS[self.half]}"
            if name in self.weights:
                self.model.graph.initializer.append(round_constant(self.weights[name], self.halves[name], self.half))
            else:
                self._cast(name, self.halves[name], self.half)
        return self.halves[name]

    def _real(self, name: str) -> str:
        if name in self.missing:
            # One Cast for a tensor, however many nodes read it.
            self.missing.discard(name)
            self._cast(self.halves[name], name, FLOAT)
        return name

    def _cast(self, source: str, result: str, to: int) -> None:
        self.nodes.append(onnx.helper.make_node("Cast", [source], [result], name=f"{result}__cast", to=to))


def round_constant(tensor: onnx.TensorProto, name: str, half: int) -> onnx.TensorProto:
    """Return a constant in 16 bits, rounded to nearest, ties to even."""
    array = onnx.numpy_helper.to_array(tensor)
    if half == onnx.TensorProto.FLOAT16:
        return onnx.numpy_helper.from_array(array.astype(np.float16), name)
    # numpy has no bfloat16 of its own; ml_dtypes' is what onnx uses.
    dtype = onnx.helper.tensor_dtype_to_np_dtype(half)
    made: onnx.TensorProto = onnx.numpy_helper.from_array(array.astype(dtype), name)
    return made
