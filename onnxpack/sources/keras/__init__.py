"""Keras and TensorFlow: a model from a file, a SavedModel, or code and weights, exported by tf2onnx.

Runs in an environment of its own, whose packages ``onnxpack.worker.environments`` names.
"""

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx

# TensorFlow reads these when it is imported: no messages, no GPU, and sums in an order that stays.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["KERAS_BACKEND"] = "tensorflow"

import tensorflow as tf

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.data.test_inputs import Arrays
from onnxpack.graph.check import iterate_graphs
from onnxpack.sources import Export
from onnxpack.sources.keras.model import Ready, load_model, require_weights
from onnxpack.sources.nested import flatten_outputs, name_outputs
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import DEFAULT_OPSET
from onnxpack.spec.traits import FrameworkTraits

TRAITS = FrameworkTraits(
    fields=("factory", "kwargs", "weights", "prepare", "path", "sha256"),
    endings=(".keras", ".h5", ".hdf5", "saved_model.pb"),
    # Of a .keras file Keras itself refuses the code; of an .h5 only its latest versions do.
    safe_endings=(".keras",),
    weights_endings=(".h5", ".hdf5"),
    packages=("keras", "tensorflow", "tf_keras", "keras_hub", "keras_cv", "keras_nlp"),
    max_opset=18,
    environment=(
        # TensorFlow's own small build exists for x86-64 alone.
        "tensorflow-cpu==2.21.0; platform_machine == 'x86_64'",
        "tensorflow==2.21.0; platform_machine != 'x86_64'",
        "keras==3.15.1",
        "tf2onnx==1.17.0",
    ),
    needs=("tensorflow-cpu", "tf2onnx"),
)

__all__ = ["export", "load", "require_weights", "run"]

_INPUT = "onnxpack_input_{}"
_MISSING = "is not supported"


def load(file: SpecFile) -> Ready:
    """Load the model in inference mode, and match the spec's inputs with its own."""
    return load_model(file)


