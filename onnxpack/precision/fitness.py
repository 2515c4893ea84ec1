"""Find which nodes' values and constants float16 can hold; bfloat16 has float32's range, so everything fits."""

from collections.abc import Iterable
from itertools import chain

import numpy as np
import onnx

from onnxpack.graph.passes import run_passes
from onnxpack.precision import Job
from onnxpack.precision.edit import LiftConstants, find_initializers
from onnxpack.precision.schemas import Ports
from onnxpack.precision.tensors import find_element_types, list_made_tensors, open_probe_session, run_batches

LARGEST = 65504.0
"""The greatest float16."""
_HEADROOM = 2.0
"""Inputs that nobody showed may give greater values."""
_DIGIT = 0.1
"""A constant that is off by more than this share of itself, or becomes zero, is another number."""


class Fitness:
    """The greatest magnitudes that were seen of tensors, and the constants that do not fit."""

    def __init__(self, largest: dict[str, float], unfit: frozenset[str]) -> None:
        self._largest = largest
        self._unfit = unfit

    def why_not(self, node: onnx.NodeProto, where: Ports | None) -> str:
        """Return why a node must stay in float32; empty where it need not."""
        if where is None:
            return ""
        for index in where.inputs:
            if node.input[index] in self._unfit:
                return "a constant that float16 cannot hold"
        names = (*(node.input[index] for index in where.inputs), *(node.output[index] for index in where.outputs))
        greatest = max((self._largest.get(name, 0.0) for name in names), default=0.0)
        return f"values near or above {LARGEST:g}" if greatest * _HEADROOM > LARGEST else ""


def fit_everything() -> Fitness:
    """Return a fitness that refuses nothing."""
    return Fitness({}, frozenset())


def measure_fitness(job: Job) -> Fitness:
    """Run the model on the Reference and the calibration data, and look at every tensor and constant."""
    run_passes(job.model, (LiftConstants(),))
    types = find_element_types(job.model, job.scratch)
    floats = [name for name in list_made_tensors(job.model) if types.get(name) == onnx.TensorProto.FLOAT]
    inputs = [value.name for value in job.model.graph.input if types.get(value.name) == onnx.TensorProto.FLOAT]
    largest = dict.fromkeys([*floats, *inputs], 0.0)
    nodes, outputs = _extremes(floats + inputs)
    running = open_probe_session(job.model, outputs, job.scratch, nodes)
    data = chain(job.cases(), job.batches() if job.batches else ())
    for found in run_batches(running, data, job.say, "looking for values that overflow"):
        for name, output in zip(floats + inputs, outputs, strict=True):
            largest[name] = max(largest[name], float(found[output]))
    return Fitness(largest, frozenset(name for name, tensor in find_initializers(job.model).items() if _unfit(tensor)))


def _extremes(names: Iterable[str]) -> tuple[list[onnx.NodeProto], list[str]]:
    """Return nodes that compute the greatest finite magnitude of each tensor, and their outputs' names."""
    make = onnx.helper.make_node
    zero = onnx.numpy_helper.from_array(np.array(0, np.float32))
    nodes, outputs = [make("Constant", [], ["__zero"], value=zero)], []
    for name in names:
        nodes += [
            make("Abs", [name], [f"{name}__abs"]),
            make("IsInf", [f"{name}__abs"], [f"{name}__infinite"]),  # float16 has infinities of its own
            make("Where", [f"{name}__infinite", "__zero", f"{name}__abs"], [f"{name}__finite"]),
            make("ReduceMax", [f"{name}__finite"], [f"{name}__largest"], keepdims=0),
        ]
        outputs.append(f"{name}__largest")
    return nodes, outputs


def _unfit(tensor: onnx.TensorProto) -> bool:
    """Return whether the constant's greatest finite value overflows float16, or loses too much of its value."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return False
    array = np.abs(onnx.numpy_helper.to_array(tensor))
    greatest = float(array[np.isfinite(array)].max(initial=0.0))
    if greatest == 0.0:
        return False
    if greatest > LARGEST:
        return True
    # Small values lose digits below the least normal float16, 6.1e-5.
    return abs(float(np.float16(greatest)) - greatest) > _DIGIT * greatest
