"""Read and check ONNX files that come from outside, and read the facts of those made here."""

import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

from onnxpack.core.artifacts import Artifact
from onnxpack.core.digests import digest_file
from onnxpack.core.errors import Problem, SourceError, flatten_words
from onnxpack.core.values import OnnxModel, TensorInfo
from onnxpack.graph.classes import find_classes
from onnxpack.graph.external_data import count_bytes, find_wrong_lengths, stays_outside
from onnxpack.spec.traits import RUNTIME_MAX_OPSET

_LACKING = re.compile(
    r"Could not find an implementation for (?P<op>\w+)\((?P<version>\d+)\) node with name '(?P<node>[^']*)'"
)
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?\s*(Fatal error: )?")
_UNKNOWN = re.compile(r"(?P<op>\S+)\(-?\d+\) is not a registered function/op")
MAX_IR = 13
"""The highest IR version that onnxruntime 1.31 reads; onnx itself writes newer ones."""

DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.UINT16: "uint16",
    onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.UINT64: "uint64",
    onnx.TensorProto.BOOL: "bool",
    onnx.TensorProto.STRING: "string",
}


def read_model(path: Path) -> onnx.ModelProto:
    """Read a model from a file and check it; its external data is loaded unless that is very large.

    Raises:
        SourceError: not ONNX, broken, an unknown operator, an IR version or opset that the runtime cannot read, or
            external data that is missing or outside the model's folder.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's decode errors have no common base
        raise SourceError(f"'{path.name}' is not an ONNX model: {_shorten_error(error)}", "export it again") from None
    if not has_text(model):
        raise SourceError(f"'{path.name}' holds a name that is no UTF-8 text", "export it again")
    # Protobuf reads many kinds of bytes as an empty message without an error.
    if not model.graph.node or not model.opset_import:
        raise SourceError(f"'{path.name}' holds no graph", "export it again")
    if model.ir_version > MAX_IR:
        raise SourceError(
            f"'{path.name}' has IR version {model.ir_version}; the runtime reads {MAX_IR} at most",
            f"save it with IR version {MAX_IR}, such as by `model.ir_version = {MAX_IR}`",
        )
    if get_opset(model) > RUNTIME_MAX_OPSET:
        raise SourceError(
            f"'{path.name}' has opset {get_opset(model)}; the runtime reads {RUNTIME_MAX_OPSET} at most",
            f"export it with opset {RUNTIME_MAX_OPSET} or lower",
        )
    _require_external_data(model, path)
    outside = stays_outside(model)
    wrong = find_wrong_lengths(model, path.parent) if outside else []
    if wrong:
        raise SourceError([Problem(f"'{path.name}': {words}", "export the model again") for words in wrong[:10]])
    try:
        if not outside:
            onnx.load_external_data_for_model(model, str(path.parent))
        # By path where the data stayed outside: the checker then reads what it needs from the file itself.
        onnx.checker.check_model(str(path) if outside else model)
    except Exception as error:  # the checker and the loader raise several kinds
        raise SourceError(f"'{path.name}' is not valid ONNX: {_shorten_error(error)}", "export it again") from None
    return model


def has_text(model: onnx.ModelProto) -> bool:
    """Return whether every string of a model is text; protobuf gives one that is not UTF-8 as bytes."""
    waiting: list[Any] = [model]
    while waiting:
        for field, value in waiting.pop().ListFields():
            if field.message_type:
                waiting += value if field.is_repeated else [value]
            elif field.type == field.TYPE_STRING and any(
                isinstance(text, bytes) for text in (value if field.is_repeated else [value])
            ):
                return False
    return True


def _require_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Require that every external tensor lies in a regular file of its own in the model's folder, and fits into it."""
    # All problems are collected, so that a person repairs a file once.
    problems, spans = [], []
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        known = tensor.data_type in onnx.helper.get_all_tensor_dtypes()
        reason = _explain_misplaced(path.parent, entries) if known else f"has no dtype: {tensor.data_type}"
        if reason:
            problems.append(Problem(f"'{path.name}': the data of '{tensor.name}' {reason}", "export the model again"))
        else:
            spans.append((*_span(entries), tensor.name))
    for (place, start, end, name), (other, begin, stop, late) in pairwise(sorted(spans)):
        # The very same bytes may serve two tensors: tied weights.
        if place == other and begin < end and (start, end) != (begin, stop):
            problem = f"'{path.name}': the data of '{late}' overlaps that of '{name}'"
            problems.append(Problem(problem, "export the model again"))
    # Ten say enough: a broken export may have thousands of tensors.
    if problems:
        raise SourceError(problems[:10])


def _span(entries: dict[str, str]) -> tuple[str, int, int]:
    """Return the file, first byte and end of external data; without a length it goes to the end of the file."""
    start = int(entries.get("offset") or 0)
    end = start + int(entries["length"]) if entries.get("length") else sys.maxsize
    return str(Path(entries["location"])), start, end


