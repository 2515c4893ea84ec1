"""Compressed requests and answers of a generated server."""

import contextlib
import gzip
import http.client
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from bundle_examples import IRIS, write_modules
from serving import INFER, Server, request, serving, wait_until, with_input

MIB = 2**20
GOOD = json.dumps(request()).encode()
LARGE = GOOD + b" " * 300_000
IRIS_INFER = "/v2/models/iris/infer"


def deflate_raw(data: bytes) -> bytes:
    """Compress without zlib's header."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "x-gzip": gzip.compress, "GZip": gzip.compress}
PACKERS |= {"deflate": zlib.compress, "deflate ": deflate_raw, "identity": bytes}


@pytest.fixture(scope="module")
def server(apps: dict[str, Path]) -> Iterator[Server]:
    with serving(apps["transactions"]) as server:
        yield server


@pytest.fixture(scope="module")
def iris(apps: dict[str, Path]) -> Iterator[Server]:
    with serving(apps["iris"]) as server:
        yield server


def exchange(server: Server, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request, and its answer as it comes over the wire."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


@pytest.mark.parametrize("body", [GOOD, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("coding", PACKERS)
def test_compressed_requests_are_answered_as_others(server: Server, coding: str, body: bytes) -> None:
    status, _, answer = exchange(server, INFER, PACKERS[coding](body), content_encoding=coding)
    assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [54.0])


def test_gzip_may_have_several_members(server: Server) -> None:
    for body in (GOOD, LARGE):
        parts = b"".join(gzip.compress(body[start : start + 200]) for start in range(0, len(body), 200))
        status, _, answer = exchange(server, INFER, parts, content_encoding="gzip")
        assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [54.0])


def test_the_length_of_the_json_is_that_of_the_inflated_body(server: Server) -> None:
    document = request(parameters={"binary_data_output": True})
    del document["inputs"][2]["data"]
    document["inputs"][2]["parameters"] = {"binary_data_size": 8}
    for padding in (0, 100_000):
        head = json.dumps(document).encode() + b" " * padding
        body = gzip.compress(head + b"\0\0\0?\0\0\xc0?")
        headers = {"content_encoding": "gzip", "Inference_Header_Content_Length": str(len(head))}
        status, given, answer = exchange(server, INFER, body, **headers)
        assert (status, answer[int(given["inference-header-content-length"]) :]) == (200, b"\0\0XB")


@pytest.mark.parametrize("body", [GOOD, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_is_not_compressed_as_it_says_is_refused(server: Server, coding: str, body: bytes) -> None:
    packed = PACKERS[coding](body)
    other = zlib.compress(body) if coding == "gzip" else gzip.compress(body)
    for wrong in (b"", body, other, packed[:-1], packed + b"x", packed[:-4] + b"abcd", packed + packed[:9]):
        status, _, answer = exchange(server, INFER, wrong, content_encoding=coding)
        assert status == 400
        assert coding in json.loads(answer)["error"]


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "gzip, identity", "zstd", "gzip;q=1", "\xff"])
def test_other_codings_are_refused(server: Server, coding: str) -> None:
    status, headers, answer = exchange(server, INFER, gzip.compress(GOOD), content_encoding=coding)
    assert (status, headers["accept-encoding"]) == (415, "gzip, deflate")
    assert json.loads(answer) == {"error": "Content-Encoding must be gzip, deflate or identity"}


def test_a_body_of_many_members_is_refused(load: Callable[..., ModuleType]) -> None:
    coding = load("transactions", "content_coding")
    many = gzip.compress(b"") * (coding.MAX_MEMBERS + 1)
    assert coding.inflate(many[20:], b"gzip", 100) == b""
    with pytest.raises(ValueError, match="goes on behind the end of its gzip"):
        coding.inflate(many, b"gzip", 100)


def test_a_body_may_inflate_to_the_limit_and_not_beyond(load: Callable[..., ModuleType]) -> None:
    coding = load("transactions", "content_coding")
    packed = gzip.compress(bytes(10**6))
    assert len(coding.inflate(packed, b"gzip", 10**6)) == 10**6
    with pytest.raises(coding.TooLargeError):
        coding.inflate(packed, b"gzip", 10**6 - 1)
    with pytest.raises(coding.TooLargeError):
        coding.inflate(gzip.compress(bytes(600)) * 2, b"gzip", 1000)


@pytest.mark.case("S3")
def test_bombs_are_refused_in_bounded_memory(large: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(MIB)
    bomb = b"".join(packer.compress(zeros) for _ in range(1024)) + packer.flush()
    document = json.dumps(with_input(2, data=[])).encode().replace(b'"data": []', b'"data": [%b1]')
    legal = gzip.compress(document % (b"0.5," * (15 * MIB)))  # 60 MiB, and the wrong number of elements
    with serving(large) as server:
        before = server.memory_peak()
        answers: list[tuple[int, dict[str, str], bytes]] = []

        def ask(body: bytes) -> None:
            answers.append(exchange(server, INFER, body, content_encoding="gzip"))

        threads = [threading.Thread(target=ask, args=(body,)) for body in (bomb, legal, bomb, legal, bomb)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert server.infer(request())[0] == 200
        assert sorted(status for status, _, _ in answers) == [400, 400, 413, 413, 413]
        assert server.memory_peak() - before < 350 * MIB
        wait_until(lambda: server.metric("onnxpack_inflight_bytes") == 0)


def ask_iris(server: Server, rows: int, **headers: str) -> tuple[dict[str, str], bytes]:
    data = [[0.1 * row, 1.0, 2.0, 3.0] for row in range(rows)]
    inputs = [{"name": "float_input", "datatype": "FP32", "shape": [rows, 4], "data": data}]
    status, given, answer = exchange(server, IRIS_INFER, json.dumps({"inputs": inputs}).encode(), **headers)
    assert status == 200
    return given, answer


UNPACKERS: dict[str | None, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    None: bytes,
}


@pytest.mark.parametrize(
    ("wish", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("GZIP ; q=1.0", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0, *", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=0.0,deflate;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=nan", None),
        ("gzip;q=x", None),
        ("br", None),
        ("", None),
        ("gzip," * 1000, None),
    ],
)
def test_answers_are_compressed_as_the_client_asks(iris: Server, wish: str, coding: str | None) -> None:
    headers, answer = ask_iris(iris, 60, accept_encoding=wish)
    assert headers.get("content-encoding") == coding
    assert headers["vary"] == "accept-encoding"
    assert json.loads(UNPACKERS[coding](answer))["outputs"][0]["shape"] == [60]


def test_small_answers_are_not_compressed(iris: Server) -> None:
    headers, answer = ask_iris(iris, 1, accept_encoding="gzip")
    assert "content-encoding" not in headers
    assert json.loads(answer)["outputs"][0]["shape"] == [1]
    assert "content-encoding" not in ask_iris(iris, 60)[0]


def test_large_answers_are_compressed_in_a_thread(apps: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes((apps["iris"] / "model.onnx").read_bytes())
    write_modules(tmp_path, replace(IRIS, axes=(replace(IRIS.axes[0], max=2000),)))
    for quick, coding in ((0, "gzip"), (60, None)):  # seconds up to which a request runs in the event loop
        change = f"app.INLINE_SECONDS, app.INLINE_BODY = {quick}, 10**6"
        with serving(tmp_path, change) as server:
            for _ in range(2):  # the first one runs in a thread, and is measured
                headers, answer = ask_iris(server, 1500, accept_encoding="gzip")
            assert headers.get("content-encoding") == coding
            assert json.loads(UNPACKERS[coding](answer))["outputs"][0]["shape"] == [1500]
