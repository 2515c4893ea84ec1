"""The Open Inference Protocol, version 2, for iris: JSON or binary tensors to arrays, and back.

JSON has no NaN and no infinities: they come in and go out as the strings "NaN", "Infinity" and "-Infinity".
Whatever is wrong with a request is a ValueError whose message is for its sender.
"""

import json
import math
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import documents
from documents import Column
from inference import AXES, INPUTS, NAME, OUTPUTS, VERSION, Model, Tensor, check_names, check_shapes, to_json

MAX_ELEMENTS = 8 * 2**10  # that are made text at a time, so that other threads can go on in between

DATATYPES: dict[type[np.generic], str] = {
    np.float32: "FP32",
    np.int64: "INT64",
}
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

Elements = list[Any] | NDArray[Any]
"""What an input's "data" holds, flat; large ones come in parts, packed where all elements are of one kind."""


def metadata() -> dict[str, object]:
    """What the model takes and gives."""
    return {
        "name": NAME,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [describe(name, tensor) for name, tensor in INPUTS.items()],
        "outputs": [describe(name, tensor) for name, tensor in OUTPUTS.items()],
    }


def describe(name: str, tensor: Tensor) -> dict[str, object]:
    """One input or output; -1 is an axis of any size."""
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": name, "datatype": DATATYPES[tensor.dtype], "shape": shape}


def encode(document: object) -> bytes:
    """The document as JSON, in ASCII."""
    return ENCODER.encode(document).encode()


class Answer(NamedTuple):
    """A response's body; where binary tensors follow its JSON, with the JSON's length."""

    body: bytes
    json_length: int | None = None


def infer(model: Model, body: bytes | bytearray, header: bytes | None = None) -> Answer:
    """Answer a request; ``header`` is its Inference-Header-Content-Length, if it has one."""
    length = len(body) if header is None else read_length(header, len(body))
    request = documents.read(body if length == len(body) else body[:length])
    answer: dict[str, object] = {"model_name": NAME, "model_version": VERSION}
    if "id" in request:
        if not isinstance(request["id"], str):
            raise ValueError("'id' must be a string")
        answer["id"] = request["id"]
    arrays = read_inputs(request.get("inputs"), memoryview(body)[length:])
    wanted = read_outputs(request.get("outputs"), parameters_of(request, "the request"))
    results = model.run_checked(arrays)
    return write(answer, {name: results[name] for name in wanted}, wanted)


def read_length(header: bytes, size: int) -> int:
    """The length of the JSON before binary tensors."""
    if not (header.isdigit() and len(header) < 20 and int(header) <= size):
        text = header.decode("latin-1")
        raise ValueError(f"Inference-Header-Content-Length must be 0 to {size}, the body, got {text!r}")
    return int(header)


def parameters_of(item: dict[str, Any], where: str) -> dict[str, Any]:
    """The parameters of a request, an input or an output."""
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ValueError(f"{where}: 'parameters' must be an object")
    return parameters


def write(answer: dict[str, object], results: dict[str, NDArray[Any]], binary: dict[str, bool]) -> Answer:
    """The response, with each result as JSON or, behind all JSON, in binary."""
    if not any(binary.values()) and all(array.size <= MAX_ELEMENTS for array in results.values()):
        items = results.items()
        outputs = [{**describe_array(name, array), "data": to_json(array.ravel())} for name, array in items]
        return Answer(encode({**answer, "outputs": outputs}))
    parts: list[bytes] = []
    tail: list[bytes] = []
    for name, array in results.items():
        output = describe_array(name, array)
        if binary[name]:
            tail.append(to_bytes(array))
            output["parameters"] = {"binary_data_size": len(tail[-1])}
            parts.append(encode(output))
        else:
            parts.append(b'%b,"data":[%b]}' % (encode(output)[:-1], to_text(array.ravel())))
    body = b'%b,"outputs":[%b]}' % (encode(answer)[:-1], b",".join(parts))
    return Answer(b"".join((body, *tail)), len(body)) if any(binary.values()) else Answer(body)


def describe_array(name: str, array: NDArray[Any]) -> dict[str, object]:
    """A result in a response, without its data."""
    return {"name": name, "datatype": DATATYPES[OUTPUTS[name].dtype], "shape": array.shape}


