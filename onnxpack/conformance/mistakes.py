"""Requests that must be refused: each is a mistake of a client's."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onnxpack.conformance.checks import Check, Level, NotOfferedError, check
from onnxpack.conformance.expect import require, require_error, require_no_failure, require_refusal
from onnxpack.conformance.health import UNKNOWN
from onnxpack.conformance.server import Server
from onnxpack.conformance.tensors import Sample

_REQUEST = "Inference Request JSON Object"
_INPUT = "Request Input"
_DATA = "Tensor Data"
_WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
_DEPTH = 100_000


@dataclass(frozen=True)
class Mistake:
    """A request that is wrong in one way; ``make`` gives its document, or its bytes."""

    id: str
    title: str
    level: Level
    section: str
    make: Callable[[Sample], Any]

    def to_check(self) -> Check[Server]:
        """Return the check that the mistake is refused."""

        def send(server: Server) -> None:
            require_error(server.infer(self.make(server.sample)))

        return Check(self.id, self.title, self.level, self.section, send)


def _require(name: str, title: str, section: str, make: Callable[[Sample], Any]) -> Mistake:
    return Mistake(f"refuse.{name}", title, Level.REQUIRED, section, make)


def _expect(name: str, title: str, section: str, make: Callable[[Sample], Any]) -> Mistake:
    return Mistake(f"refuse.{name}", title, Level.ROBUSTNESS, section, make)


def _find(sample: Sample, *datatypes: str) -> int:
    """Return the index of an input with data of one of the datatypes, all where none is named."""
    for index, tensor in enumerate(sample.tensors):
        if tensor.data and (not datatypes or tensor.datatype in datatypes):
            return index
    raise NotOfferedError(f"no input has data of {' or '.join(datatypes) or 'any kind'}")


def _reshape(sample: Sample, change: Callable[[list[int]], list[Any]]) -> dict[str, Any]:
    """Return a request with another shape of its first input that has one, and the same data."""
    for index, tensor in enumerate(sample.tensors):
        if tensor.shape:
            return sample.change(index, shape=change(list(tensor.shape)))
    raise NotOfferedError("no input has axes")


def _enlarge(sample: Sample) -> dict[str, Any]:
    """Return a request that is one larger in the last axis of its first input, with data for it."""
    for index, tensor in enumerate(sample.tensors):
        if len(tensor.shape) > 1 and tensor.data:
            shape = (*tensor.shape[:-1], tensor.shape[-1] + 1)
            return sample.change(index, shape=shape, data=[tensor.data[0]] * math.prod(shape))
    raise NotOfferedError("no input has two axes")


def _add_axes(sample: Sample) -> dict[str, Any]:
    tensor = sample.tensors[0]
    return sample.change(0, shape=[1, 1, *tensor.shape])


def _shorten_row(sample: Sample) -> dict[str, Any]:
    """Return a request whose data are nested, and one row too short."""
    for index, tensor in enumerate(sample.tensors):
        if len(tensor.shape) > 1 and tensor.data and tensor.shape[-1] > 1:
            rows = tensor.nest()
            row = rows
            while isinstance(row[0], list):
                row = row[0]
            row.pop()
            return sample.change(index, data=rows)
    raise NotOfferedError("no input has rows")


def _repeat_input(sample: Sample) -> dict[str, Any]:
    inputs = sample.to_json()["inputs"]
    return {"inputs": [*inputs, inputs[0]]}


def _add_input(sample: Sample) -> dict[str, Any]:
    more = {"name": UNKNOWN, "shape": [1], "datatype": "FP32", "data": [0.0]}
    return {"inputs": [*sample.to_json()["inputs"], more]}


def _exceed_range(sample: Sample) -> dict[str, Any]:
    """Return a request with a whole number that no datatype holds."""
    index = _find(sample, *_WHOLE)
    return sample.change(index, data=[2**70, *sample.tensors[index].data[1:]])


def _swap_datatype(sample: Sample) -> dict[str, Any]:
    index = _find(sample)
    text = sample.tensors[index].datatype == "BYTES"
    data = [0] * len(sample.tensors[index].data)
    return sample.change(index, datatype="INT64" if text else "BYTES", data=data if text else ["a" for _ in data])


def _repeat_key(sample: Sample) -> bytes:
    text = json.dumps(sample.to_json())
    return f'{{"inputs": [], {text[1:]}'.encode()


def _write_nan(sample: Sample) -> dict[str, Any]:
    index = _find(sample, "FP16", "BF16", "FP32", "FP64")
    return sample.change(index, data=[math.nan] * len(sample.tensors[index].data))


MISTAKES = (
    _require("json", "a body that ends in the middle", "RFC 8259", lambda s: json.dumps(s.to_json()).encode()[:-5]),
    _require("empty-body", "an empty body", _REQUEST, lambda _: b""),
    _require("list", "a body that is a list", _REQUEST, lambda _: []),
    _require("no-inputs", "no 'inputs'", _REQUEST, lambda _: {"id": "1"}),
    _require("empty-inputs", "an empty list of 'inputs'", _REQUEST, lambda _: {"inputs": []}),
    _require("inputs-object", "'inputs' that are no list", _REQUEST, lambda s: {"inputs": s.to_json()["inputs"][0]}),
    _require("missing-input", "an input is missing", "Model Metadata",
              lambda s: {"inputs": s.to_json()["inputs"][1:]}),
    _require("input-name", "an input that the model does not have", "Model Metadata",
              lambda s: s.change(0, name=UNKNOWN)),
    _require("no-name", "an input without a name", _INPUT, lambda s: s.change(0, name=None)),
    _require("no-shape", "an input without a shape", _INPUT, lambda s: s.change(0, shape=None)),
    _require("no-datatype", "an input without a datatype", _INPUT, lambda s: s.change(0, datatype=None)),
    _require("no-data", "an input without data", _INPUT, lambda s: s.change(_find(s), data=None)),
    _require("datatype", "a datatype that there is not", "Tensor Data Types", lambda s: s.change(0, datatype="FP99")),
    _require("output", "an output that the model does not have", "Request Output",
              lambda s: s.to_json(outputs=[{"name": UNKNOWN}])),
    _require("negative-size", "a shape with -1", _INPUT, lambda s: _reshape(s, lambda shape: [-1, *shape[1:]])),
    _require("fraction-size", "a shape with 1.5", _INPUT, lambda s: _reshape(s, lambda shape: [1.5, *shape[1:]])),
    _expect("text-size", "a shape with a string", _INPUT, lambda s: _reshape(s, lambda shape: ["1", *shape[1:]])),
    _require("huge-size", "a shape with 2^60, and data of the true size", _DATA,
              lambda s: _reshape(s, lambda shape: [2**60, *shape[1:]])),
    _require("overflow", "a shape whose product is 2^64 times the true one", _DATA,
              lambda s: _reshape(s, lambda shape: [2**64 * (shape[0] or 1), *shape[1:]])),
    _require("rank", "a shape with two axes more than the model's", "Model Metadata", _add_axes),
    _require("short", "one element too few", _DATA,
              lambda s: s.change(at := _find(s), data=list(s.tensors[at].data[1:]))),
    _require("long", "one element too many", _DATA,
              lambda s: s.change(at := _find(s), data=[*s.tensors[at].data, s.tensors[at].data[0]])),
    _require("overlong", "a hundred thousand elements too many", _DATA,
              lambda s: s.change(at := _find(s), data=[*s.tensors[at].data, *[s.tensors[at].data[0]] * 100_000])),
    _require("ragged", "nested data with a row that is too short", _DATA, _shorten_row),
    _expect("utf8", "a body that is no UTF-8", "RFC 8259, 8.1", lambda s: json.dumps(s.to_json(id="\udc80")).encode()
            .replace(b"\\udc80", b"\x80")),
    _expect("nan", "a bare NaN", "RFC 8259, 6", _write_nan),
    _expect("duplicate-key", "a key twice in one object", "RFC 8259, 4: readers differ in what they take", _repeat_key),
    _expect("depth", f"a body nested {_DEPTH:,} deep", "RFC 8259, 9", lambda _: b'{"inputs":' + b"[" * _DEPTH),
    _expect("duplicate-input", "an input twice", _REQUEST, _repeat_input),
    _expect("extra-input", "an input more than the model has", "Model Metadata", _add_input),
    _expect("other-datatype", "another datatype than the model's", "Model Metadata", _swap_datatype),
    _expect("range", "a whole number that the datatype does not hold", "Tensor Data Types", _exceed_range),
)  # fmt: skip
"""All mistakes that are made in a request's body."""


