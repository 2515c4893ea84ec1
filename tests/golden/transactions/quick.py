"""The usual request, read quickly. All others are left to the careful readers, which say what is wrong.

orjson takes the last of two equal keys without a word. So colons are counted: a text has at least one for
each key, and as many as there are keys only if no key is there twice.
"""

import struct
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from inference import AXES, INPUTS, Tensor
from tensors import DATATYPES, flatten

MAX_BODY = 2**20  # bytes that are read in one go: other threads wait some 3 ms for that
KEYS = 4  # of an input: name, datatype, shape and data
CODES = {
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
}  # for struct, which refuses numbers that do not fit


class Plan(NamedTuple):
    """What an input must be like."""

    datatype: str
    dtype: np.dtype[Any]
    format: str  # of its data for struct, in standard sizes, with a place for their number
    sizes: tuple[range, ...]  # that each axis may have
    axes: tuple[int | str, ...]


def make_plan(tensor: Tensor) -> Plan:
    """Work out what an input must be like."""
    limits = [(size, size) if isinstance(size, int) else AXES[size] for size in tensor.shape]
    sizes = tuple(range(least, greatest + 1) for least, greatest in limits)
    dtype = np.dtype(tensor.dtype)
    return Plan(DATATYPES[tensor.dtype], dtype, f"<%d{CODES[dtype.name]}", sizes, tensor.shape)


PLANS = {name: make_plan(tensor) for name, tensor in INPUTS.items()}


def read(body: bytes | bytearray) -> tuple[dict[str, NDArray[Any]], str | None] | None:
    """Return the inputs and the id of a request for all outputs in JSON; None: look at it carefully."""
    if len(body) > MAX_BODY or b"true" in body or b"false" in body:  # struct takes them for 1 and 0
        return None
    try:
        request = orjson.loads(body)
        inputs, has_id = request["inputs"], "id" in request
        if len(request) != 1 + has_id or (has_id and type(request["id"]) is not str):
            return None
        if len(request) + len(inputs) * KEYS != body.count(b":"):
            return None
        return read_inputs(inputs), request["id"] if has_id else None
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError, struct.error):
        return None


def read_inputs(inputs: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays; whatever is raised means that something is wrong."""
    arrays = {}
    seen: dict[int | str, int] = {}
    for item in inputs:
        plan, shape, data = PLANS[item["name"]], item["shape"], item["data"]
        if item["datatype"] != plan.datatype or len(item) != KEYS or type(data) is not list:
            raise ValueError
        count = 1
        for size, sizes, axis in zip(shape, plan.sizes, plan.axes, strict=True):
            if type(size) is not int or size not in sizes or seen.setdefault(axis, size) != size:
                raise ValueError
            count *= size
        if data and type(data[0]) is list:
            data = flatten(data, shape)
        arrays[item["name"]] = np.ndarray(shape, plan.dtype, struct.pack(plan.format % count, *data))
    if not len(inputs) == len(arrays) == len(PLANS):
        raise ValueError
    return arrays