def to_text(array: NDArray[Any]) -> bytes:
    """A flat array's elements as JSON, with commas."""
    if array.size <= MAX_ELEMENTS:
        return encode(to_json(array))[1:-1]
    starts = range(0, array.size, MAX_ELEMENTS)
    return b",".join(encode(to_json(array[start : start + MAX_ELEMENTS]))[1:-1] for start in starts)


def to_bytes(array: NDArray[Any]) -> bytes:
    """An array as the protocol has it in binary: row by row, little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def by_name(items: object, what: str) -> dict[str, dict[str, Any]]:
    """A request's list of objects by their names."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{what!r} must be a list of objects")
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        name = item.get("name")
        if not isinstance(name, str) or name in found:
            raise ValueError(f"each of {what!r} must have a 'name' of its own, got {name!r}")
        found[name] = item
    return found


def read_inputs(items: object, binary: memoryview) -> dict[str, NDArray[Any]]:
    """The arrays of a request. All shapes are checked before any array is made."""
    inputs = by_name(items, "inputs")
    check_names(inputs)
    for name, item in inputs.items():
        datatype, shape = DATATYPES[INPUTS[name].dtype], item.get("shape")
        if item.get("datatype") != datatype:
            raise ValueError(f"input {name!r}: 'datatype' must be {datatype!r}, got {item.get('datatype')!r}")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"input {name!r}: 'shape' must be a list of sizes, got {shape!r}")
    check_shapes({name: item["shape"] for name, item in inputs.items()})
    arrays = {}
    for name, item in inputs.items():
        dtype, shape = INPUTS[name].dtype, item["shape"]
        try:
            if "binary_data_size" in (parameters := parameters_of(item, f"input {name!r}")):
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


def read_data(data: object, dtype: type[np.generic], shape: list[int]) -> NDArray[Any]:
    """The array that "data" holds."""
    read = READERS[dtype]
    if not isinstance(data, Column):
        return read(flatten(data, shape), dtype).reshape(shape)
    if data.size != math.prod(shape):
        raise ValueError(f"the shape {shape} has {math.prod(shape)} elements, and 'data' has {data.size}")
    if len(data.shape) > 1 and data.shape != shape:
        raise ValueError(f"'data' is not nested as the shape {shape} says")
    return np.concatenate([read(part, dtype) for part in data.parts]).reshape(shape)


def take(binary: memoryview, size: object) -> memoryview:
    """The next bytes of what follows the JSON."""
    if type(size) is not int or not 0 <= size <= len(binary):
        raise ValueError(f"'binary_data_size' must be 0 to {len(binary)}, the bytes left, got {size!r}")
    return binary[:size]


def from_bytes(part: memoryview, dtype: type[np.generic], shape: list[int]) -> NDArray[Any]:
    """The array that these bytes are, row by row, little-endian."""
    count = math.prod(shape)
    size = np.dtype(dtype).itemsize
    if len(part) != count * size:
        raise ValueError(f"the shape {shape} takes {count * size} bytes, not {len(part)}")
    # A copy of its own is aligned; where the numbers begin depends on the length of the JSON.
    array = np.frombuffer(bytes(part), np.dtype(dtype).newbyteorder("<"))
    return array.astype(dtype, copy=False).reshape(shape)


def read_outputs(items: object, parameters: dict[str, Any]) -> dict[str, bool]:
    """The names of the outputs that a request asks for, all by default, and whether in binary."""
    found = {} if items is None else by_name(items, "outputs")
    for name in found:
        if name not in OUTPUTS:
            raise ValueError(f"there is no output {name!r}; the outputs are {', '.join(map(repr, OUTPUTS))}")
    common = parameters.get("binary_data_output", False)
    wanted = dict.fromkeys(found or OUTPUTS, common)
    for name, item in found.items():
        wanted[name] = parameters_of(item, f"output {name!r}").get("binary_data", common)
    if not all(isinstance(binary, bool) for binary in wanted.values()):
        raise ValueError("'binary_data' and 'binary_data_output' must be true or false")
    return wanted


