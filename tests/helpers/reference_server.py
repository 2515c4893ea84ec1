"""A server of the protocol that does all that is checked, in the test's own process, and on wish one thing wrong.

Its model doubles ``x``, and passes ``n``, ``b`` and ``s`` through.
"""

import contextlib
import gzip
import io
import json
import math
import socket
import socketserver
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from onnxpack.conformance.tensors import FORMATS, Tensor, flatten, from_bytes

INPUTS = {"x": ("FP32", [-1, 2]), "n": ("INT8", [-1]), "b": ("BOOL", [-1]), "s": ("BYTES", [-1])}
OUTPUTS = {"y": ("FP32", [-1, 2]), "m": ("INT8", [-1]), "c": ("BOOL", [-1]), "t": ("BYTES", [-1])}
EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics", "model_repository"]
MODEL = "/v2/models/twice"
MAX_HEAD, MAX_BODY = 64 * 2**10, 8 * 2**20


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.answer = Answer(status, {"error": why}, headers)


@dataclass
class Request:
    method: str
    path: str
    version: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Answer:
    """An answer: its document, or with tensors in binary its bytes."""

    status: int = 200
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes | None = None


Change = Callable[[Request, Answer], Answer]


@dataclass(frozen=True)
class Fault:
    """What is wrong: how answers are changed, and what of HTTP is done wrong."""

    change: Change = lambda _, answer: answer
    quirk: str = ""
    seconds: float = 10.0
    """For one answer; less where none will come."""


