"""Calls of a generated server over gRPC, with messages that protobuf's own compiler made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import numpy as np
import open_inference_pb2 as messages
from serving import Server

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/Check"
FIELDS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
DTYPES = {
    "BOOL": "?", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "UINT8": "<u1", "UINT16": "<u2",
    "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


@contextlib.contextmanager
def calling(server: Server, **options: int) -> Iterator[grpc.Channel]:
    """A channel of its own: with the same options gRPC would share a connection."""
    pairs = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=[*pairs, *options.items()]) as channel:
        yield channel


def call(channel: grpc.Channel, method: str, request: Any, **options: Any) -> Any:
    """Call a method of the protocol, with a message or with any bytes."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    ask = channel.unary_unary(f"{SERVICE}{method}")
    response = getattr(messages, f"{method}Response")
    return response.FromString(ask(data, **{"timeout": 30, "wait_for_ready": True, **options}))


def refuse(channel: grpc.Channel, method: str, request: Any, **options: Any) -> tuple[str, str]:
    """The status and the message of a call that fails."""
    try:
        answer = call(channel, method, request, **options)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError(f"it was answered: {answer}")


def make_request(
    model: str, arrays: Mapping[str, tuple[str, Any]], raw: bool = False, **fields: Any
) -> messages.ModelInferRequest:
    """A request with arrays, each with its datatype, in one of the two forms."""
    request = messages.ModelInferRequest(model_name=model, **fields)
    for name, (datatype, values) in arrays.items():
        array = np.asarray(values)
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            request.raw_input_contents.append(pack(datatype, array))
        else:
            elements = [text.encode() for text in array.flat] if datatype == "BYTES" else array.ravel().tolist()
            getattr(tensor.contents, FIELDS[datatype]).extend(elements)
    return request


def pack(datatype: str, array: Any) -> bytes:
    """An array as the protocol has it in binary."""
    if datatype == "BYTES":
        texts = [text.encode() for text in array.flat]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return np.asarray(array, DTYPES[datatype]).tobytes()


def read_answer(answer: messages.ModelInferResponse) -> dict[str, Any]:
    """The arrays of an answer, whose form must be one of the two, and the same for all."""
    assert len(answer.raw_output_contents) in (0, len(answer.outputs))
    found = {}
    for index, tensor in enumerate(answer.outputs):
        assert tensor.datatype in DTYPES | FIELDS
        if answer.raw_output_contents:
            assert not tensor.HasField("contents")
            data = answer.raw_output_contents[index]
            values = unpack(data) if tensor.datatype == "BYTES" else np.frombuffer(data, DTYPES[tensor.datatype])
        else:
            used = [field.name for field, _ in tensor.contents.ListFields()]
            assert used in ([], [FIELDS[tensor.datatype]])
            values = list(getattr(tensor.contents, FIELDS[tensor.datatype]))
            values = [text.decode() for text in values] if tensor.datatype == "BYTES" else values
        dtype = object if tensor.datatype == "BYTES" else DTYPES[tensor.datatype]
        found[tensor.name] = np.array(values, dtype).reshape(list(tensor.shape))
    return found


def unpack(data: bytes) -> list[str]:
    """Strings, each behind its length."""
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : end].decode())
        at = end
    return found
