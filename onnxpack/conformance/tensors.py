"""Tensors of requests: what the metadata ask for, as JSON and in binary."""

import base64
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnxpack.bundle.tiny_pictures import make_picture
from onnxpack.core.errors import Location, Problem, SpecError

FORMATS = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
"""How the struct module writes one element of a datatype of one size. BYTES has none."""
DATATYPES = (*FORMATS, "BYTES")
HALVES = ("FP16", "BF16")
"""Datatypes that a server may take in binary alone."""
LIMITS: dict[str, tuple[float, float]] = {
    "FP16": (-65504.0, 65504.0),
    "BF16": (-3.3895313892515355e38, 3.3895313892515355e38),
    "FP32": (-3.4028234663852886e38, 3.4028234663852886e38),
    "FP64": (-1.7976931348623157e308, 1.7976931348623157e308),
}
"""The least and the largest finite value of each datatype that is not of whole numbers."""
MAX_ELEMENTS = 1_000_000  # of a tensor that is made here
_SIDE = 64  # pixels of a picture that is made here
_PICTURES = ("/9j/", "iVBORw0KGgo", "UklGR", "Qk")
"""How base64 of a JPEG, PNG, WebP or BMP begins."""
_SAMPLE_SIZE = 16 * 2**20  # bytes of a file with a request


@dataclass(frozen=True)
class Tensor:
    """An input of a request, with its elements in one row."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: tuple[Any, ...]
    parameters: dict[str, Any] = field(default_factory=dict)

    def to_json(self, **changes: Any) -> dict[str, Any]:
        """Return the tensor as a request has it; a change to None leaves a member out."""
        document: dict[str, Any] = {"name": self.name, "shape": list(self.shape), "datatype": self.datatype}
        if self.parameters:
            document["parameters"] = self.parameters
        document["data"] = list(self.data)
        return {key: value for key, value in {**document, **changes}.items() if value is not None}

    def nest(self) -> Any:
        """Return the data nested as the shape says."""
        return _nest(self.data, self.shape)

    def to_bytes(self) -> bytes:
        """Return the data in binary: little-endian, each string behind its length."""
        if self.datatype == "BF16":
            return b"".join(struct.pack("<f", value)[2:] for value in self.data)
        if self.datatype in FORMATS:
            return struct.pack(f"<{len(self.data)}{FORMATS[self.datatype]}", *self.data)
        texts = [encode_text(text) for text in self.data]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def encode_text(text: str) -> bytes:
    """Return a string as bytes; a picture, which JSON has as base64, as its own."""
    if not text.startswith(_PICTURES):
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()


def _nest(data: tuple[Any, ...], shape: tuple[int, ...]) -> list[Any]:
    if len(shape) < 2:
        return list(data)
    step = len(data) // (shape[0] or 1)
    return [_nest(data[at * step : (at + 1) * step], shape[1:]) for at in range(shape[0])]


@dataclass(frozen=True)
class Sample:
    """A request that the model answers."""

    tensors: tuple[Tensor, ...]

    def to_json(self, **changes: Any) -> dict[str, Any]:
        """Return the request; ``changes`` are other members of it."""
        return {"inputs": [tensor.to_json() for tensor in self.tensors], **changes}

    def change(self, index: int, **changes: Any) -> dict[str, Any]:
        """Return the request with other members of one input."""
        inputs = [tensor.to_json() for tensor in self.tensors]
        inputs[index] = self.tensors[index].to_json(**changes)
        return {"inputs": inputs}


def make_samples(inputs: Sequence[dict[str, Any]]) -> Iterator[Sample]:
    """Yield requests for what the metadata say, axes of any size being 1.

    The first one has zeros and ones in turn, so that an order shows; the second one zeros, which more models take.
    Where strings may be whole files, two more have pictures in their place.
    """
    for values in ((0, 1), (0, 0)):
        sample = Sample(tuple(_make_tensor(item, values) for item in inputs))
        yield sample
    if not any(tensor.datatype == "BYTES" for tensor in sample.tensors):
        return
    for form in ("jpeg", "png"):
        picture = base64.b64encode(make_picture(form, _SIDE, _SIDE)).decode()
        yield Sample(tuple(_show_picture(tensor, picture) for tensor in sample.tensors))


def _show_picture(tensor: Tensor, picture: str) -> Tensor:
    return replace(tensor, data=(picture,) * len(tensor.data)) if tensor.datatype == "BYTES" else tensor


def _make_tensor(item: dict[str, Any], values: tuple[int, int]) -> Tensor:
    """Make one tensor; raise ValueError if the metadata are not such that it can be made."""
    shape = tuple(1 if size == -1 else size for size in item["shape"])
    if not isinstance(item["name"], str) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"the input {item['name']!r} has no name or no shape")
    if math.prod(shape) > MAX_ELEMENTS or max(shape, default=0) > MAX_ELEMENTS:
        raise ValueError(f"the input {item['name']!r} has more than {MAX_ELEMENTS} elements")
    kinds: dict[str, Any] = {"BOOL": bool, "BYTES": "ab".__getitem__}
    kind = kinds.get(item["datatype"], float if item["datatype"].startswith(("FP", "BF")) else int)
    data = tuple(kind(values[index % 2]) for index in range(math.prod(shape)))
    return Tensor(item["name"], item["datatype"], shape, data)


def read_sample(path: Path) -> Sample:
    """Read a request from a file.

    Raises:
        SpecError: it is not one.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_SAMPLE_SIZE + 1)
        if len(text) > _SAMPLE_SIZE:
            raise ValueError("it is larger than 16 MiB")
        return read_request(json.loads(text))
    except (ValueError, RecursionError) as error:
        hint = 'write {"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}'
        raise SpecError(Problem(f"this is no inference request: {error}", hint, Location(str(path)))) from error