@check("refuse.model", "a prediction of a model that is not there", Level.REQUIRED, "Inference")
def check_unknown_model(server: Server) -> None:
    """Ask a model that is not there."""
    require_error(server.infer(server.any_sample.to_json(), path=f"/v2/models/{UNKNOWN}/infer"))


@check("refuse.version", "a prediction of a version that is not there", Level.REQUIRED, "Inference")
def check_unknown_version(server: Server) -> None:
    """Ask a version that is not there, of a model that has versions."""
    require(server.version_path, "a version")
    require_error(server.infer(server.sample.to_json(), path=f"{server.path}/versions/{UNKNOWN}/infer"))


CHECKS = tuple(mistake.to_check() for mistake in MISTAKES)


@check("refuse.size", "another size than the model's fixed one", Level.REQUIRED, "Model Metadata")
def check_fixed_size(server: Server) -> None:
    """Send one element more along the last axis, if the metadata say its size."""
    sample = server.sample
    shapes = {str(item.get("name")): item.get("shape") for item in server.list_tensors("inputs")}
    tensor = next((tensor for tensor in sample.tensors if len(tensor.shape) > 1 and tensor.data), None)
    shape = shapes.get(tensor.name) if tensor else None
    if not isinstance(shape, list) or not shape or shape[-1] == -1:
        raise NotOfferedError("the metadata fix no size of the last axis of an input")
    require_error(server.infer(_enlarge(sample)))


