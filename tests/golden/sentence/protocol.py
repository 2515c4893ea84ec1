"""The Open Inference Protocol, version 2, for sentence: requests to arrays, and results to answers.

Whatever is wrong with a request is a ValueError whose message is for its sender.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

import documents
from inference import INPUTS, NAME, OUTPUTS, VERSION, Tensor, check_names, check_shapes
from tensors import DATATYPES, encode, from_bytes, read_data, to_bytes, to_text


@dataclass(slots=True)
class Call:
    """One prediction that a client asks for."""

    arrays: dict[str, NDArray[Any]]  # the inputs: names, dtypes and shapes are checked
    binary: dict[str, bool]  # the outputs to answer with, and whether as binary tensors
    id: str | None


ALL_OUTPUTS = dict.fromkeys(OUTPUTS, False)
START = b'{"model_name":%b,"model_version":%b' % (encode(NAME), encode(VERSION))
HEADS = {
    name: b'{"name":%b,"datatype":%b,"shape":' % (encode(name), encode(DATATYPES[tensor.dtype]))
    for name, tensor in OUTPUTS.items()
}


class Answer(NamedTuple):
    """A response's body; where binary tensors follow its JSON, with the JSON's length."""

    body: bytes
    json_length: int | None = None


def describe_model() -> dict[str, object]:
    """Describe what the model takes and gives."""
    return {
        "name": NAME,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [describe(name, tensor) for name, tensor in INPUTS.items()],
        "outputs": [describe(name, tensor) for name, tensor in OUTPUTS.items()],
    }


def describe(name: str, tensor: Tensor) -> dict[str, object]:
    """Describe one input or output; -1 is an axis of any size."""
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": name, "datatype": DATATYPES[tensor.dtype], "shape": shape}


def read(body: bytes | bytearray, header: bytes | None = None) -> Call:
    """Read a request; ``header`` is its Inference-Header-Content-Length, if it has one."""
    length = len(body) if header is None else read_length(header, len(body))
    request = documents.read(body if length == len(body) else body[:length])
    name = request.get("id")
    if not isinstance(name, str | None) or (name is None and "id" in request):
        raise ValueError("'id' must be a string")
    if name:
        name.encode()  # ValueError for half a character, which JSON can escape and UTF-8 cannot hold
    arrays = read_inputs(request.get("inputs"), memoryview(body)[length:])
    return Call(arrays, read_outputs(request.get("outputs"), get_parameters(request, "the request")), name)


def read_length(header: bytes, size: int) -> int:
    """Return the length of the JSON before binary tensors."""
    if not (header.isdigit() and len(header) < 20 and int(header) <= size):
        text = header.decode("latin-1")
        raise ValueError(f"Inference-Header-Content-Length must be 0 to {size}, the body, got {text!r}")
    return int(header)


def get_parameters(item: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the parameters of a request, an input or an output."""
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ValueError(f"{where}: 'parameters' must be an object")
    return parameters


def write(call: Call, results: dict[str, NDArray[Any]]) -> Answer:
    """Write the response, with each result that was asked for as JSON or, behind all JSON, in binary."""
    outputs: list[bytes] = []
    tail: list[bytes] = []
    for name, binary in call.binary.items():
        array = results[name]
        if binary:
            tail.append(to_bytes(array))
            data = b'"parameters":{"binary_data_size":%d}' % len(tail[-1])
        else:
            data = b'"data":[%b]' % to_text(array.ravel())
        outputs.append(b"%b%b,%b}" % (HEADS[name], encode(array.shape), data))
    start = START if call.id is None else b'%b,"id":%b' % (START, encode(call.id))
    body = b'%b,"outputs":[%b]}' % (start, b",".join(outputs))
    return Answer(b"".join((body, *tail)), len(body)) if tail else Answer(body)


def sort_by_name(items: object, what: str) -> dict[str, dict[str, Any]]:
    """Return a request's list of objects by their names."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{what!r} must be a list of objects")
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        name = item.get("name")
        if not isinstance(name, str) or name in found:
            raise ValueError(f"each of {what!r} must have a 'name' of its own, got {name!r}")
        found[name] = item
    return found


def check_inputs(items: object) -> dict[str, dict[str, Any]]:
    """Return a request's inputs by name; their names, datatypes and shapes fit the model."""
    inputs = sort_by_name(items, "inputs")
    check_names(inputs)
    for name, item in inputs.items():
        datatype, shape = DATATYPES[INPUTS[name].dtype], item.get("shape")
        if item.get("datatype") != datatype:
            raise ValueError(f"input {name!r}: 'datatype' must be {datatype!r}, got {item.get('datatype')!r}")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"input {name!r}: 'shape' must be a list of sizes, got {shape!r}")
    check_shapes({name: item["shape"] for name, item in inputs.items()})
    return inputs


def read_inputs(items: object, binary: memoryview) -> dict[str, NDArray[Any]]:
    """Read the arrays of a request. All shapes are checked before any array is made."""
    inputs = check_inputs(items)
    arrays = {}
    for name, item in inputs.items():
        dtype, shape = INPUTS[name].dtype, item["shape"]
        try:
            if "binary_data_size" in (parameters := get_parameters(item, f"input {name!r}")):
                if "data" in item:
                    raise ValueError("it has both 'data' and 'binary_data_size'")
                part = take(binary, parameters["binary_data_size"])
                binary = binary[len(part) :]
                arrays[name] = from_bytes(part, dtype, shape)
            else:
                arrays[name] = read_data(item.get("data"), dtype, shape)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"input {name!r}: {error}") from error
    if binary:
        raise ValueError(f"{len(binary)} bytes follow that belong to no input")
    return arrays


def take(binary: memoryview, size: object) -> memoryview:
    """Return the next bytes of what follows the JSON."""
    if type(size) is not int or not 0 <= size <= len(binary):
        raise ValueError(f"'binary_data_size' must be 0 to {len(binary)}, the bytes left, got {size!r}")
    return binary[:size]


def read_outputs(items: object, parameters: dict[str, Any]) -> dict[str, bool]:
    """Return the outputs that a request asks for, all by default, and whether in binary."""
    found = {} if items is None else sort_by_name(items, "outputs")
    for name in found:
        if name not in OUTPUTS:
            raise ValueError(f"there is no output {name!r}; the outputs are {', '.join(map(repr, OUTPUTS))}")
    common = parameters.get("binary_data_output", False)
    wanted = dict.fromkeys(found or OUTPUTS, common)
    for name, item in found.items():
        wanted[name] = get_parameters(item, f"output {name!r}").get("binary_data", common)
    if not all(isinstance(binary, bool) for binary in wanted.values()):
        raise ValueError("'binary_data' and 'binary_data_output' must be true or false")
    return wanted
