"""Requests that nobody would write: any is answered or refused, and what is right comes out as it went in."""

import importlib
import json
import math
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from bundle_examples import IRIS, MODULES
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import helper
from serving import INFER, Server, all_of, post, request, serving

from onnxpack.bundle.example import make_example
from onnxpack.bundle.render import render_module
from onnxpack.bundle.views import DATATYPES
from onnxpack.core.values import Axis, TensorInfo

LENGTH = "inference-header-content-length"
Framed = tuple[bytes, bytes | None]
"""A body, and what the header says of its JSON's length."""

# The protocol, in this process.


def make_framed(documents: list[dict[str, Any]], parts: list[bytes]) -> Framed:
    """A good request of inputs whose data are these bytes."""
    for item, part in zip(documents, parts, strict=True):
        item.pop("data")
        item["parameters"] = {"binary_data_size": len(part)}
    head = json.dumps({"inputs": documents, "parameters": {"binary_data_output": True}}).encode()
    return head + b"".join(parts), str(len(head)).encode()


def make_transactions() -> Framed:
    inputs = request()["inputs"]
    types = ("<f4", "<i8", "<f4")
    return make_framed(inputs, [np.array(i["data"], t).tobytes() for i, t in zip(inputs, types, strict=True)])


def make_odd() -> Framed:
    shapes = {"input.1": [2, 1], "class": [2], "a b": [2, 2], "a_b": []}
    words = ("BYTES", "BOOL", "INT8", "INT8")
    inputs = [
        {"name": name, "datatype": word, "shape": shape, "data": None}
        for (name, shape), word in zip(shapes.items(), words, strict=True)
    ]
    return make_framed(inputs, [b"\2\0\0\0\xc3\xa9\0\0\0\0", b"\1\0", bytes([1, 2, 3, 128]), b"\1"])


GOOD = {"transactions": make_transactions(), "odd": make_odd()}
PLAIN: dict[str, Framed] = {name: (json.dumps(make_example(MODULES[name])).encode(), None) for name in GOOD}
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 47, 48, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, -1, 10**30])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "data", "datatype", "parameters", "inputs", "binary_data_size"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@st.composite
def garbled(draw: st.DrawFn, good: bytes) -> bytes:
    """Bytes of a good thing with some changed, put in or left out."""
    body = bytearray(good)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 6))] = draw(st.binary(max_size=6))
    return bytes(body)


@st.composite
def replaced(draw: st.DrawFn, good: Framed) -> Framed:
    """A request whose JSON is JSON, with one of its values another one."""
    body, header = good
    length = len(body) if header is None else int(header)
    document = json.loads(body[:length])
    place, key = document, draw(st.sampled_from(sorted(document)))
    while isinstance(place[key], list | dict) and place[key] and draw(st.integers(0, 4)):
        place = place[key]
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = draw(JSON)
    head, tail = json.dumps(document, allow_nan=True).encode(), body[length:]
    if header is None:
        return head, None
    return head + draw(st.sampled_from([tail, tail[1:], tail + b"x", b""])), str(len(head)).encode()


def frames(model: str) -> st.SearchStrategy[Framed]:
    """Requests that are framed wrongly, or not at all, or whose JSON is wrong."""
    body, header = GOOD[model]
    lengths = st.none() | st.just(header) | NUMBERS.map(lambda n: str(n).encode()) | st.binary(max_size=6)
    lengths |= st.integers(0, len(body) + 2).map(lambda n: str(n).encode())
    framed = st.tuples(garbled(body), lengths) | st.tuples(st.binary(max_size=200), lengths) | replaced(GOOD[model])
    return framed | replaced(PLAIN[model]) | st.tuples(garbled(PLAIN[model][0]), st.none())


@pytest.mark.case("S11")
@pytest.mark.parametrize("model", GOOD)
def test_a_frame_that_lies_is_a_value_error_and_nothing_else(model: str, load: Callable[..., ModuleType]) -> None:
    protocol, session = load(model, "protocol"), load(model).Model()
    outcomes = {"read": 0, "refused": 0}

    @settings(max_examples=400)
    @given(frames(model))
    @example(GOOD[model])
    @example(PLAIN[model])
    def check(framed: Framed) -> None:
        body, header = framed
        try:
            call = protocol.read(bytearray(body), header)
            answer = protocol.write(call, session.run_checked(call.arrays))
        except ValueError:
            outcomes["refused"] += 1
            return
        outcomes["read"] += 1
        json.loads(answer.body[: answer.json_length], parse_constant=pytest.fail)

    check()
    assert min(outcomes.values()) > 0, "the maker of requests makes one kind only"


# A model of every dtype that gives its inputs back.


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    folder = tmp_path_factory.mktemp("identity")
    inputs = tuple(TensorInfo(dtype, dtype, ("rows", 2)) for dtype in DATATYPES)
    outputs = tuple(replace(info, name=f"{info.name} again") for info in inputs)
    view = replace(IRIS, name="identity", inputs=inputs, outputs=outputs, axes=(Axis("rows", 0, 1, 64),))
    types = {word: helper.np_dtype_to_tensor_dtype(np.dtype(word)) for word in DATATYPES if word != "string"}
    types["string"] = onnx.TensorProto.STRING
    values = [
        [helper.make_tensor_value_info(info.name, types[info.dtype], info.shape) for info in infos]
        for infos in (inputs, outputs)
    ]
    nodes = [helper.make_node("Identity", [name], [f"{name} again"]) for name in DATATYPES]
    graph = helper.make_graph(nodes, "identity", *values)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), folder / "model.onnx"
    )
    files = render_module(view)
    modules = [name.removesuffix(".py") for name in files if name.endswith(".py")]
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.syspath_prepend(folder)
        yield {name: importlib.import_module(name) for name in ("protocol", "inference")}
    for name in modules:
        sys.modules.pop(name, None)


