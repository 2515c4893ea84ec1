"""Quantize weights and the values between layers to 8 bits, with scales from calibration data, as QDQ pairs.

onnxruntime's QDQ quantizer writes the pairs; which nodes, which ranges and which numbers are decided here. Numbers by
where it runs: uint8 values and int8 weights on x86 (7 bits of them without VNNI), int8 both on ARM, int8 both and
symmetric for TensorRT, which computes 8 bits on GPUs.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxpack.core.errors import SpecError
from onnxpack.graph.check import get_opset
from onnxpack.graph.isa import ARM, needs_reduced_range
from onnxpack.graph.passes import run_passes
from onnxpack.precision import Converted, Job, Wish, calibration
from onnxpack.precision.calibration import Ranges
from onnxpack.precision.edit import DropUnused, PoolBeforeRelu, SortNodes, replace_nodes
from onnxpack.precision.prepare import find_carried_nodes, prepare_graph
from onnxpack.precision.selection import OPS, WEIGHTED, Selection, find_float_ends, list_tensors, select_nodes
from onnxpack.precision.tensors import find_element_types
from onnxpack.spec.traits import PrecisionTraits

TRAITS = PrecisionTraits(
    noise=(0.25, 0.1),
    # From here on DequantizeLinear has an axis.
    min_opset=13,
    # CUDA's provider computes int8 as floats, so there it is made only where the spec asks for it.
    tried_on={"cpu": 0},
    calibrated=True,
    per_channel=True,
)

PREPARED = "prepared.onnx"


def refusal(wish: Wish, model: onnx.ModelProto) -> str:
    """Refuse models without layers with weights, and those of an older opset."""
    if get_opset(model) < TRAITS.min_opset:
        return f"it needs opset {TRAITS.min_opset}, the model has {get_opset(model)}"
    if not any(node.op_type in WEIGHTED for node in model.graph.node):
        return f"the model has none of {', '.join(WEIGHTED)}"
    return ""


def convert(job: Job) -> Converted:
    """Prepare, calibrate and quantize; an earlier calibration saves the first two.

    Raises:
        SpecError: there is no calibration data.
    """
    folder = job.calibration
    if folder is None:
        folder = job.scratch / "calibration"
        folder.mkdir()
        calibrate(job, folder)
    model, ranges = load(folder)
    excluded = find_carried_nodes(job.excluded, job.model, model) | frozenset(job.wish.without)
    converted = quantize(model, ranges, select_nodes(model, excluded, ranges), job.wish)
    if job.wish.device == "cuda":
        note = "8 bits on a GPU run through TensorRT; CUDA's own provider computes such a model in float32"
        converted = replace(converted, notes=(*converted.notes, note))
    return converted


def calibrate(job: Job, folder: Path) -> int:
    """Write the prepared graph and its tensors' ranges into a folder; return the number of tensors.

    Raises:
        SpecError: there is no calibration data.
        SourceError: the model fails on it.
    """
    if job.batches is None:
        raise SpecError(f"{job.wish.precision} needs calibration data", "add `calibration: {data: calibration.npz}`")
    copy = onnx.ModelProto()
    copy.CopyFrom(job.model)
    # A copy, as the passes edit in place and the job's model is needed again.
    model = prepare_graph(copy, job.scratch)
    tensors = list_tensors(model, find_element_types(model, job.scratch))
    calibration.write(folder, calibration.calibrate(model, tensors, job.batches, job.method, job.scratch, job.say))
    # Always external, since protobuf ends at 2 GiB.
    onnx.save(model, folder / PREPARED, save_as_external_data=True, location=f"{PREPARED}.data")
    return len(tensors)


def load(folder: Path) -> tuple[onnx.ModelProto, Ranges]:
    """Load the graph and the ranges that ``calibrate`` left."""
    return onnx.load(folder / PREPARED), calibration.read(folder)


def quantize(model: onnx.ModelProto, ranges: Ranges, selection: Selection, wish: Wish) -> Converted:
    """Quantize the selected nodes of a prepared graph, which is changed in place."""
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

    ends = find_float_ends(model, selection)
    # x86 multiplies unsigned values with signed weights (vpmaddubsw, VNNI); ARM and TensorRT take signed ones.
    uint8 = wish.device == "cpu" and wish.isa not in ARM
    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    _declare_ranges(model, ranges)
    quantizer = QDQQuantizer(
        model,
        wish.per_channel is not False,
        needs_reduced_range(wish.device, wish.isa),
        QuantType.QInt8,
        QuantType.QUInt8 if uint8 else QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, data),
        list(selection.nodes) or [""],  # none, where an empty list would mean all
        [],
        list(OPS),
        _options(wish.device),
    )
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer warns of what is meant
    quantizer.quantize_model()
    done: onnx.ModelProto = quantizer.model.model
    _open_ends(done, ends)
    if wish.device == "cpu":
        run_passes(done, (PoolBeforeRelu(), SortNodes()))
    return Converted(done, selection.left)


def _options(device: str) -> dict[str, Any]:
    """Return the quantizer's options for a device."""
    if device == "cpu":
        return {}
    # TensorRT wants a pair before each layer, on its weights too, and none behind it; biases in float32.
    return {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "AddQDQPairToWeight": True,
        "DedicatedQDQPair": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": list(OPS),
    }


def _declare_ranges(model: onnx.ModelProto, ranges: Ranges) -> None:
    """Declare every tensor that has a range as float32, and tell the quantizer that no inference is needed."""
    inside = {value.name for value in (*model.graph.input, *model.graph.output)}
    del model.graph.value_info[:]
    for name in ranges:
        if name not in inside:
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.helper.set_model_props(model, {"onnx.infer": "onnxruntime.quant"})


def _open_ends(model: onnx.ModelProto, products: frozenset[str]) -> None:
    """Remove the pair behind these products."""
    outputs = {value.name for value in model.graph.output}
    makers = {name: node for node in model.graph.node for name in node.output}
    gone: set[str] = set()
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if maker is None or maker.name not in products:
            continue
        gone.add(node.name)
        for pair in model.graph.node:
            if pair.op_type == "DequantizeLinear" and pair.input[0] == node.output[0]:
                gone.add(pair.name)
                if pair.output[0] in outputs:
                    maker.output[0] = pair.output[0]
                else:
                    renamed[pair.output[0]] = maker.output[0]
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    replace_nodes(model, [node for node in model.graph.node if node.name not in gone])
    run_passes(model, (SortNodes(), DropUnused()))
