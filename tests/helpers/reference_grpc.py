"""The reference server over gRPC, on wish with one thing wrong."""

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from reference_server import INPUTS, OUTPUTS, RefusedError, describe, infer

from onnxpack.conformance.messages import SERVICE, load_messages
from onnxpack.conformance.target import CONTENTS
from onnxpack.conformance.tensors import Tensor, from_bytes

Change = Callable[[str, Any, Any], Any]
"""What is wrong: it takes the method, the request and a reply or an error, and gives another one."""
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


class FailedCallError(Exception):
    """A call that ends with an error."""

    def __init__(self, code: str, why: str = "no") -> None:
        super().__init__(why)
        self.code = grpc.StatusCode[code]


def answer(method: str, request: Any) -> Any:
    """Return the reply to a request; raise FailedCallError for an error."""
    messages = load_messages()
    reply = messages[f"{method}Response"]()
    if method.startswith("Model"):
        name = request.model_name if method == "ModelInfer" else request.name
        version = request.model_version if method == "ModelInfer" else request.version
        if name != "twice" or version not in ("", "1"):
            raise FailedCallError("NOT_FOUND")
    if method == "ServerLive":
        reply.live = True
    elif method.endswith("Ready"):
        reply.ready = True
    elif method == "ServerMetadata":
        reply.name, reply.version = "reference", "1"
    elif method == "ModelMetadata":
        described = describe()
        reply.name, reply.platform = "twice", described["platform"]
        for part in ("inputs", "outputs"):
            for item in described[part]:
                getattr(reply, part).add(**item)
    else:
        predict(request, reply)
    return reply


def predict(request: Any, reply: Any) -> None:
    raw = list(request.raw_input_contents)
    try:
        if raw and (len(raw) != len(request.inputs) or any(item.HasField("contents") for item in request.inputs)):
            raise ValueError("raw contents")
        inputs = []
        for index, item in enumerate(request.inputs):
            if item.name not in INPUTS or item.datatype not in CONTENTS:
                raise ValueError(item.name)
            data = (
                from_bytes(item.datatype, raw[index]) if raw else list(getattr(item.contents, CONTENTS[item.datatype]))
            )
            texts = [value.decode() if isinstance(value, bytes) else value for value in data]
            inputs.append(Tensor(item.name, item.datatype, tuple(item.shape), tuple(texts)).to_json())
        names = [{"name": item.name} for item in request.outputs]
        document = infer(json.dumps({"inputs": inputs, "outputs": names}).encode(), None).document
    except (ValueError, RefusedError) as error:
        raise FailedCallError("INVALID_ARGUMENT", str(error)) from error
    reply.model_name, reply.model_version, reply.id = "twice", "1", request.id
    for output in document["outputs"]:
        item = reply.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        texts = output["datatype"] == "BYTES"
        data = [text.encode() for text in output["data"]] if texts else output["data"]
        getattr(item.contents, CONTENTS[OUTPUTS[output["name"]][0]]).extend(data)

    return json.dumps(document).encode()


@contextlib.contextmanager
def reference_grpc(change: Change | None = None) -> Iterator[str]:
    """Give the place of a server while the block runs."""

    def handler(method: str) -> Any:
        def handle(request: Any, context: Any) -> Any:
            try:
                try:
                    reply = answer(method, request)
                except FailedCallError as error:
                    reply = error
                reply = change(method, request, reply) if change else reply
                if isinstance(reply, FailedCallError):
                    raise reply
            except FailedCallError as error:
                context.abort(error.code, str(error))
            return reply

        request_class = load_messages()[f"{method}Request"]
        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_class.FromString,
            response_serializer=lambda reply: reply.SerializeToString(),
        )

    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {method: handler(method) for method in METHODS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