def flatten(data: object, shape: list[int]) -> list[Any]:
    """The elements of ``data``, which is flat and row by row, or nested as the shape says."""
    if not isinstance(data, list):
        raise ValueError("'data' must be a list")
    if len(shape) < 2 or list not in set(map(type, data)):
        if len(data) != math.prod(shape):
            raise ValueError(f"the shape {shape} has {math.prod(shape)} elements, and 'data' has {len(data)}")
        return data
    level: list[Any] = [data]
    for size in shape:
        if any(type(part) is not list or len(part) != size for part in level):
            raise ValueError(f"'data' is not nested as the shape {shape} says")
        level = list(chain.from_iterable(level))
    return level


def floats(values: Elements, dtype: type[np.generic]) -> NDArray[Any]:
    """Numbers, and the strings for those that JSON lacks. One that is too large for the dtype is refused."""
    special = 0
    if isinstance(values, list):
        types = set(map(type, values))
        if str in types:
            special = sum(value in NOT_FINITE for value in values if isinstance(value, str))
            values = [NOT_FINITE.get(value, value) if isinstance(value, str) else value for value in values]
            types = set(map(type, values))
        if not types <= {int, float}:
            raise ValueError("'data' must hold numbers only")
    elif values.dtype == np.bool_:
        raise ValueError("'data' must hold numbers only")
    exact = np.array(values, np.float64)
    with np.errstate(over="ignore"):
        array = exact.astype(dtype)
    finite = np.isfinite(array)  # 1e999 is infinite before it is made any dtype
    if finite.sum() != array.size - special if special else not finite.all():
        raise ValueError(f"'data' holds a number that does not fit {DATATYPES[dtype]}")
    return array


READERS: dict[type[np.generic], Callable[[Elements, Any], NDArray[Any]]] = {
    np.float32: floats,
}


def openapi() -> dict[str, object]:
    """The server as an OpenAPI document, with an example that works."""
    problem = {"description": "why not", "content": json_of({"type": "object", "required": ["error"]})}
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": {"oneOf": [tensor_schema(n, t) for n, t in INPUTS.items()]}},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        },
    }
    outputs = {"type": "array", "items": {"oneOf": [tensor_schema(n, t) for n, t in OUTPUTS.items()]}}
    answer = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {"outputs": outputs},
    }
    post = {
        "summary": "a prediction",
        "requestBody": {"required": True, "content": json_of(request, example())},
        "responses": {"200": {"description": "the outputs", "content": json_of(answer)}, "default": problem},
    }
    model = f"/v2/models/{NAME}"
    reads = {
        "/v2": "what this server is",
        "/v2/health/live": "whether it runs",
        "/v2/health/ready": "whether it takes requests",
        model: "what goes in and what comes out",
        f"{model}/ready": "whether this model takes requests",
    }
    paths: dict[str, object] = {
        path: {"get": {"summary": text, "responses": {"200": {"description": text}, "default": problem}}}
        for path, text in reads.items()
    }
    paths[f"{model}/infer"] = {"post": post}
    return {"openapi": "3.1.0", "info": {"title": NAME, "version": VERSION or "0"}, "paths": paths}


def json_of(schema: dict[str, Any], example: object = None) -> dict[str, Any]:
    """The content of a message in JSON."""
    return {"application/json": {"schema": schema, **({} if example is None else {"example": example})}}


def tensor_schema(name: str, tensor: Tensor) -> dict[str, object]:
    """What an input or output looks like in JSON."""
    properties = {
        "name": {"const": name},
        "datatype": {"const": DATATYPES[tensor.dtype]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": len(tensor.shape)},
        "data": {"type": "array"},
    }
    return {"type": "object", "required": ["name", "datatype", "shape"], "properties": properties}


def example() -> dict[str, object] | None:
    """The smallest request, of zeros, unless that is too large to be looked at."""
    inputs = []
    for name, tensor in INPUTS.items():
        shape = [size if isinstance(size, int) else AXES[size][0] for size in tensor.shape]
        zeros = np.zeros(1, tensor.dtype).tolist()
        if math.prod(shape) > MAX_ELEMENTS:
            return None
        data = zeros * math.prod(shape)
        inputs.append({"name": name, "datatype": DATATYPES[tensor.dtype], "shape": shape, "data": data})
    return {"inputs": inputs}