def _explain_misplaced(folder: Path, entries: dict[str, str]) -> str:
    """Return why external data cannot be trusted, as the end of a sentence; empty where it can."""
    location = entries.get("location", "")
    if not location or Path(location).is_absolute() or ".." in Path(location).parts:
        return f"lies outside its folder: '{location}'"
    try:
        status = os.lstat(folder / location)
        end = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            return f"is not in a regular file of its own: '{location}'"
        if not (folder / location).resolve().is_relative_to(folder.resolve()):
            return f"lies outside its folder: '{location}'"
        # onnx reads it natively, unseen by the record of what an export reads: this is seen.
        (folder / location).open("rb").close()
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"
    return f"ends at byte {end} of {status.st_size}" if end > status.st_size else ""


def open_session(model: Path | bytes, folder: Path | None = None, *, plain: bool = False) -> ort.InferenceSession:
    """Return a CPU session for a file, or for a serialized model whose external data is in ``folder``.

    ``plain`` fuses nothing: onnxruntime 1.31 dies of fusing float16 products with their transposes for the CPU.

    Raises:
        SourceError: the runtime refuses the model.
    """
    options = ort.SessionOptions()
    # 4 is fatal: what goes wrong is raised, and a message of the runtime would stand beside it a second time.
    options.log_severity_level = 4
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    try:
        source = model if isinstance(model, bytes) else str(model)
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base
        raise _explain_refusal(_shorten_error(error)) from None


def _explain_refusal(words: str) -> SourceError:
    """Turn the runtime's reason for not loading a model into an error that names the operator and a remedy."""
    words = _PREFIX.sub("", words)
    lacking = _LACKING.search(words)
    if lacking:
        node = f" for the node '{lacking['node']}'" if lacking["node"] else ""
        text = f"it has no implementation of the operator {lacking['op']} of opset {lacking['version']}{node}"
        return SourceError(
            f"onnxruntime cannot load the model: {text}, for the dtypes that the model gives it",
            f"export the model again without {lacking['op']}, with another dtype there, or with a higher opset",
        )
    unknown = _UNKNOWN.search(words)
    hint = f"export the model again without the operator {unknown['op']}" if unknown else "export the model again"
    return SourceError(f"onnxruntime cannot load the model: {words}", hint)


def get_opset(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set, which a model may import under two names, or twice."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def read_info(value: onnx.ValueInfoProto) -> TensorInfo:
    """Return an input or output as the file declares it; a dimension without name or size is called ``?``."""
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
    return TensorInfo(value.name, DTYPES.get(tensor.elem_type, "unsupported"), shape)


def list_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that a caller gives; old files list the constants among them."""
    # Before IR version 4 every constant had to be listed as an input.
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def iterate_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and all graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from iterate_graphs(inner)


def iterate_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of all graphs inside them."""
    return (node for inner in iterate_graphs(graph) for node in inner.node)


def count_nodes(model: onnx.ModelProto) -> dict[str, int]:
    """Count the nodes of each operator, in alphabetical order; of a function, which is none, those inside it."""
    functions = {(function.domain, function.name) for function in model.functions}
    inside = (onnx.GraphProto(node=function.node) for function in model.functions)
    nodes = (node for graph in (model.graph, *inside) for node in iterate_nodes(graph))
    return dict(sorted(Counter(node.op_type for node in nodes if (node.domain, node.op_type) not in functions).items()))


def count_weights(model: onnx.ModelProto) -> dict[str, int]:
    """Count the bytes of constants by dtype, those in nodes and inner graphs too."""
    found: Counter[str] = Counter()
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        found[DTYPES.get(tensor.data_type, str(tensor.data_type))] += count_bytes(tensor)
    return dict(sorted(found.items()))


def rename_tensors(graph: onnx.GraphProto, rename: Callable[[str], str]) -> None:
    """Rename every tensor of a graph, and of the graphs inside its nodes, by the function ``rename``."""
    for inner in iterate_graphs(graph):
        for value in (*inner.input, *inner.output, *inner.initializer):
            value.name = rename(value.name)
        for node in inner.node:
            node.input[:] = [rename(name) for name in node.input]
            node.output[:] = [rename(name) for name in node.output]


def read_facts(path: Path, precision: str = "float32") -> OnnxModel:
    """Read back from the file at ``path`` what it really holds: opset, inputs, outputs, operators, size, digest."""
    model, sha256 = onnx.load(path, load_external_data=False), digest_file(path)
    # External data is named after the file, as ``save_copy`` and ``save_outside`` write it.
    beside = [file for file in path.parent.iterdir() if file.name.startswith(path.name + ".")]
    return OnnxModel(
        file=Artifact.of_model(path, sha256),
        sha256=sha256,
        opset=get_opset(model),
        ir_version=model.ir_version,
        inputs=tuple(read_info(value) for value in list_inputs(model.graph)),
        outputs=tuple(read_info(value) for value in model.graph.output),
        size_bytes=path.stat().st_size + sum(file.stat().st_size for file in beside),
        nodes=count_nodes(model),
        precision=precision,
        weights=count_weights(model),
        classes=find_classes(model),
    )


def _shorten_error(error: Any) -> str:
    return flatten_words(error, 500) or type(error).__name__
