"""The server that is asked, over HTTP: its address, its model, and what was last said."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn
from urllib.parse import quote

from onnxpack.conformance.checks import FailedError, NotOfferedError
from onnxpack.conformance.tensors import HALVES, Sample, make_samples, read_request
from onnxpack.conformance.wire import Address, Answer, Connection, NoAnswerError, show_bytes

JSON = ("content-type: application/json",)
BINARY = "binary_tensor_data"
"""How a server claims the extension for tensors in binary."""


INDEX = "/v2/repository/index"
"""Where Triton's extension lists the models."""


@dataclass
class Server:
    """A server, and a memory of the last exchange, for the reasons of results."""

    address: Address
    model: str
    seconds: float
    """For one exchange."""
    deadline: float
    """When no further exchange begins, on the monotonic clock."""
    given: Sample | None = None
    """A request that the model takes, if the user has one."""
    sent: str = field(default="", init=False)
    got: str = field(default="", init=False)

    # How it is asked.

    def connect(self) -> Connection:
        """Open a connection."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise NoAnswerError("not asked: the time for all checks is over")
        return Connection(self.address, min(self.seconds, left))

    def ask(self, method: str, path: str, body: bytes = b"", headers: tuple[str, ...] = ()) -> Answer:
        """Ask on a connection of its own."""
        with self.connect() as connection:
            return self.exchange(connection, self.write(method, path, body, headers), method)

    def exchange(self, connection: Connection, data: bytes, method: str = "POST") -> Answer:
        """Send a request as it goes over the wire, and read its answer."""
        self.remember(data)
        connection.send(data)
        answer = connection.receive(method)
        self.got = str(answer)
        return answer

    def remember(self, data: bytes) -> None:
        """Keep what is sent, for the reason of a result."""
        head, _, body = data.partition(b"\r\n\r\n")
        line = head.split(b"\r\n")[0].removesuffix(b" HTTP/1.1")
        self.sent = f"{show_bytes(line)} {show_bytes(body)}".rstrip()
        self.got = ""

    def write(self, method: str, path: str, body: bytes = b"", headers: tuple[str, ...] = ()) -> bytes:
        """Return a request as it goes over the wire."""
        lines = [f"{method} {self.address.prefix}{path} HTTP/1.1", f"host: {self.address.host}:{self.address.port}"]
        if method == "POST":
            lines.append(f"content-length: {len(body)}")
        return "\r\n".join([*lines, *headers, "", ""]).encode() + body

    def infer(self, document: object, *, path: str = "", headers: tuple[str, ...] = JSON) -> Answer:
        """Send a request for a prediction; bytes are sent as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.ask("POST", path or f"{self.path}/infer", body, headers)

    def infer_binary(self, document: object, tail: bytes, header: object = None) -> Answer:
        """Send a request whose tensors follow its JSON; ``header`` is another length of the JSON than the true one."""
        text = json.dumps(document).encode()
        length = len(text) if header is None else header
        headers = ("content-type: application/octet-stream", f"inference-header-content-length: {length}")
        return self.infer(text + tail, headers=headers)

    # What it says of itself.

    @property
    def path(self) -> str:
        """The path of the model."""
        return f"/v2/models/{quote_name(self.model)}"

    @cached_property
    def claims(self) -> tuple[str, ...]:
        """The extensions that it claims."""
        answer = self.ask("GET", "/v2")
        document = read_object(answer) if answer.status == 200 else {}
        extensions = document.get("extensions")
        return tuple(map(str, extensions)) if isinstance(extensions, list) else ()

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the model, if it has any."""
        answer = self.ask("GET", self.path)
        return read_object(answer) if answer.status == 200 else {}

    def list_tensors(self, part: str) -> list[dict[str, Any]]:
        """Return the "inputs" or "outputs" of the metadata; none where they are no list of objects."""
        items = self.metadata.get(part)
        return items if isinstance(items, list) and all(isinstance(item, dict) for item in items) else []

    @property
    def version(self) -> str:
        """A version of the model that may be asked for."""
        versions = self.metadata.get("versions")
        if not isinstance(versions, list) or not versions or not all(isinstance(text, str) for text in versions):
            raise NotOfferedError("the model's metadata name no versions")
        return str(versions[0])

    @property
    def version_path(self) -> str:
        """The path of that version."""
        version = self.version
        if not version:
            raise NotOfferedError("the model's only version has an empty name")
        return f"{self.path}/versions/{quote_name(version)}"

    def list_samples(self) -> Iterator[Sample]:
        """Yield requests that the model may take: the given one, or those that can be made of what the server tells."""
        if self.given:
            yield self.given
            return
        inputs = self.list_tensors("inputs")
        if not inputs:
            raise NotOfferedError("the model's metadata name no inputs: give a request with --input")
        try:
            yield from list(make_samples(inputs))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotOfferedError(f"no request can be made of the model's metadata ({error}): use --input") from error
        if example := self._find_example():
            yield example

    def _find_example(self) -> Sample | None:
        """Return the example in the server's OpenAPI document, if it has one: a model may take certain words alone."""
        answer = self.ask("GET", "/openapi.json")
        if answer.status != 200:
            return None
        with suppress(FailedError, LookupError, TypeError, ValueError, AttributeError):
            asked = read_object(answer)["paths"][f"{self.path}/infer"]["post"]["requestBody"]
            return read_request(asked["content"]["application/json"]["example"])
        return None

    @cached_property
    def _choice(self) -> tuple[Sample, Answer]:
        """A request and its answer, which is an error if the server takes none of those that could be made."""
        for sample in self.list_samples():
            answer = self.infer(sample.to_json())
            if answer.status == 200:
                break
        return sample, answer

    @property
    def any_sample(self) -> Sample:
        """A request of the right form, whether or not the server takes it as JSON."""
        return self._choice[0]

    @property
    def sample(self) -> Sample:
        """A request that the server takes as JSON."""
        sample, answer = self._choice
        if answer.status != 200:
            raise NotOfferedError("no request is known that the model takes: see infer.json")
        return sample

    def require_sample(self) -> Sample:
        """Return the same, or fail: one check is about it, and all others need it."""
        sample, answer = self._choice
        if answer.status == 200:
            return sample
        if any(tensor.datatype in HALVES for tensor in sample.tensors):
            raise NotOfferedError(f"the server takes no FP16 or BF16 as JSON: got {answer}")
        self._recall(sample, answer)
        raise FailedError("expected an answer; where the model refuses zeros, give a request with --input")

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """What the server answers to the sample."""
        sample, answer = self.sample, self._choice[1]
        self._recall(sample, answer)
        return read_outputs(answer)

    def _recall(self, sample: Sample, answer: Answer) -> None:
        """Remember the first prediction again."""
        self.sent = f"POST {self.path}/infer {show_bytes(json.dumps(sample.to_json()).encode())}"
        self.got = str(answer)

    def require_claim(self, *names: str) -> None:
        """Raise NotOfferedError unless one of the extensions is claimed."""
        if not set(names) & set(self.claims):
            raise NotOfferedError(f"the server's extensions are {list(self.claims)}")


