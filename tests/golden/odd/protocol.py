"""The Open Inference Protocol, version 2, for odd: JSON to arrays, and arrays to JSON.

Whatever is wrong with a request is a ValueError whose message is for its sender.
"""

import json
import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import INPUTS, NAME, OUTPUTS, VERSION, Model, Tensor, check_names, check_shapes, to_json

DATATYPES: dict[type[np.generic], str] = {
    np.str_: "BYTES",
    np.bool_: "BOOL",
    np.int8: "INT8",
    np.int32: "INT32",
}


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
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def decode(body: bytearray) -> dict[str, Any]:
    """The JSON object that a body holds."""
    try:
        document = json.loads(body.decode())
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"the body is not JSON in UTF-8: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")
    return document


def infer(model: Model, body: bytearray) -> bytes:
    """Answer a request's body with a response's."""
    request = decode(body)
    answer: dict[str, object] = {"model_name": NAME, "model_version": VERSION}
    if "id" in request:
        if not isinstance(request["id"], str):
            raise ValueError("'id' must be a string")
        answer["id"] = request["id"]
    arrays = read_inputs(request.get("inputs"))
    wanted = read_outputs(request.get("outputs"))
    results = model.run(arrays)
    answer["outputs"] = [
        {
            "name": name,
            "datatype": DATATYPES[OUTPUTS[name].dtype],
            "shape": results[name].shape,
            "data": to_json(results[name].ravel()),
        }
        for name in wanted
    ]
    return encode(answer)


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


def read_inputs(items: object) -> dict[str, NDArray[Any]]:
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
            arrays[name] = READERS[dtype](flatten(item.get("data"), shape), dtype).reshape(shape)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"input {name!r}: {error}") from error
    return arrays


def read_outputs(items: object) -> list[str]:
    """The names of the outputs that a request asks for: all of them if it does not say."""
    names = [] if items is None else list(by_name(items, "outputs"))
    for name in names:
        if name not in OUTPUTS:
            raise ValueError(f"there is no output {name!r}; the outputs are {', '.join(map(repr, OUTPUTS))}")
    return names or list(OUTPUTS)


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


def integers(values: list[Any], dtype: type[np.integer[Any]]) -> NDArray[Any]:
    """Whole numbers. One that does not fit the dtype is refused."""
    if not {int}.issuperset(map(type, values)):
        raise ValueError("'data' must hold whole numbers only")
    limits = np.iinfo(dtype)
    if values and not limits.min <= min(values) <= max(values) <= limits.max:
        raise ValueError(f"'data' holds a number that does not fit {DATATYPES[dtype]}")
    return np.array(values, dtype)


def booleans(values: list[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """Truth values: true and false, not 1 and 0."""
    if not {bool}.issuperset(map(type, values)):
        raise ValueError("'data' must hold true and false only")
    return np.array(values, dtype)


def strings(values: list[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """Strings, which must be text: JSON can escape half a character, and UTF-8 cannot hold it."""
    if not {str}.issuperset(map(type, values)):
        raise ValueError("'data' must hold strings only")
    "".join(values).encode()
    return np.array(values, object)


READERS: dict[type[np.generic], Callable[[list[Any], Any], NDArray[Any]]] = {
    np.str_: strings,
    np.bool_: booleans,
    np.int8: integers,
}