def read_request(document: Any) -> Sample:
    """Return a request from its JSON; raise ValueError if it is none."""
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list) or not document["inputs"]:
        raise ValueError("it has no list of 'inputs'")
    return Sample(tuple(_read_tensor(item) for item in document["inputs"]))


def _read_tensor(item: Any) -> Tensor:
    if not isinstance(item, dict):
        raise ValueError("an input is no object")
    name, datatype, shape = item.get("name"), item.get("datatype"), item.get("shape")
    if not isinstance(name, str) or datatype not in (*DATATYPES, "BF16"):
        raise ValueError(f"the input {name!r} has the datatype {datatype!r}")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size <= MAX_ELEMENTS for size in shape):
        raise ValueError(f"the input {name!r} has the shape {shape!r}")
    parameters = item.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ValueError(f"the parameters of {name!r} are no object")
    tensor = Tensor(name, datatype, tuple(shape), tuple(flatten(item.get("data"))), parameters)
    if len(tensor.data) != math.prod(shape):
        raise ValueError(f"the input {name!r} has {len(tensor.data)} elements, and its shape {math.prod(shape)}")
    kind = {"BOOL": bool, "BYTES": str}.get(datatype)
    if kind and not all(isinstance(value, kind) for value in tensor.data):
        raise ValueError(f"the data of {name!r} are not of {datatype}")
    try:
        tensor.to_bytes()
    except (struct.error, OverflowError, TypeError) as error:
        raise ValueError(f"the data of {name!r} are not of {datatype}: {error}") from error
    return tensor


def list_extremes(datatype: str) -> tuple[Any, ...]:
    """Return the least and the largest value of a datatype; for strings, odd ones."""
    if datatype in LIMITS:
        return LIMITS[datatype]
    if datatype in FORMATS and datatype != "BOOL":
        bits = 8 * struct.calcsize(FORMATS[datatype])
        return (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return (False, True) if datatype == "BOOL" else ("", "\0", "ä ✓", '"\\', "x" * 10_000)


def flatten(data: Any) -> Iterator[Any]:
    """Yield the elements of nested lists, row by row, however deep they are."""
    open_lists = [iter([data])]
    while open_lists:
        for item in open_lists[-1]:
            if isinstance(item, list):
                open_lists.append(iter(item))
                break
            yield item
        else:
            open_lists.pop()


def from_bytes(datatype: str, part: bytes) -> list[Any]:
    """Read a tensor in binary.

    Raises:
        ValueError: its size fits no number of elements.
    """
    size = 2 if datatype == "BF16" else struct.calcsize(FORMATS.get(datatype, "b"))
    if len(part) % size:
        raise ValueError(f"{len(part)} bytes are no whole number of {datatype}")
    if datatype == "BF16":
        return [struct.unpack("<f", b"\0\0" + part[at : at + 2])[0] for at in range(0, len(part), 2)]
    if datatype in FORMATS:
        return [value for (value,) in struct.iter_unpack(f"<{FORMATS[datatype]}", part)]
    texts: list[Any] = []
    at = 0
    while at < len(part):
        length = int.from_bytes(part[at : at + 4], "little")
        if at + 4 + length > len(part):
            raise ValueError(f"string {len(texts)} ends behind the last of {len(part)} bytes")
        texts.append(part[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return texts