def elements(dtype: str) -> st.SearchStrategy[Any]:
    """Values of a dtype, all of them: NaN and infinities too."""
    if dtype == "string":
        return st.text(max_size=5)
    if dtype == "bool":
        return st.booleans()
    if dtype.startswith("float"):
        return st.floats(width=int(dtype[5:]))  # type: ignore[arg-type]
    limits = np.iinfo(dtype)
    return st.integers(int(limits.min), int(limits.max))


def to_bytes(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    texts = [text.encode() for text in array.flat]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def from_json(value: Any) -> float:
    return float(str(value).replace("Infinity", "inf"))


@pytest.mark.parametrize("dtype", DATATYPES)
def test_what_goes_in_comes_out(dtype: str, identity: dict[str, ModuleType]) -> None:
    protocol, session = identity["protocol"], identity["inference"].Model()

    @settings(max_examples=40)
    @given(
        st.integers(0, 3).flatmap(lambda n: st.lists(elements(dtype), min_size=2 * n, max_size=2 * n)), st.booleans()
    )
    @example([], True)
    def check(values: list[Any], binary: bool) -> None:
        kind = object if dtype == "string" else dtype
        arrays = {name: np.zeros((0, 2), object if name == "string" else name) for name in DATATYPES}
        rows = len(values) // 2
        arrays = {
            name: np.full((rows, 2), "" if name == "string" else 0, array.dtype) for name, array in arrays.items()
        }
        arrays[dtype] = np.array(values, kind).reshape(rows, 2)
        inputs = []
        tail = b""
        for name, array in arrays.items():
            item: dict[str, Any] = {"name": name, "datatype": DATATYPES[name], "shape": [rows, 2]}
            if binary:
                part = to_bytes(array)
                item["parameters"] = {"binary_data_size": len(part)}
                tail += part
            else:
                item["data"] = [to_json(value) for value in array.ravel().tolist()]
            inputs.append(item)
        outputs = [{"name": f"{dtype} again", "parameters": {"binary_data": binary}}]
        head = json.dumps({"inputs": inputs, "outputs": outputs}, allow_nan=False).encode()
        call = protocol.read(bytearray(head + tail), str(len(head)).encode() if binary else None)
        answer = protocol.write(call, session.run_checked(call.arrays))
        (output,) = json.loads(answer.body[: answer.json_length], parse_constant=pytest.fail)["outputs"]
        assert (output["datatype"], output["shape"]) == (DATATYPES[dtype], [rows, 2])
        if binary:
            assert answer.body[answer.json_length :] == to_bytes(arrays[dtype])
            return
        again = [from_json(value) for value in output["data"]] if dtype.startswith("float") else output["data"]
        # A float may be written with as many digits as tell it from others of its dtype.
        given_back, sent = (np.array(part, kind).tolist() for part in (again, values))
        assert list(map(to_json, given_back)) == list(map(to_json, sent))

    check()


# The server, over its socket.


@pytest.fixture(scope="module")
def server(apps: dict[str, Path]) -> Iterator[Server]:
    with serving(apps["transactions"]) as server:
        yield server
        assert server.ask("GET", "/v2/health/ready") == (200, {"ready": True})


def send(server: Server, data: bytes) -> list[int]:
    """Send bytes and shut; give the statuses of the answers, up to the server's end of the connection."""
    with server.connect() as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            answers = all_of(client)
        except ConnectionError:  # the server hung up before it had read all
            return []
    lines = [line for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return [int(line.split()[1]) for line in lines]


@pytest.mark.case("S11")
@settings(max_examples=150)
@given(framed=frames("transactions"))
@example(framed=GOOD["transactions"])
def test_a_frame_that_lies_is_refused_over_http(server: Server, framed: Framed) -> None:
    body, header = framed
    headers = [] if header is None else [f"{LENGTH}: {header.decode('latin-1')}"]
    lines = [f"POST {INFER} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", ""]
    statuses = send(server, "\r\n".join(lines).encode("latin-1") + body)
    assert statuses, "an answer comes before the end"
    assert all(status in (100, 200) or 400 <= status < 500 for status in statuses), statuses


PIECES = st.sampled_from(
    [
        post(json.dumps(request()).encode()),
        b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST %b HTTP/1.1\r\n" % INFER.encode(),
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"GET http://x:y/%ff?%00 HTTP/1.1\r\n",
        b"content-length: 5\r\n",
        b"content-length: 99999999999999999999\r\n",
        b"transfer-encoding: chunked\r\n",
        b"expect: 100-continue\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"connection: close\r\n",
        b"\r\n",
        b"5\r\n{}   \r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b": \r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0",  # how TLS begins
    ]
)


@pytest.mark.case("S10")
@settings(max_examples=200)
@given(data=st.lists(PIECES.flatmap(garbled) | PIECES | st.binary(max_size=40), max_size=6).map(b"".join))
@example(data=b"CONNECT x:1 HTTP/1.1\r\n\r\n")
@example(data=b"\0" * 70_000)
def test_any_bytes_are_answered_or_refused(server: Server, data: bytes) -> None:
    for status in send(server, data):
        assert status == 501 or status < 500, (status, data)  # 501 is for what only a proxy does