def quote_name(name: str) -> str:
    """Return a name as a part of a path. JSON can hold half a character, and so can a name."""
    return quote(name, safe="", errors="surrogatepass")


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def read_json(body: bytes) -> Any:
    """Read strict JSON, as every client can; raise FailedError for anything else."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FailedError(f"expected JSON: {error}") from error


def read_object(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    document = read_json(answer.body)
    if not isinstance(document, dict):
        raise FailedError("expected a JSON object")
    return document


def read_outputs(answer: Answer) -> dict[str, dict[str, Any]]:
    """Return the outputs of a good answer by their names."""
    if answer.status != 200:
        raise FailedError("expected 200")
    outputs = read_object(answer).get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise FailedError("expected 'outputs', a list of objects")
    if not all(isinstance(output.get("name"), str) for output in outputs):
        raise FailedError("expected a 'name' for each output")
    return {output["name"]: output for output in outputs}


def read_index(answer: Answer) -> list[str]:
    """Return the names of the models in Triton's index of them."""
    models = read_json(answer.body)
    if answer.status != 200 or not isinstance(models, list):
        raise FailedError("expected a list of models")
    names = [model.get("name") for model in models if isinstance(model, dict)]
    return [name for name in names if isinstance(name, str)]


def find_model(server: Server) -> str | None:
    """Return the name of the only model that there is, if the server tells it.

    The protocol has no list of models. Triton's extension has; and a server of one model may be named after it.
    """
    try:
        names = set(read_index(server.ask("POST", INDEX, b"{}", JSON)))
    except FailedError:
        names = set()
    if not names:
        answer = server.ask("GET", "/v2")
        try:
            name = read_object(answer).get("name")
        except FailedError:
            return None
        names = {name} if isinstance(name, str) and name else set()
        names = {name for name in names if server.ask("GET", f"/v2/models/{quote_name(name)}").status == 200}
    return names.pop() if len(names) == 1 else None
