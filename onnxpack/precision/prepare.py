"""Prepare a float32 graph for static quantization: fold constants, and batch normalizations into convolutions."""

from pathlib import Path

import onnx
import onnxruntime as ort

from onnxpack.graph.external_data import EXTERNAL_DATA_OVER, count_bytes
from onnxpack.graph.passes import run_passes
from onnxpack.precision.edit import LiftConstants


def prepare_graph(model: onnx.ModelProto, scratch: Path) -> onnx.ModelProto:
    """Apply the basic rewrites of onnxruntime, which are standard ONNX; very large models stay as they are.

    Nodes and tensors that are fused away are gone by name: ``find_carried_nodes`` finds what became of a node.
    """
    if sum(map(count_bytes, model.graph.initializer)) > EXTERNAL_DATA_OVER:
        run_passes(model, (LiftConstants(),))
        return model
    before, after = scratch / "before.onnx", scratch / "prepared.onnx"
    onnx.save(model, before)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(after)
    ort.InferenceSession(str(before), options, providers=["CPUExecutionProvider"])
    done = onnx.load(after)
    # onnxruntime writes its own.
    done.ir_version = model.ir_version
    run_passes(done, (LiftConstants(),))
    before.unlink()
    after.unlink()
    return done


def find_carried_nodes(names: frozenset[str], original: onnx.ModelProto, done: onnx.ModelProto) -> frozenset[str]:
    """Return the nodes of the prepared graph that do the work of the nodes ``names`` of the original.

    A node that was fused is the one that now makes its output, or the first output behind it that is still made.
    """
    makers = {output: node.name for node in done.graph.node for output in node.output if output}
    kept = {node.name for node in done.graph.node}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in original.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = set()
    for node in original.graph.node:
        if node.name not in names:
            continue
        if node.name in kept:
            found.add(node.name)
            continue
        # Breadth first: the nearest output that still exists is where the node went.
        waiting, seen = list(node.output), set(node.output)
        while waiting:
            tensor = waiting.pop(0)
            if tensor in makers:
                found.add(makers[tensor])
                continue
            after = [output for reader in readers.get(tensor, []) for output in reader.output if output not in seen]
            seen.update(after)
            waiting += after
    return frozenset(found)
