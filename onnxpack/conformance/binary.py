"""The extension for tensors in binary, which Triton's documents and KServe's call the binary tensor data extension."""

import math
import struct
from dataclasses import replace
from typing import Any

from onnxpack.conformance.checks import Level, NotOfferedError, check
from onnxpack.conformance.expect import (
    require,
    require_binary,
    require_error,
    require_output,
    require_same,
)
from onnxpack.conformance.server import BINARY, Server, read_outputs
from onnxpack.conformance.tensors import Sample

_REQUEST = "Binary Tensor Request"
_RESPONSE = "Binary Tensor Response"


def _write(sample: Sample, size: Any = None, tail: bytes = b"") -> tuple[dict[str, Any], bytes]:
    """Return a request with all inputs in binary, and its tail; ``size`` and ``tail`` are others of the first input."""
    inputs, parts = [], []
    for index, tensor in enumerate(sample.tensors):
        part = tail if tail and index == 0 else tensor.to_bytes()
        said = size if size is not None and index == 0 else len(part)
        parameters = {**tensor.parameters, "binary_data_size": said}
        inputs.append(tensor.to_json(data=None, parameters=parameters))
        parts.append(part)
    return {"inputs": inputs}, b"".join(parts)


@check("binary.inputs", "all inputs in binary", Level.EXTENSION, _REQUEST)
def check_inputs(server: Server) -> None:
    """Send all tensors in binary, and get all as JSON."""
    server.require_claim(BINARY)
    require_same(read_outputs(server.infer_binary(*_write(server.sample))), server.outputs)


@check("binary.mixed", "one input in binary, the others as JSON", Level.EXTENSION, _REQUEST)
def check_mixed(server: Server) -> None:
    """Send the last tensor alone in binary."""
    server.require_claim(BINARY)
    sample = server.sample
    if len(sample.tensors) < 2:
        raise NotOfferedError("the model has one input")
    document, last = sample.to_json(), sample.tensors[-1]
    part = last.to_bytes()
    document["inputs"][-1] = last.to_json(data=None, parameters={**last.parameters, "binary_data_size": len(part)})
    require_same(read_outputs(server.infer_binary(document, part)), server.outputs)


@check("binary.outputs", "all outputs in binary", Level.EXTENSION, _RESPONSE)
def check_outputs(server: Server) -> None:
    """Ask for outputs in binary, by the parameter of the request."""
    server.require_claim(BINARY)
    document = server.sample.to_json(parameters={"binary_data_output": True})
    require_binary(server.infer(document), server.outputs)


@check("binary.output", "one output in binary", Level.EXTENSION, _RESPONSE)
def check_output(server: Server) -> None:
    """Ask for one output in binary, by its own parameter."""
    server.require_claim(BINARY)
    name, output = next(iter(server.outputs.items()))
    asked = {"name": name, "parameters": {"binary_data": True}}
    require_binary(server.infer(server.sample.to_json(outputs=[asked])), {name: output})


@check("binary.both", "inputs and outputs in binary", Level.EXTENSION, _RESPONSE)
def check_both(server: Server) -> None:
    """Send and ask for all in binary, as Triton's client does by default."""
    server.require_claim(BINARY)
    expected = server.outputs
    document, tail = _write(server.sample)
    document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in expected]
    require_binary(server.infer_binary(document, tail), expected)


@check("binary.output-json", "an output as JSON among those in binary", Level.EXTENSION, _RESPONSE)
def check_output_as_json(server: Server) -> None:
    """Ask for all outputs in binary, and for each as JSON after all."""
    server.require_claim(BINARY)
    outputs = [{"name": name, "parameters": {"binary_data": False}} for name in server.outputs]
    document = server.sample.to_json(outputs=outputs, parameters={"binary_data_output": True})
    require_same(read_outputs(server.infer(document)), server.outputs)


@check("binary.header", "the header where nothing is in binary", Level.EXTENSION, _REQUEST)
def check_header(server: Server) -> None:
    """Send JSON alone, with its length."""
    server.require_claim(BINARY)
    require_same(read_outputs(server.infer_binary(server.sample.to_json(), b"")), server.outputs)