def run(model: Ready, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    """Return the outputs, nested ones flattened in order; strings as Python's."""
    tensors = [tf.constant(array) for array in inputs.values()]
    return [_array(leaf) for _, leaf in flatten_outputs(model.call(*tensors), tf.Tensor)]


def _array(tensor: tf.Tensor) -> np.ndarray[Any, Any]:
    values = np.asarray(tensor.numpy())
    if tensor.dtype == tf.string:
        decoded = [item.decode() for item in values.reshape(-1)]
        return np.array(decoded, dtype=object).reshape(values.shape)
    return values.astype(np.float32) if tensor.dtype == tf.bfloat16 else values


def export(model: Ready, file: SpecFile, example: Arrays, count: int, destination: Path) -> Export:
    """Export by tf2onnx; only the axes that the spec names are dynamic."""
    answer = model.call(*(tf.constant(array) for array in example.values()))
    paths = [path for path, _ in flatten_outputs(answer, tf.Tensor)]
    flat = all(len(path) <= 1 and not any(isinstance(part, str) for part in path) for path in paths)
    own = flat and len(model.names) == count and not set(model.names) & set(example)
    names = list(model.names) if own else name_outputs(paths, list(example))
    proto = _convert(model, file)
    _name_inputs(proto.graph, list(example))
    try:
        onnx.save(proto, destination)
    except Exception as error:  # protobuf's own, over 2 GB
        raise SourceError(
            f"the export cannot be written: {flatten_words(error, 500)}", "make it smaller: tf2onnx is limited to 2 GB"
        ) from None
    return Export(tuple(names))


def _convert(model: Ready, file: SpecFile) -> onnx.ModelProto:
    import tf2onnx

    # The same file gives the same bytes in every process.
    _keep_names_steady()
    signature = [
        tf.TensorSpec(
            [None if isinstance(size, str) else size for size in tensor.shape], tf.as_dtype(tensor.dtype),
            name=_INPUT.format(index),
        )
        for index, tensor in enumerate(file.spec.inputs.values())
    ]  # fmt: skip

    def flat(*tensors: tf.Tensor) -> list[tf.Tensor]:
        # Each a tensor of its own: the same one may be given twice, or be an input.
        return [tf.identity(leaf) for _, leaf in flatten_outputs(model.call(*tensors), tf.Tensor)]

    function = tf.function(flat)
    missing, logger = _Missing(), logging.getLogger("tf2onnx")
    logger.addHandler(missing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's own; what counts is checked on the result
            proto, _ = tf2onnx.convert.from_function(
                function,
                input_signature=signature,
                opset=file.spec.opset or DEFAULT_OPSET,
                custom_op_handlers={"Erfc": (_erfc, [])},
            )
    except SourceError:
        raise
    except Exception as error:  # tracing and conversion raise whatever they meet
        raise SourceError(
            f"tf2onnx cannot export the model: {type(error).__name__}: {flatten_words(error, 500)}",
            "a layer may need a size that the spec leaves dynamic: fix the axis in `shape`, or change the layer",
        ) from None
    finally:
        logger.removeHandler(missing)
    if missing.words:
        raise SourceError(
            f"tf2onnx has no ONNX operator for: {', '.join(dict.fromkeys(missing.words))}",
            "compute this before or after the model, or with layers of plain arithmetic",
        )
    _bind_constants(proto.graph, function.get_concrete_function(*signature))
    exported: onnx.ModelProto = proto
    return exported


def _bind_constants(graph: onnx.GraphProto, function: Any) -> None:
    """Turn constants that a layer holds as tensors, and that come out as inputs, into initializers.

    Raises:
        SourceError: an input has none, as a lookup table.
    """
    values = {place.name: value for value, place in function.graph.captures if value.dtype != tf.resource}
    strangers = [value for value in graph.input if not value.name.startswith(_INPUT.format(""))]
    unbound = [value.name for value in strangers if value.name not in values]
    if unbound:
        raise SourceError(
            f"tf2onnx cannot export what gives {', '.join(unbound)[:500]}",
            "move lookup tables (StringLookup, TextVectorization) out of the model, before it",
        )
    for value in strangers:
        graph.input.remove(value)
        graph.initializer.append(onnx.numpy_helper.from_array(values[value.name].numpy(), value.name))


def _keep_names_steady() -> None:
    """Keep memory addresses out of tf2onnx's names, and out of the order in which it visits sets of nodes."""
    from tf2onnx.graph import Node
    from tf2onnx.optimizer import einsum_optimizer

    numbers: dict[int, tuple[int, Any]] = {}  # with the things themselves, as a place may be taken again
    first = 10**6  # below are the positions of inputs, which it keeps in the same tables
    Node.__hash__ = lambda self: hash(self.name)
    einsum_optimizer.id = lambda thing: numbers.setdefault(id(thing), (first + len(numbers), thing))[0]


def _erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """Convert the erfc of Keras' gelu, which tf2onnx does not know: erfc(x) = 1 - erf(x)."""
    dtype = graph.get_dtype(node.output[0])
    one = graph.make_const(f"{name}_one", np.ones([], onnx.helper.tensor_dtype_to_np_dtype(dtype)))
    erf = graph.make_node("Erf", [node.input[0]], name=f"{name}_erf")
    shapes = [graph.get_shape(node.output[0])]
    graph.remove_node(node.name)
    graph.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=node.output, shapes=shapes, dtypes=[dtype]
    )


class _Missing(logging.Handler):
    """Collects what tf2onnx cannot convert, which it only logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if _MISSING in record.getMessage() and record.args:
            # "Tensorflow op [name: kind] is not supported"
            self.words.append(f"{record.args[-1]} (at {record.args[0]})" if isinstance(record.args, tuple) else "")


def _name_inputs(graph: onnx.GraphProto, names: list[str]) -> None:
    """Give the inputs the spec's names and order; a value inside that has one of these names is renamed."""
    own = {_INPUT.format(index): name for index, name in enumerate(names)}

    def rename(name: str) -> str:
        return own.get(name) or (f"{name}__inner" if name in names else name)

    for inner in iterate_graphs(graph):
        for value in (*inner.input, *inner.output, *inner.initializer, *inner.value_info):
            value.name = rename(value.name)
        for node in inner.node:
            node.input[:] = [rename(name) for name in node.input]
            node.output[:] = [rename(name) for name in node.output]
    ordered = sorted(graph.input, key=lambda value: names.index(value.name) if value.name in names else len(names))
    del graph.input[:]
    graph.input.extend(ordered)