class Reference(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.inferences = 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def reference(fault: Fault | None = None) -> Iterator[Reference]:
    """A server while the block runs."""
    with Reference(fault or Fault()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Handler(socketserver.BaseRequestHandler):
    """HTTP/1.1."""

    server: Reference
    request: socket.socket

    def handle(self) -> None:
        self.quirk = self.server.fault.quirk
        self.request.settimeout(5)
        stream = self.request.makefile("rb")
        with contextlib.suppress(OSError), stream:
            while self.serve(stream):
                if self.quirk == "no-pipelining":
                    stream.close()
                    stream = self.request.makefile("rb")

    def serve(self, stream: io.BufferedReader) -> bool:
        """Answer one request; return whether another one may follow."""
        request = None
        try:
            request = self.read(stream)
            if request is None:
                return False
            answer = self.route(request)
        except RefusedError as refusal:
            self.send(request, refusal.answer, close=True)
            self.linger(stream)
            return False
        answer = self.server.fault.change(request, answer)
        close = request.headers.get("connection") == "close" or request.version == "HTTP/1.0"
        close = close and self.quirk != "never-closes"
        if self.quirk == "always-closes":
            close = True
        self.send(request, answer, close=close)
        return not close and not (self.quirk == "closes-after-error" and answer.status >= 400)

    def linger(self, stream: io.BufferedReader) -> None:
        """Read on for a moment, so that the client reads why it was refused."""
        self.request.settimeout(0.2)
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_WR)
            while stream.read(65536):
                pass

    def read(self, stream: io.BufferedReader) -> Request | None:
        limit = 2**30 if self.quirk == "endless-head" else MAX_HEAD
        line = stream.readline(limit)
        if not line:
            return None
        try:
            method, path, version = line.decode("ascii").split()
            if self.quirk != "takes-garbage" and version not in ("HTTP/1.0", "HTTP/1.1"):
                raise ValueError(version)
        except ValueError:
            raise RefusedError(500 if self.quirk == "garbage-is-500" else 400, "this is no HTTP") from None
        headers: list[tuple[str, str]] = []
        while line := stream.readline(limit + 1).strip():
            if len(line) > limit:
                raise RefusedError(431, "the headers are too long")
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        if self.quirk != "exact-query":
            path = urlsplit(path).path
        path = path if self.quirk == "exact-slash" else path.rstrip("/")
        request = Request(method, unquote(path), version, dict(headers))
        request.body = self.read_body(stream, request, headers)
        return request

    def read_body(self, stream: io.BufferedReader, request: Request, headers: list[tuple[str, str]]) -> bytes:
        lengths = {value for name, value in headers if name == "content-length"}
        chunked = "transfer-encoding" in request.headers
        if len(lengths) + chunked > 1 and self.quirk != "smuggles":
            raise RefusedError(400, "two lengths")
        length = max(lengths, default="0")
        if not length.isdigit():
            raise RefusedError(400, "no length")
        if int(length) > MAX_BODY and self.quirk != "waits":
            raise RefusedError(413, "the body is too long")
        if request.headers.get("expect") == "100-continue" and self.quirk != "no-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.quirk == "waits" and int(length) > MAX_BODY:
            while stream.read(65536):
                pass
            raise ConnectionError
        if not chunked:
            return stream.read1(int(length)) if self.quirk == "one-read" else stream.read(int(length))
        if self.quirk == "no-chunks":
            raise RefusedError(411, "no chunks")
        body = b""
        while size := int(stream.readline().split(b";")[0], 16):
            body += stream.read(size)
            stream.readline()
        while stream.readline().strip():
            pass
        return body

    def send(self, request: Request | None, answer: Answer, *, close: bool) -> None:
        body = json.dumps(answer.document).encode() if answer.data is None else answer.data
        headers = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
        if close:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        if request and request.method == "HEAD" and self.quirk != "head-with-body":
            body = b""
        self.request.sendall("\r\n".join(lines).encode() + body)

    def route(self, request: Request) -> Answer:
        """Return the answer to a request; errors of the application leave the connection open."""
        try:
            return self.answer(request)
        except RefusedError as refusal:
            return refusal.answer

    def answer(self, request: Request) -> Answer:
        documents = {
            "/v2": {"name": "reference", "version": "1", "extensions": EXTENSIONS},
            "/v2/health/live": {"live": True},
            "/v2/health/ready": {"ready": True},
        }
        for path in (MODEL, f"{MODEL}/versions/1"):
            documents[path] = describe()
            documents[f"{path}/ready"] = {"name": "twice", "ready": True}
        documents[f"{MODEL}/config"] = configure()
        stats = {"name": "twice", "version": "1", "inference_count": self.server.inferences}
        documents[f"{MODEL}/stats"] = {"model_stats": [stats]}
        if request.path in documents:
            if request.method not in ("GET", "HEAD"):
                raise RefusedError(405, "GET only", allow="GET, HEAD")
            return Answer(document=documents[request.path])
        if request.path == "/v2/repository/index":
            return Answer(document=[{"name": "twice", "version": "1", "state": "READY"}])
        if request.path not in (f"{MODEL}/infer", f"{MODEL}/versions/1/infer"):
            raise RefusedError(404, "nothing is here")
        if request.method != "POST":
            raise RefusedError(405, "POST only", allow="POST")
        answer = infer(decode(request), request.headers.get("inference-header-content-length"))
        self.server.inferences += 1
        if "gzip" in request.headers.get("accept-encoding", "") and answer.data is None:
            data = gzip.compress(json.dumps(answer.document).encode())
            return Answer(200, answer.document, {"content-encoding": "gzip"}, data)
        return answer


def describe() -> dict[str, Any]:
    inputs, outputs = (
        [{"name": name, "datatype": datatype, "shape": shape} for name, (datatype, shape) in part.items()]
        for part in (INPUTS, OUTPUTS)
    )
    return {"name": "twice", "versions": ["1"], "platform": "python_lists", "inputs": inputs, "outputs": outputs}


def configure() -> dict[str, Any]:
    inputs, outputs = (
        [{"name": name, "data_type": f"TYPE_{datatype}", "dims": shape} for name, (datatype, shape) in part.items()]
        for part in (INPUTS, OUTPUTS)
    )
    return {"name": "twice", "max_batch_size": 0, "input": inputs, "output": outputs}


def decode(request: Request) -> bytes:
    coding = request.headers.get("content-encoding", "identity")
    if coding == "identity":
        return request.body
    if coding not in ("gzip", "deflate"):
        raise RefusedError(415, "an unknown coding")
    unpacker = zlib.decompressobj(wbits=31 if coding == "gzip" else 15)
    try:
        body = unpacker.decompress(request.body, MAX_BODY)
    except zlib.error as error:
        raise RefusedError(400, str(error)) from error
    if not unpacker.eof:
        raise RefusedError(400, "too long, or not whole")
    return body


def require(condition: object, why: str) -> None:
    if not condition:
        raise RefusedError(400, why)


def read_document(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require(len(dict(pairs)) == len(pairs), "a key twice")
        return dict(pairs)

    def constant(word: str) -> None:
        raise RefusedError(400, word)

    try:
        document = json.loads(text.decode(), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, str(error)) from error
    require(isinstance(document, dict), "no object")
    return dict(document)


def list_named(items: Any) -> dict[str, dict[str, Any]]:
    require(isinstance(items, list) and all(isinstance(item, dict) for item in items), "no list of objects")
    names = [item.get("name") for item in items]
    require(all(isinstance(name, str) for name in names) and len(set(names)) == len(names), "names")
    return dict(zip(names, items, strict=True))


def infer(body: bytes, header: str | None) -> Answer:
    length = len(body)
    if header is not None:
        require(header.isdigit() and int(header) <= len(body), "the length of the JSON")
        length = int(header)
    document, tail = read_document(body[:length]), body[length:]
    require(isinstance(document.get("id", ""), str), "no id")
    found = list_named(document.get("inputs"))
    require(set(found) == set(INPUTS), "the names of inputs")
    tensors = {}
    for name, item in found.items():
        tensors[name], tail = read_tensor(item, tail)
    require(not tail, "bytes behind the last tensor")
    rows = {tensor.shape[0] for tensor in tensors.values()}
    require(len(rows) == 1, "rows")
    x = tensors["x"]
    results = [replace(x, name="y", data=tuple(2 * value for value in x.data))]
    results += [replace(tensors[name], name=new) for name, new in (("n", "m"), ("b", "c"), ("s", "t"))]
    return write_answer(document, results)


def read_tensor(item: dict[str, Any], tail: bytes) -> tuple[Tensor, bytes]:
    datatype, wanted = INPUTS[item["name"]]
    shape, parameters = item.get("shape"), item.get("parameters", {})
    require(item.get("datatype") == datatype, "datatype")
    require(isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape), "shape")
    require(len(shape or ()) == len(wanted) and list(shape or ())[1:] == wanted[1:], "shape")
    require(isinstance(parameters, dict), "parameters")
    shape = list(shape or ())
    if "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        require(type(size) is int and 0 <= size <= len(tail) and "data" not in item, "binary_data_size")
        part, tail = tail[:size], tail[size:]
        try:
            data = from_bytes(datatype, part)
        except ValueError as error:
            raise RefusedError(400, str(error)) from error
        require(datatype == "BYTES" or all(map(math.isfinite, data)), "not finite")
    else:
        require(isinstance(item.get("data"), list), "data")
        nested = any(isinstance(part, list) for part in item["data"])
        require(not nested or all(isinstance(row, list) and len(row) == shape[-1] for row in item["data"]), "ragged")
        values = list(flatten(item["data"]))
        require(len(values) == math.prod(shape), "count")
        data = [read_element(datatype, value) for value in values]
    require(len(data) == math.prod(shape), "count")
    return Tensor(item["name"], datatype, tuple(shape), tuple(data)), tail


def read_element(datatype: str, value: Any) -> Any:
    kinds: dict[str, Any] = {"BYTES": str, "BOOL": bool, "FP32": (int, float), "INT8": int}
    require(isinstance(value, kinds[datatype]) and (datatype == "BOOL" or not isinstance(value, bool)), "element")
    if datatype in FORMATS:
        try:
            return from_bytes(datatype, Tensor("", datatype, (1,), (value,)).to_bytes())[0]
        except Exception as error:
            raise RefusedError(400, str(error)) from error
    return value


def write_answer(document: dict[str, Any], results: list[Tensor]) -> Answer:
    chosen = list_named(document.get("outputs", []))
    require(set(chosen) <= set(OUTPUTS), "the names of outputs")
    common = (document.get("parameters") or {}).get("binary_data_output", False)
    outputs, parts = [], []
    for tensor in results:
        if chosen and tensor.name not in chosen:
            continue
        parameters = chosen.get(tensor.name, {}).get("parameters") or {}
        if parameters.get("binary_data", common):
            parts.append(tensor.to_bytes())
            outputs.append(tensor.to_json(data=None, parameters={"binary_data_size": len(parts[-1])}))
        else:
            outputs.append(tensor.to_json())
    reply: dict[str, Any] = {"model_name": "twice", "model_version": "1", "outputs": outputs}
    if "id" in document:
        reply["id"] = document["id"]
    if not parts:
        return Answer(document=reply)
    text = json.dumps(reply).encode()
    headers = {"inference-header-content-length": str(len(text)), "content-type": "application/octet-stream"}
    return Answer(200, reply, headers, b"".join([text, *parts]))