@check("refuse.status", "a client's mistake has the status 4xx", Level.ROBUSTNESS, "RFC 9110, 15.5")
def check_statuses(server: Server) -> None:
    """Make all mistakes again: with 5xx proxies try again, and alarms go off."""
    sample = server.sample
    for mistake in MISTAKES:
        try:
            document = mistake.make(sample)
        except NotOfferedError:
            continue
        answer = server.infer(document)
        if answer.status >= 400:
            require_refusal(answer)


@check("refuse.elements", "elements of another kind", Level.ROBUSTNESS, "Tensor Data: may be refused or made to fit")
def check_elements(server: Server) -> None:
    """Send strings for numbers, numbers for strings, null, and objects: the server may take or refuse them."""
    sample = server.sample
    index = _find(sample)
    count = len(sample.tensors[index].data)
    values: tuple[Any, ...] = ("x", 0.5, 2, None, {}, True)
    for value in values:
        require_no_failure(server.infer(sample.change(index, data=[value] * count)))


@check("refuse.members", "members of another type", Level.ROBUSTNESS, _REQUEST)
def check_members(server: Server) -> None:
    """Send members of types that the protocol does not have: the server may take or refuse them."""
    sample = server.sample
    others: tuple[dict[str, Any], ...] = (
        {"id": 3}, {"parameters": []}, {"outputs": {}}, {"outputs": [1]}, {"outputs": [{}]},
    )  # fmt: skip
    for changes in others:
        require_no_failure(server.infer(sample.to_json(**changes)))
    values: tuple[Any, ...] = (3, [], {})
    for member in ("name", "datatype", "shape", "parameters"):
        for value in values:
            require_no_failure(server.infer(sample.change(0, **{member: value})))
