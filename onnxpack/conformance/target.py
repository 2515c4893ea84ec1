"""The server that is asked, over gRPC: calls of its service, and requests as messages."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxpack.conformance.checks import FailedError, NotOfferedError
from onnxpack.conformance.messages import SERVICE, load_messages
from onnxpack.conformance.server import Server
from onnxpack.conformance.tensors import HALVES, Sample, Tensor, encode_text, from_bytes
from onnxpack.conformance.wire import NoAnswerError
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.core.text import clean

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""The field of InferTensorContents for each datatype; those of 16 bits have none."""
_SHOWN = 240  # characters of a message in a reason
_SILENT = ("DEADLINE_EXCEEDED", "UNAVAILABLE")


@dataclass(frozen=True)
class Reply:
    """What a call came to: its code, and a message where that is OK, else the reason."""

    code: str
    message: Any = None
    details: str = ""

    def __str__(self) -> str:
        shown = " ".join(str(self.message).split()) if self.code == "OK" else self.details
        return clean(f"{self.code} {shown}".rstrip(), _SHOWN)


@dataclass
class Target:
    """A server over gRPC. It is asked about the same model as over HTTP."""

    server: Server
    channel: Any
    sent: str = field(default="", init=False)
    got: str = field(default="", init=False)
    _choice: tuple[Sample, Reply] | None = field(default=None, init=False)

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.server.model

    def call(self, method: str, request: Any) -> Reply:
        """Call a method of the service."""
        import grpc

        left = self.server.deadline - time.monotonic()
        if left <= 0:
            raise NoAnswerError("not asked: the time for all checks is over")
        self.sent, self.got = clean(f"{method} {' '.join(str(request).split())}".rstrip(), _SHOWN), ""
        response = load_messages()[f"{method}Response"]
        invoke = self.channel.unary_unary(
            f"/{SERVICE}/{method}", request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )  # fmt: skip
        seconds = min(self.server.seconds, left)
        try:
            reply = Reply("OK", invoke(request, timeout=seconds))
        except grpc.RpcError as error:
            reply = Reply(error.code().name, details=error.details() or "")
        self.got = str(reply)
        if reply.code in _SILENT:
            raise NoAnswerError(f"no answer in {seconds:.1f} s" if reply.code == _SILENT[0] else "no connection")
        return reply

    def ask(self, method: str, **fields: Any) -> Reply:
        """Call a method with a request of these fields."""
        return self.call(method, load_messages()[f"{method}Request"](**fields))

    def infer(self, tensors: Sequence[Tensor], *, raw: bool = False, **fields: Any) -> Reply:
        """Ask for a prediction."""
        return self.call("ModelInfer", self.write(tensors, raw=raw, **fields))

    def write(self, tensors: Sequence[Tensor], *, raw: bool = False, **fields: Any) -> Any:
        """Return a request with the tensors as contents, or raw; ``fields`` are others of the request."""
        request = load_messages()["ModelInferRequest"](**{"model_name": self.model, **fields})
        for tensor in tensors:
            try:
                item = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            except (TypeError, ValueError) as error:  # JSON takes names and sizes that a message does not
                raise NotOfferedError(f"the input {tensor.name!r} cannot be in a message: {error}") from error
            if raw:
                request.raw_input_contents.append(tensor.to_bytes())
                continue
            name = CONTENTS.get(tensor.datatype)
            if name:
                texts = tensor.datatype == "BYTES"
                data = [encode_text(value) for value in tensor.data] if texts else tensor.data
                getattr(item.contents, name).extend(data)
        return request

    def _choose(self) -> tuple[Sample, Reply]:
        """Return a request and its reply, which is an error if the server takes none of those that could be made."""
        if self._choice:
            return self._choice
        for sample in self.server.list_samples():
            reply = self.infer(sample.tensors, raw=has_halves(sample.tensors))
            if reply.code == "OK":
                break
        self._choice = sample, reply
        return self._choice

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The inputs of a request that the server takes."""
        sample, reply = self._choose()
        if reply.code != "OK":
            raise NotOfferedError("no request is known that the model takes: see grpc.contents and grpc.raw")
        return sample.tensors

    def require_tensors(self) -> tuple[Tensor, ...]:
        """Return the same, or fail: two checks are about it, and all others need it."""
        sample, reply = self._choose()
        if reply.code != "OK":
            self.got = str(reply)
            raise FailedError("expected an answer; where the model refuses zeros, give a request with --input")
        return sample.tensors

    @property
    def outputs(self) -> dict[str, list[Any]]:
        """What the server answers to it."""
        self.tensors  # noqa: B018 - it fails where there is no answer
        return read_outputs(self._choose()[1])


def has_halves(tensors: Sequence[Tensor]) -> bool:
    """Return whether a tensor can be sent raw alone."""
    return any(tensor.datatype in HALVES for tensor in tensors)


def read_outputs(reply: Reply) -> dict[str, list[Any]]:
    """Return the outputs of a good reply by their names, from its contents or raw."""
    if reply.code != "OK":
        raise FailedError("expected OK")
    raw = list(reply.message.raw_output_contents)
    if raw and len(raw) != len(reply.message.outputs):
        raise FailedError(f"expected raw contents for each of {len(reply.message.outputs)} outputs")
    found: dict[str, list[Any]] = {}
    for index, output in enumerate(reply.message.outputs):
        try:
            values = from_bytes(output.datatype, raw[index]) if raw else _read_contents(output)
        except ValueError as error:
            raise FailedError(f"expected {output.name!r} of {output.datatype}: {error}") from error
        count = math.prod(output.shape)
        if len(values) != count:
            raise FailedError(f"expected {count} elements of {output.name!r}, and there are {len(values)}")
        found[output.name] = values
    return found


def _read_contents(output: Any) -> list[Any]:
    name = CONTENTS.get(output.datatype)
    if name is None:
        raise ValueError("this datatype must be raw")
    values = list(getattr(output.contents, name))
    return [value.decode() for value in values] if output.datatype == "BYTES" else values


def same_as_json(outputs: Mapping[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Return outputs in the form that they have over HTTP."""
    return {name: {"data": values} for name, values in outputs.items()}


@contextlib.contextmanager
def connect(place: str, server: Server) -> Iterator[Target]:
    """Give the server at ``HOST:PORT``.

    Raises:
        SpecError: gRPC is not installed, or this is no place.
        EngineError: nothing answers.
    """
    try:
        import grpc
    except ImportError:
        raise SpecError("grpcio, which speaks gRPC, is not installed", "run `pip install 'onnxpack[grpc]'`") from None
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SpecError(f"{json.dumps(place)} is no place of a server", "write --grpc HOST:PORT")
    channel = grpc.insecure_channel(place)
    with contextlib.closing(channel):
        target = Target(server, channel)
        try:
            target.ask("ServerLive")
        except NoAnswerError as error:
            hint = "start the server, or correct --grpc"
            raise EngineError(f"nothing answers at {place} by gRPC: {error}", hint) from error
        yield target
