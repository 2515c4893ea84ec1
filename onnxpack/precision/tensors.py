"""Ask the runtime for the types of the tensors inside a model, and for the values that they take."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.core.text import plural
from onnxpack.data.test_inputs import Arrays
from onnxpack.graph.external_data import EXTERNAL_DATA_OVER, count_bytes
from onnxpack.precision.edit import infer_types, make_shell

_DTYPES = {
    "tensor(float)": onnx.TensorProto.FLOAT,
    "tensor(float16)": onnx.TensorProto.FLOAT16,
    "tensor(bfloat16)": onnx.TensorProto.BFLOAT16,
    "tensor(double)": onnx.TensorProto.DOUBLE,
}
"""The element types that anybody here asks for; others are 0."""


def find_element_types(model: onnx.ModelProto, scratch: Path) -> dict[str, int]:
    """Return the element type of every tensor of the outer graph."""
    found = {name: kind.elem_type for name, kind in infer_types(model).items()}
    # A session costs time and memory: only if onnx leaves types open.
    unknown = [name for name in list_made_tensors(model) if not found.get(name)]
    if unknown:
        running = open_probe_session(model, unknown, scratch)
        found |= {item.name: _DTYPES.get(item.type, 0) for item in running.get_outputs()}
    return found


def list_made_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the tensors that the outer graph's nodes make, in order."""
    return [name for node in model.graph.node for name in node.output if name]


def open_probe_session(
    model: onnx.ModelProto, outputs: Iterable[str], scratch: Path, extra: Iterable[onnx.NodeProto] = ()
) -> ort.InferenceSession:
    """Return a CPU session that gives these tensors and nothing else, from the graph and the nodes ``extra``.

    Raises:
        SourceError: the runtime refuses the model.
    """
    probe = make_shell(model)
    graph = probe.graph
    graph.node.extend(model.graph.node)
    graph.node.extend(extra)
    graph.input.extend(model.graph.input)
    graph.initializer.extend(model.graph.initializer)
    # Without types: the runtime infers them.
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # Optimising would fuse away the tensors that are asked for.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    large = sum(map(count_bytes, model.graph.initializer)) > EXTERNAL_DATA_OVER
    # Through a file, as a serialized model may not exceed 2 GiB.
    path = scratch / "probe.onnx"
    onnx.save(probe, path, save_as_external_data=large, location="probe.data")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base
        words = flatten_words(error, 300)
        raise SourceError(f"onnxruntime cannot run the model to see its values: {words}") from None
    finally:
        path.unlink()
        path.with_name("probe.data").unlink(missing_ok=True)


def run_batches(
    running: ort.InferenceSession, batches: Iterable[Arrays], say: Callable[[str], None], what: str
) -> Iterator[Arrays]:
    """Yield the outputs of a session by name, one batch at a time.

    Raises:
        SourceError: the model fails on a batch.
    """
    names = [item.name for item in running.get_outputs()]
    wanted = {item.name for item in running.get_inputs()}
    rows = 0
    for batch in batches:
        try:
            values: list[Any] = running.run(names, {name: batch[name] for name in batch if name in wanted})
        except Exception as error:  # onnxruntime's exceptions share no base
            shapes = ", ".join(f"{name} {array.shape}" for name, array in batch.items())
            words = flatten_words(error, 300)
            raise SourceError(f"the float32 model fails on {shapes}: {words}") from None
        rows += next((len(array) for array in batch.values() if array.ndim), 1)
        say(f"{what}: {plural(rows, 'row')}")
        yield dict(zip(names, map(np.asarray, values), strict=True))
