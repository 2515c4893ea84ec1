"""The messages of the Open Inference Protocol's gRPC form, for sentence.

Their fields are numbered as in open_inference.proto; what they mean is decided in protocol.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import protocol
import wire
from inference import INPUTS, NAME, OUTPUTS, VERSION, Tensor
from protocol import Call, check_inputs
from tensors import DATATYPES, from_bytes, to_bytes
from wire import LENGTH, VARINT, Reader, read_text, write_field

MAX_FIELDS = 64 * 2**10  # of a request, besides the elements of its tensors
EMPTY: Sequence[memoryview] = ()

Message = dict[int, list[memoryview]]

MODEL = {1: (LENGTH,), 2: (LENGTH,)}  # ModelReadyRequest and ModelMetadataRequest: name, version
# ModelInferRequest: model_name, model_version, id, inputs, outputs, raw_input_contents
REQUEST = dict.fromkeys((1, 2, 3, 5, 6, 7), (LENGTH,))
INPUT = {1: (LENGTH,), 2: (LENGTH,), 3: (LENGTH, VARINT), 5: (LENGTH,)}  # name, datatype, shape, contents
OUTPUT = {1: (LENGTH,)}  # name
CONTENTS = {  # InferTensorContents: the field of each datatype, and the kinds of values it may have
    "BYTES": (8, LENGTH),
    "FP32": (6, wire.FIXED32),
}


class UnknownModelError(ValueError):
    """The request is for another model or version."""


def read(body: bytes) -> Call:
    """Read a ModelInferRequest."""
    reader = Reader(MAX_FIELDS)
    request = reader.read(memoryview(body), REQUEST)
    check_model(request)
    raw = request.get(7, EMPTY)
    messages = [reader.read(part, INPUT) for part in request.get(5, EMPTY)]
    inputs = check_inputs([describe_input(message) for message in messages])
    if raw and len(raw) != len(inputs):
        raise ValueError(f"there are {len(inputs)} inputs, and {len(raw)} 'raw_input_contents'")
    arrays = {}
    for index, (name, item) in enumerate(inputs.items()):
        contents = messages[index].get(5, EMPTY)
        try:
            if raw and contents:
                raise ValueError("it has both 'contents' and 'raw_input_contents'")
            dtype, shape = INPUTS[name].dtype, item["shape"]
            if raw:
                arrays[name] = from_bytes(raw[index], dtype, shape)
            else:
                arrays[name] = read_contents(contents, dtype, shape)
        except ValueError as error:
            raise ValueError(f"input {name!r}: {error}") from error
    outputs = [{"name": read_text(reader.read(part, OUTPUT), 1)} for part in request.get(6, EMPTY)]
    wanted = protocol.read_outputs(outputs or None, {"binary_data_output": bool(raw)})
    return Call(arrays, wanted, read_text(request, 3) or None)


def check_model(message: Mapping[int, Sequence[memoryview]]) -> None:
    """Raise UnknownModelError unless a request names this model, and this version or none."""
    name, version = read_text(message, 1), read_text(message, 2)
    if name != NAME or version not in ("", VERSION):
        found = f"{name!r} of version {version!r}"
        raise UnknownModelError(f"there is no model {found}; the model is {NAME!r} of version {VERSION!r}")


def describe_input(message: Message) -> dict[str, Any]:
    """Describe an input of a request as JSON has it, without its data."""
    shape = wire.read_shape(message.get(3, EMPTY))
    return {"name": read_text(message, 1), "datatype": read_text(message, 2), "shape": shape}


def read_contents(parts: Sequence[memoryview], dtype: type[np.generic], shape: list[int]) -> NDArray[Any]:
    """Read the array that a tensor's InferTensorContents hold."""
    datatype = DATATYPES[dtype]
    if datatype not in CONTENTS:
        raise ValueError(f"{datatype} has no contents of its own: use 'raw_input_contents'")
    if len(parts) > 1:
        raise ValueError("it has 'contents' twice")
    number, kind = CONTENTS[datatype]
    count = int(np.prod(shape, dtype=np.int64))
    values: Sequence[memoryview] = EMPTY
    if parts:  # one field for all elements, or one for each
        values = Reader(MAX_FIELDS + count).read(parts[0], {number: (LENGTH, kind)}).get(number, EMPTY)
    if dtype is np.str_:
        texts = (part for value in values for part in (len(value).to_bytes(4, "little"), value))
        return from_bytes(memoryview(b"".join(texts)), dtype, shape)
    data = values[0] if len(values) == 1 else memoryview(b"".join(values))
    return from_bytes(data, dtype, shape)


def write(call: Call, results: dict[str, NDArray[Any]]) -> bytes:
    """Write a ModelInferResponse: raw if the request was."""
    parts = [write_field(1, NAME.encode()), write_field(2, VERSION.encode())]
    if call.id is not None:
        parts.append(write_field(3, call.id.encode()))
    raw: list[bytes] = []
    in_raw = any(call.binary.values())
    for name in call.binary:
        array = results[name]
        output = HEADS[name] + wire.write_shape(3, array.shape)
        if in_raw:
            raw.append(write_field(6, to_bytes(array)))
        else:
            output += write_field(5, write_contents(DATATYPES[OUTPUTS[name].dtype], array))
        parts.append(write_field(5, output))
    return b"".join(parts + raw)


def write_contents(datatype: str, array: NDArray[Any]) -> bytes:
    """Write InferTensorContents."""
    number, kind = CONTENTS[datatype]
    if kind == LENGTH:
        return b"".join(write_field(number, str(text).encode()) for text in array.flat)
    return write_field(number, to_bytes(array))


def describe_model() -> bytes:
    """Write a ModelMetadataResponse."""
    parts = [write_field(1, NAME.encode()), write_field(2, VERSION.encode())]
    parts.append(write_field(3, b"onnxruntime_onnx"))
    for number, tensors in ((4, INPUTS), (5, OUTPUTS)):
        for name, tensor in tensors.items():
            shape: Any = protocol.describe(name, tensor)["shape"]
            parts.append(write_field(number, describe_tensor(name, tensor) + wire.write_shape(3, shape)))
    return b"".join(parts)


def describe_tensor(name: str, tensor: Tensor) -> bytes:
    """Write the name and the datatype, the first fields of everything that describes a tensor."""
    return write_field(1, name.encode()) + write_field(2, DATATYPES[tensor.dtype].encode())


def describe_server() -> bytes:
    """Write a ServerMetadataResponse."""
    return write_field(1, NAME.encode()) + write_field(2, VERSION.encode())


def tell(answer: bool) -> bytes:
    """Write a ServerLiveResponse, ServerReadyResponse or ModelReadyResponse."""
    return wire.write_number(1, answer)


HEADS = {name: describe_tensor(name, tensor) for name, tensor in OUTPUTS.items()}
