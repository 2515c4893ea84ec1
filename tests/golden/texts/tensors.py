"""Arrays from JSON or bytes and back, as the Open Inference Protocol has them.

JSON has no NaN and no infinities: they come in and go out as the strings "NaN", "Infinity" and "-Infinity".
Whatever is wrong is a ValueError whose message is for the sender.
"""

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from documents import Column
from inference import to_json

MAX_ELEMENTS = 2**18  # that are made text at a time, in some 6 ms, so that other threads go on in between

DATATYPES: dict[type[np.generic], str] = {
    np.str_: "BYTES",
    np.float32: "FP32",
}
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

Elements = list[Any] | NDArray[Any]
"""What an input's "data" holds, flat; large ones come in parts, packed where all elements are of one kind."""


def encode(document: object) -> bytes:
    """Write a document as JSON."""
    return orjson.dumps(document)


def to_text(array: NDArray[Any]) -> bytes:
    """Write a flat array's elements as JSON, with commas."""
    if array.size <= MAX_ELEMENTS:
        return write_elements(array)
    starts = range(0, array.size, MAX_ELEMENTS)
    return b",".join(write_elements(array[start : start + MAX_ELEMENTS]) for start in starts)


def write_elements(array: NDArray[Any]) -> bytes:
    """Write a flat array's elements in one go."""
    return dump(array)[1:-1]


def to_nested(array: NDArray[Any]) -> bytes:
    """Write an array as JSON: nested lists, or an element that is all there is."""
    if array.ndim == 0:
        return write_elements(array.reshape(1))
    if array.size <= MAX_ELEMENTS:
        return dump(np.ascontiguousarray(array))
    return b"[%b]" % (to_text(array) if array.ndim == 1 else b",".join(map(to_nested, array)))


def dump(array: NDArray[Any]) -> bytes:
    """Write an array as nested lists in one go."""
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return encode(to_json(array)) if b"null" in text else text  # for NaN and infinities


def to_bytes(array: NDArray[Any]) -> bytes:
    """Write an array as the protocol has it in binary: row by row, little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def read_data(data: object, dtype: type[np.generic], shape: list[int]) -> NDArray[Any]:
    """Read the array that "data" holds."""
    read = READERS[dtype]
    if not isinstance(data, Column):
        return read(flatten(data, shape), dtype).reshape(shape)
    if data.size != math.prod(shape):
        raise ValueError(f"the shape {shape} has {math.prod(shape)} elements, and 'data' has {data.size}")
    if len(data.shape) > 1 and data.shape != shape:
        raise ValueError(f"'data' is not nested as the shape {shape} says")
    return np.concatenate([read(part, dtype) for part in data.parts]).reshape(shape)


def from_bytes(part: memoryview, dtype: type[np.generic], shape: list[int]) -> NDArray[Any]:
    """Read the array that these bytes are, row by row, little-endian."""
    count = math.prod(shape)
    if dtype is np.str_:
        return texts_from_bytes(part, count).reshape(shape)
    size = np.dtype(dtype).itemsize
    if len(part) != count * size:
        raise ValueError(f"the shape {shape} takes {count * size} bytes, not {len(part)}")
    array = np.frombuffer(part, np.dtype(dtype).newbyteorder("<")).astype(dtype, copy=False)
    # Where the numbers begin depends on the length of the JSON: a model may need them aligned.
    return np.require(array, requirements="A").reshape(shape)


def texts_from_bytes(part: memoryview, count: int) -> NDArray[Any]:
    """Read strings, each behind its length in four bytes."""
    texts: list[str] = []
    at = 0
    while at < len(part) and len(texts) < count:
        end = at + 4 + int.from_bytes(part[at : at + 4], "little")
        if at + 4 > len(part) or end > len(part):
            raise ValueError(f"string {len(texts)} ends behind the last of its {len(part)} bytes")
        texts.append(bytes(part[at + 4 : end]).decode())
        at = end
    if len(texts) != count or at != len(part):
        found = f"{len(texts)} strings in {at} of {len(part)} bytes"
        raise ValueError(f"there must be {count} strings, each behind its length, and there are {found}")
    return np.array(texts, object)


def flatten(data: object, shape: list[int]) -> list[Any]:
    """Return the elements of ``data``, which is flat and row by row, or nested as the shape says."""
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


def read_floats(values: Elements, dtype: type[np.generic]) -> NDArray[Any]:
    """Read numbers, and the strings for those that JSON lacks; refuse what is too large for the dtype."""
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


def read_strings(values: Elements, dtype: type[np.generic]) -> NDArray[Any]:
    """Read strings, which must be text: JSON can escape half a character, and UTF-8 cannot hold it."""
    if not isinstance(values, list) or not {str}.issuperset(map(type, values)):
        raise ValueError("'data' must hold strings only")
    "".join(values).encode()
    return np.array(values, object)


READERS: dict[type[np.generic], Callable[[Elements, Any], NDArray[Any]]] = {
    np.str_: read_strings,
    np.float32: read_floats,
}