@check("binary.wrong-size", "a size that is not the tensor's", Level.EXTENSION, _REQUEST)
def check_wrong_size(server: Server) -> None:
    """Send sizes that lie, by little, by much, and by their type."""
    server.require_claim(BINARY)
    sample = server.sample
    true = len(sample.tensors[0].to_bytes())
    for size in (true + 1, true - 1, 0 if true else 1, -1, 2**62, str(true), 1.5, None if not true else [true]):
        require_error(server.infer_binary(*_write(sample, size)))


@check("binary.wrong-header", "a length of the JSON that lies", Level.EXTENSION, _REQUEST)
def check_wrong_header(server: Server) -> None:
    """Send lengths beyond the body, in the middle of the JSON, and such that are none."""
    server.require_claim(BINARY)
    document, tail = _write(server.sample)
    for length in (10**6, 2**70, -1, 5, 0, "x", "1e1"):
        require_error(server.infer_binary(document, tail, length))


@check("binary.no-header", "binary data without the header", Level.EXTENSION, _REQUEST)
def check_no_header(server: Server) -> None:
    """Leave out the length of the JSON, and the tail too."""
    server.require_claim(BINARY)
    document, tail = _write(server.sample)
    if tail:
        require_error(server.infer_binary(document, b""))


@check("binary.trailing", "bytes that belong to no input", Level.EXTENSION, _REQUEST)
def check_trailing(server: Server) -> None:
    """Send bytes behind the last tensor, as a client does whose sizes are wrong."""
    server.require_claim(BINARY)
    document, tail = _write(server.sample)
    require_error(server.infer_binary(document, tail + b"more"))


@check("binary.data-too", "an input with data both as JSON and in binary", Level.EXTENSION, _REQUEST)
def check_data_too(server: Server) -> None:
    """Send the first tensor twice."""
    server.require_claim(BINARY)
    document, tail = _write(server.sample)
    document["inputs"][0]["data"] = list(server.sample.tensors[0].data)
    require_error(server.infer_binary(document, tail))


@check("binary.strings", "strings whose lengths lie", Level.EXTENSION, _REQUEST)
def check_strings(server: Server) -> None:
    """Send a string that is longer than its bytes, one too many, one too few, and half a length."""
    server.require_claim(BINARY)
    sample = server.sample
    if sample.tensors[0].datatype != "BYTES":
        at = next((at for at, tensor in enumerate(sample.tensors) if tensor.datatype == "BYTES"), None)
        if at is None:
            raise NotOfferedError("no input has strings")
        order = [sample.tensors[at], *sample.tensors[:at], *sample.tensors[at + 1 :]]
        sample = Sample(tuple(order))
    true = sample.tensors[0].to_bytes()
    for part in (struct.pack("<I", 2**32 - 1) + true[4:], true + struct.pack("<I", 0), b"\0\0", true[:-1]):
        require_error(server.infer_binary(*_write(sample, tail=part)))


@check("binary.not-asked", "nothing in binary that was not asked for", Level.EXTENSION, _RESPONSE)
def check_not_asked(server: Server) -> None:
    """Send inputs in binary: the answer is JSON alone."""
    server.require_claim(BINARY)
    answer = server.infer_binary(*_write(server.sample))
    require(answer.status == 200, "200")
    length = answer.headers.get("inference-header-content-length", str(len(answer.body)))
    require(length == str(len(answer.body)), "an answer that is JSON alone")


@check("binary.nan", "NaN in binary gives an answer that is JSON, or an error", Level.EXTENSION, "RFC 8259, 6")
def check_nan(server: Server) -> None:
    """Send NaN, which binary can hold, and get JSON, which cannot."""
    server.require_claim(BINARY)
    sample = server.sample
    kinds = [tensor.datatype.startswith(("FP", "BF")) and bool(tensor.data) for tensor in sample.tensors]
    if not any(kinds):
        raise NotOfferedError("no input has numbers that are not whole")
    index = kinds.index(True)
    tensors = list(sample.tensors)
    tensors[index] = replace(tensors[index], data=(math.nan,) * len(tensors[index].data))
    answer = server.infer_binary(*_write(Sample(tuple(tensors))))
    require(answer.status == 200 or answer.status >= 400, "200, or an error")
    if answer.status == 200:
        for name, output in read_outputs(answer).items():
            require_output(name, output)
