import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bundle_examples import TRANSACTIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import INFER, Server, copy_without_model, request, serving, start, wait_until, with_input

Load = Callable[..., ModuleType]


@pytest.fixture(scope="module")
def server(apps: dict[str, Path]) -> Iterator[Server]:
    """The transactions server; whatever the tests do to it, it logs nothing and stops cleanly."""
    server = start(apps["transactions"])
    try:
        yield server
        assert server.ask("GET", "/v2/health/ready") == (200, {"ready": True})
    finally:
        server.process.send_signal(signal.SIGTERM)
        _, errors = server.process.communicate(timeout=30)
    assert errors == f"transactions 1.4.0: port {server.port}, 2 threads\n"
    assert server.process.returncode == 0


def test_infer_request_gives_a_prediction(server: Server) -> None:
    output = {"name": "score", "datatype": "FP32", "shape": [1], "data": [54.0]}
    answer = {"model_name": "transactions", "model_version": "1.4.0", "outputs": [output]}
    assert server.infer(request()) == (200, answer)
    assert server.infer(request(id="x\u00e9", outputs=[{"name": "score"}])) == (200, {**answer, "id": "x\u00e9"})
    assert server.infer(request(outputs=[], parameters={"binary_data_output": False})) == (200, answer)
    versioned = INFER.replace("/infer", "/versions/1.4.0/infer/")
    assert server.ask("POST", versioned, json.dumps(request()).encode()) == (200, answer)


def test_data_may_be_nested(server: Server) -> None:
    nested = [[[1.5, 0, 0, 0, 0, 0], [0] * 6]]
    status, answer = server.infer(with_input(0, data=nested))
    assert (status, answer["outputs"][0]["data"]) == (200, [43.5])


def test_metadata_and_health(server: Server) -> None:
    assert server.ask("GET", "/v2/health/live") == (200, {"live": True})
    assert server.ask("GET", "/v2/health/ready/") == (200, {"ready": True})
    assert server.ask("GET", "/v2") == server.ask("GET", "/v2/")
    about = server.ask("GET", "/v2")[1]
    assert (about["name"], about["version"]) == ("transactions", "1.4.0")
    status, metadata = server.ask("GET", "/v2/models/transactions")
    assert status == 200
    assert metadata == {
        "name": "transactions",
        "versions": ["1.4.0"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "dates", "datatype": "FP32", "shape": [-1, -1, 6]},
            {"name": "input_ids", "datatype": "INT64", "shape": [-1, -1, 20]},
            {"name": "amounts", "datatype": "FP32", "shape": [-1, -1]},
        ],
        "outputs": [{"name": "score", "datatype": "FP32", "shape": [-1]}],
    }
    assert server.ask("GET", "/v2/models/transactions/versions/1.4.0")[1] == metadata
    for path in ("", "/versions/1.4.0"):
        ready = server.ask("GET", f"/v2/models/transactions{path}/ready")
        assert ready == (200, {"name": "transactions", "ready": True})
    assert server.ask("HEAD", "/v2/health/live") == (200, None)


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/x/", 404, "nothing is at '/x'; the model is at '/v2/models/transactions'"),
        ("POST", "/", 405, "POST is not possible here, only GET"),
        ("GET", "/v2/models/other", 404, "nothing is at '/v2/models/other'"),
        ("GET", "/v2/models/transactions/versions/2", 404, "nothing is at"),
        ("POST", "/v2/models/other/infer", 404, "nothing is at"),
        ("GET", "/" + "x" * 5000, 404, "xxx..."),
        ("GET", INFER, 405, "GET is not possible here, only POST"),
        ("POST", "/v2/health/ready", 405, "POST is not possible here, only GET"),
        ("DELETE", "/v2", 405, "DELETE is not possible here"),
    ],
)
def test_wrong_paths_and_methods(server: Server, method: str, path: str, status: int, reason: str) -> None:
    got, answer = server.ask(method, path, b"{}" if method == "POST" else None)
    assert got == status
    assert reason in answer["error"]


BAD = [
    (with_input(0, name="nope"), "input 'dates' is missing"),
    (request(inputs=request()["inputs"][:2]), "input 'amounts' is missing"),
    (request(inputs=[*request()["inputs"], {"name": "x"}]), "there is no input 'x'"),
    (request(inputs=[*request()["inputs"], request()["inputs"][0]]), "a 'name' of its own, got 'dates'"),
    (with_input(0, name=3), "a 'name' of its own, got 3"),
    (request(inputs={}), "'inputs' must be a list of objects"),
    (request(inputs=[1]), "'inputs' must be a list of objects"),
    ({}, "'inputs' must be a list of objects"),
    ([], "the body must be a JSON object"),
    (request(outputs=[{"name": "x"}]), "there is no output 'x'; the outputs are 'score'"),
    (request(outputs={}), "'outputs' must be a list of objects"),
    (request(id=3), "'id' must be a string"),
    (with_input(0, datatype="FP64"), "input 'dates': 'datatype' must be 'FP32', got 'FP64'"),
    (with_input(0, datatype=None), "'datatype' must be 'FP32', got None"),
    (with_input(0, datatype=["FP32"]), "'datatype' must be 'FP32'"),
    (with_input(0, shape=None), "'shape' must be a list of sizes, got None"),
    (with_input(0, shape=[1, 2.0, 6]), "'shape' must be a list of sizes"),
    (with_input(0, shape=[True, 2, 6]), "'shape' must be a list of sizes"),
    (with_input(0, shape=["1", 2, 6]), "'shape' must be a list of sizes"),
    (with_input(0, shape=[1, -2, 6]), "'shape' must be a list of sizes, got [1, -2, 6]"),
    (with_input(0, shape=[1, 2]), "the shape must be [batch, seq, 6], got [1, 2]"),
    (with_input(0, shape=[1, 2, 7]), "input 'dates', dimension 2: must be 6, got 7"),
    (with_input(0, shape=[0, 2, 6]), "dimension 0 (batch): must be 1 to 64, got 0"),
    (with_input(0, shape=[2**60, 2**60, 6]), "dimension 0 (batch): must be 1 to 64, got 1152921504606846976"),
    (with_input(0, shape=[10**4000, 2, 6]), "..."),
    (with_input(0, shape=[1] * 10_000), "..."),
    (with_input(0, shape=[1] * 100_000), "the body has too many parts"),
    (with_input(2, shape=[1, 1], data=[1]), "must be 2 as in input 'dates', got 1"),
    (with_input(0, shape=[64, 512, 6]), "dimension 0 (batch): must be 64 as in input 'dates', got 1"),
    (with_input(0, data=[1] * 11), "input 'dates': the shape [1, 2, 6] has 12 elements, and 'data' has 11"),
    (with_input(0, data=[]), "'data' has 0"),
    (with_input(0, data="x"), "'data' must be a list"),
    (with_input(0, data=None), "'data' must be a list"),
    (with_input(0, data=[[[1] * 6, [1] * 5]]), "'data' is not nested as the shape [1, 2, 6] says"),
    (with_input(0, data=[[1] * 6, [1] * 6]), "'data' is not nested"),
    (with_input(0, data=[[1] * 6, 1]), "'data' is not nested"),
    (with_input(0, data=[[[1] * 6, 1]]), "'data' is not nested"),
    (with_input(0, data=[[[[1]] * 6, [1] * 6]]), "'data' must hold numbers only"),
    (with_input(0, data=["1"] * 12), "'data' must hold numbers only"),
    (with_input(0, data=[True] * 12), "'data' must hold numbers only"),
    (with_input(0, data=[None] * 12), "'data' must hold numbers only"),
    (with_input(0, data=[{}] * 12), "'data' must hold numbers only"),
    (with_input(0, data=[1e39] * 12), "'data' holds a number that does not fit FP32"),
    (with_input(0, data=["NaN", *[1e39] * 11]), "'data' holds a number that does not fit FP32"),
    (with_input(0, data=[10**400] * 12), "input 'dates': int too large to convert to float"),
    (with_input(1, data=[1.0] * 40), "'data' must hold whole numbers only"),
    (with_input(1, data=[False] * 40), "'data' must hold whole numbers only"),
    (with_input(1, data=["NaN"] * 40), "'data' must hold whole numbers only"),
    (with_input(1, data=[2**63] * 40), "'data' holds a number that does not fit INT64"),
    (with_input(1, data=[-(2**63) - 1] * 40), "'data' holds a number that does not fit INT64"),
    (with_input(1, data=[77] * 40), "the model cannot take these values"),
]


@pytest.mark.parametrize(("document", "reason"), BAD, ids=[reason[:40] for _, reason in BAD])
def test_bad_requests_say_why(server: Server, document: object, reason: str) -> None:
    status, answer = server.infer(document)
    assert status == 400
    assert list(answer) == ["error"]
    assert reason in answer["error"]
    assert len(answer["error"]) < 600


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON in UTF-8"),
        (b"{", "the body is not JSON in UTF-8"),
        (b'"\xff"', "the body is not JSON in UTF-8"),
        ('{"inputs": []}'.encode("utf-16"), "the body is not JSON in UTF-8"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b'{"a":' * 100_000, "the body is nested too deeply"),
        (b"9" * 5000, "the body is not JSON in UTF-8"),
        (b"null", "the body must be a JSON object"),
        (b'{"inputs": [], "inputs": []}', "the key 'inputs' is there twice in one object"),
    ],
)
def test_bad_bodies_say_why(server: Server, body: bytes, reason: str) -> None:
    status, answer = server.ask("POST", INFER, body)
    assert status == 400
    assert reason in answer["error"]


def binary_request(**changes: Any) -> tuple[bytes, int]:
    """The good request with its first two inputs in binary; give the body, and the length of its JSON."""
    document = request()
    tail = b""
    for item, dtype in zip(document["inputs"], ("<f4", "<i8"), strict=False):
        part = np.array(item.pop("data"), dtype).tobytes()
        item["parameters"] = {"binary_data_size": len(part)}
        tail += part
    head = json.dumps({**document, **changes}).encode()
    return head + tail, len(head)


def ask_binary(server: Server, body: bytes, length: object) -> tuple[int, bytes, int | None]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", INFER, body, {"Inference-Header-Content-Length": str(length)})
        response = connection.getresponse()
        given = response.headers["inference-header-content-length"]
        return response.status, response.read(), given and int(given)


def test_binary_tensors_both_ways(server: Server) -> None:
    for changes in (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "score", "parameters": {"binary_data": True}}]},
    ):
        status, answer, length = ask_binary(server, *binary_request(**changes))
        assert (status, answer[length:]) == (200, np.float32(54).tobytes())
        output = {"name": "score", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
        assert json.loads(answer[:length])["outputs"] == [output]
    status, answer, length = ask_binary(server, *binary_request())
    assert (status, length, json.loads(answer)["outputs"][0]["data"]) == (200, None, [54.0])


def test_binary_tensors_that_lie_are_refused(server: Server) -> None:
    body, length = binary_request()
    document = json.loads(body[:length])
    for lie, reason in (
        (length + 10**6, "Inference-Header-Content-Length must be 0 to"),
        (-1, "Inference-Header-Content-Length must be 0 to"),
        ("9" * 5000, "Inference-Header-Content-Length must be 0 to"),
        (length - 1, "the body is not JSON in UTF-8"),
        (length + 1, "the body is not JSON in UTF-8"),
        (0, "the body is not JSON in UTF-8"),
    ):
        status, answer, _ = ask_binary(server, body, lie)
        assert (status, reason in json.loads(answer)["error"]) == (400, True), lie
    for size, reason in (
        (47, "input 'dates': the shape [1, 2, 6] takes 48 bytes, not 47"),
        (10**9, "input 'dates': 'binary_data_size' must be 0 to 368, the bytes left, got 1000000000"),
        (-1, "input 'dates': 'binary_data_size' must be"),
        (True, "input 'dates': 'binary_data_size' must be"),
        ("48", "input 'dates': 'binary_data_size' must be"),
    ):
        document["inputs"][0]["parameters"]["binary_data_size"] = size
        head = json.dumps(document).encode()
        status, answer, _ = ask_binary(server, head + body[length:], len(head))
        assert (status, reason in json.loads(answer)["error"]) == (400, True), size
    for changes, tail, reason in (
        ({}, b"x", "1 bytes follow that belong to no input"),
        ({"parameters": 3}, b"", "the request: 'parameters' must be an object"),
        ({"parameters": {"binary_data_output": 1}}, b"", "'binary_data_output' must be true or false"),
    ):
        body, length = binary_request(**changes)
        status, answer, _ = ask_binary(server, body + tail, length)
        assert (status, reason in json.loads(answer)["error"]) == (400, True), reason
    document = request()
    document["inputs"][0]["parameters"] = {"binary_data_size": 0}
    assert "it has both 'data' and 'binary_data_size'" in server.infer(document)[1]["error"]


def test_metrics_count_answers(server: Server) -> None:
    before = server.metric('onnxpack_requests_total{code="200"}')
    server.infer(request())
    assert server.metric('onnxpack_requests_total{code="200"}') >= before + 2
    assert server.metric('onnxpack_request_seconds_bucket{le="+Inf"}') > before
    assert server.metric("onnxpack_queue_requests") == server.metric("onnxpack_inflight_bytes") == 0
    assert server.metric('onnxpack_model_info{name="transactions",version="1.4.0"}') == 1


LARGE_DATA = [
    ([0.5, 1], 200, "53.5"),
    ([[0.5, 1]], 200, "53.5"),
    ([[0.5, 1], [2]], 400, "differ in length"),
    ([[0.5], 1], 400, "is not JSON"),
    ([0.5, [1]], 400, "differ in depth"),
    ([[[0.5], [1]]], 400, "not nested as the shape"),
    ([[0.5], [1]], 400, "not nested as the shape"),
    ([[0.5], [[1]]], 400, "differ in depth"),
    ([0.5], 400, "the shape [1, 2] has 2 elements, and 'data' has 1"),
    ([[], []], 400, "and 'data' has 0"),
    (["Infinity", 1], 200, "Infinity"),
    (["]", 1], 400, "numbers only"),
    ([True, False], 400, "numbers only"),
    ([None, 1], 400, "numbers only"),
    ([{}, 1], 400, "differ in depth"),
    ({}, 400, "'data' must be a list"),
]


@pytest.mark.parametrize(("data", "status", "reason"), LARGE_DATA, ids=str)
def test_large_documents_are_read_as_small_ones(server: Server, data: Any, status: int, reason: str) -> None:
    for padding in (0, 200_000):  # the second is read in pieces
        document = with_input(2, data=data)
        text = json.dumps(document | {"parameters": {"x": "]}" * (padding // 2)}})
        got, answer = server.ask("POST", INFER, text.encode())
        assert got == status, answer
        if padding or status == 200:
            assert reason in json.dumps(answer)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"data": [1, 2,]}', "Expecting value, at or before byte 200016"),
        ('{"data": [,1]}', "Expecting value"),
        ('{"data": [1 2]}', "delimiter"),
        ('{"data": [1', "a comma or the end is missing"),
        ('{"data": ["1', "a string does not end"),
        ('{"data": [[1]', "a comma or the end is missing"),
        ('{"data": [[1],]}', "an array is missing"),
        ('{"data": [NaN]}', "NaN is no JSON"),
        ('{"data": [1]} x', "extra data"),
        ('{"data" [1]}', "a colon is missing"),
        ('{"data": [1],}', "a key is missing"),
        ('{"data": [1] "a": 2}', "a comma or the end is missing"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"a": [1, 2,]}', "a value is missing"),
        ('{"a": tru}', "Expecting value"),
        ("[1]", "must be a JSON object"),
        ("{", "a key is missing"),
        ('{"data": ' + "[" * 40, "nested too deeply"),
        ('{"a": ' + "[" * 40, "nested too deeply"),
    ],
)
def test_large_documents_that_are_no_json_are_refused(load: Load, text: str, reason: str) -> None:
    documents = load("transactions", "documents")
    with pytest.raises(ValueError, match=re.escape(reason)):
        documents.read(b" " * 200_000 + text.encode())
    with pytest.raises(ValueError, match=r"."):
        documents.read(text.encode())


def test_any_large_document_is_read_as_python_reads_it(load: Load) -> None:
    documents = load("transactions", "documents")
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()

    @settings(deadline=None, max_examples=150)
    @given(
        st.recursive(
            leaves,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            max_leaves=30,
        ),
        st.sampled_from([None, 1]),
    )
    def check(value: Any, indent: int | None) -> None:
        text = json.dumps({"x": value}, indent=indent, ensure_ascii=False)
        assert documents.read(b" " * 140_000 + text.encode()) == json.loads(text)

    check()


@pytest.mark.parametrize("values", [[0.5] * 50_000, list(range(50_000)), ["a,]"] * 50_000, [1.5, 2] * 25_000], ids=len)
def test_large_columns_lose_nothing(load: Load, values: list[Any]) -> None:
    documents = load("transactions", "documents")
    for data, shape in ((values, [50_000]), ([values[:25_000], values[25_000:]], [2, 25_000])):
        column = documents.read(json.dumps({"data": data}).encode())["data"]
        assert [item for part in column.parts for item in (part if isinstance(part, list) else part.tolist())] == values
        assert (column.size, column.shape) == (50_000, shape)
        assert all(len(part) <= 8192 * 5 for part in column.parts)


def test_bad_shapes_take_no_memory(server: Server) -> None:
    server.infer(request())
    before = server.memory_peak()
    for shape in ([2**60, 1, 6], [2**31, 2**31, 6], [64, 512, 6]):
        assert server.infer(with_input(0, shape=shape))[0] == 400
    assert server.memory_peak() - before < 8 * 2**20


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_travel_as_strings(server: Server, word: str) -> None:
    status, answer = server.infer(with_input(2, data=[word, 1]))
    assert (status, answer["outputs"][0]["data"]) == (200, [word])
    status, answer = server.infer(with_input(2, data=[float(word), 1]))  # Python's own json writes it bare
    assert (status, answer["error"].endswith(f'{word} is no JSON: write the string "{word}"')) == (400, True)
    assert server.infer(with_input(2, data=["nan", 1]))[0] == 400


def test_large_bodies_are_refused_at_once(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000001\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 "), "before any of the body is sent"
    status, answer = server.ask("POST", INFER, b" " * 1_000_001)
    assert (status, answer["error"]) == (413, "the body is larger than 1000000 bytes")
    status, answer = server.ask("POST", INFER, b" " * 1_000_000)
    assert status == 400


def test_endless_bodies_are_cut_off(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        answer = b""
        try:
            for _ in range(2000):
                client.sendall(chunk)
        except ConnectionError:
            pass
        else:
            pytest.fail("the server read 128 MB")
        try:
            answer = client.recv(100)
        except ConnectionError:  # the answer may be lost when the rest is thrown away
            return
        assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_goes_away_is_no_error(server: Server) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf".encode())
    assert server.infer(request())[0] == 200


def test_many_at_once(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: server.infer(with_input(2, data=[i, 0])), range(64)))
    assert [answer["outputs"][0]["data"] for _, answer in answers] == [[52.0 + i] for i in range(64)]


def test_healthcheck(server: Server, apps: dict[str, Path]) -> None:
    command = [sys.executable, "-B", "-W", "error", "-m", "healthcheck"]
    for port, status in ((server.port, 0), (1, 1)):
        environment = {**os.environ, "ONNXPACK_PORT": str(port)}
        done = subprocess.run(command, cwd=apps["transactions"], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(
    ("pieces", "status", "said"),
    [
        ([b"HTTP/1.1 200 OK\r\n\r\n"], 0, "200"),
        ([b"HTTP/", b"1.1 2", b"00 OK\r\n"], 0, "200"),
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"], 1, "503"),
        ([b"HTTP/1.1 2"], 1, "2"),
        ([], 1, "nothing"),
    ],
)
def test_healthcheck_takes_an_answer_in_pieces_and_200_alone(
    apps: dict[str, Path], pieces: list[bytes], status: int, said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        environment = {**os.environ, "ONNXPACK_PORT": str(port)}
        command = [sys.executable, "-B", "-S", "-m", "healthcheck"]
        done = subprocess.Popen(command, cwd=apps["iris"], env=environment, stdout=subprocess.PIPE, text=True)
        client, _ = listener.accept()
        with client:
            assert client.recv(1024).startswith(b"GET /v2/health/ready HTTP/1.1\r\n")
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
        out, _ = done.communicate(timeout=60)
    assert (done.returncode, out) == (status, f"port {port} answers {said}\n")


def test_accepted_requests_finish_after_sigterm(apps: dict[str, Path]) -> None:
    server = start(apps["transactions"])
    body = json.dumps(request()).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 100 "), "it is being served"
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.ask("GET", "/v2/health/ready") == (503, {"ready": False}))
        status, answer = server.infer(request())
        assert (status, answer["error"]) == (503, "the server is stopping: try again in 1 s")
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"54.0" in answer
    _, errors = server.process.communicate(timeout=30)
    assert server.process.returncode == 0
    assert errors.count("\n") == 1


@pytest.mark.parametrize("content", [None, b"rubbish" * 99])
def test_a_server_without_its_model_says_so_and_ends(
    apps: dict[str, Path], tmp_path: Path, content: bytes | None
) -> None:
    copy_without_model(apps["iris"], tmp_path)
    if content:
        (tmp_path / "model.onnx").write_bytes(content)
    server = start(tmp_path)
    _, errors = server.process.communicate(timeout=30)
    assert server.process.returncode == 1
    assert errors.startswith("iris: cannot load ")
    assert errors.count("\n") == 1


def test_sigterm_while_importing_ends_it(apps: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "server.py").write_bytes((apps["iris"] / "server.py").read_bytes())
    (tmp_path / "serving.py").write_text("import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")
    process = subprocess.Popen([sys.executable, "-B", "-m", "server"], cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        wait_until((tmp_path / "importing").exists)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, b"")


def test_sigterm_while_loading_ends_it(apps: dict[str, Path], tmp_path: Path) -> None:
    copy_without_model(apps["iris"], tmp_path)
    os.mkfifo(tmp_path / "loading")
    slow = """
import hashlib, serving
def load():
    open("loading").close()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # hours in C, deaf to signals, as loading a large model is
serving.load = load
serving.main()
"""
    process = subprocess.Popen([sys.executable, "-B", "-c", slow], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        with (tmp_path / "loading").open("w"):  # opens when the other side does
            stat = Path(f"/proc/{process.pid}/stat")
            ticks = int(stat.read_text().split()[13])
            wait_until(lambda: int(stat.read_text().split()[13]) > ticks + 20)  # deep in C by then
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")


def odd_request(texts: list[Any], truth: list[Any], small: list[Any]) -> bytearray:
    inputs = [
        {"name": "input.1", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts},
        {"name": "class", "datatype": "BOOL", "shape": [2], "data": truth},
        {"name": "a b", "datatype": "INT8", "shape": [2, 2], "data": small},
        {"name": "a_b", "datatype": "INT8", "shape": [], "data": [1]},
    ]
    return bytearray(json.dumps({"inputs": inputs}).encode())


def infer(protocol: Any, model: Any, body: bytearray, header: bytes | None = None) -> Any:
    """Answer a request as a worker does."""
    call = protocol.read(body, header)
    return protocol.write(call, model.run_checked(call.arrays))


def test_strings_bools_and_scalars(load: Load) -> None:
    protocol = load("odd", "protocol")
    model = load("odd").Model()
    answer = json.loads(infer(protocol, model, odd_request(["é", "\0"], [True, False], [[1, 2], [3, -128]])).body)
    assert [output["data"] for output in answer["outputs"]] == [["é", "\0"], [False, True], [2, 3, 4, -127]]
    assert [output["datatype"] for output in answer["outputs"]] == ["BYTES", "BOOL", "INT32"]
    assert json.loads(infer(protocol, model, odd_request([], [True, False], [1] * 4)).body)["outputs"][0]["data"] == []
    for texts, truth, small, reason in (
        ([1], [True, False], [1] * 4, "'data' must hold strings only"),
        (["\ud800"], [True, False], [1] * 4, "input 'input.1': .* surrogates not allowed"),
        (["a"], [1, 0], [1] * 4, "'data' must hold true and false only"),
        (["a"], [True, False], [128] * 4, "does not fit INT8"),
        (["a"] * 4, [True, False], [1] * 4, r"dimension 0 \(n x\): must be 0 to 3, got 4"),
    ):
        with pytest.raises(ValueError, match=reason):
            infer(protocol, model, odd_request(texts, truth, small))


def test_binary_strings_bools_and_halves(load: Load) -> None:
    protocol = load("odd", "protocol")
    texts = b"\2\0\0\0\xc3\xa9\0\0\0\0"
    parts = [texts, b"\1\0", bytes([1, 2, 3, 128]), b"\1"]
    shapes, words = ([2, 1], [2], [2, 2], []), ("BYTES", "BOOL", "INT8", "INT8")
    inputs = [
        {"name": name, "datatype": word, "shape": shape, "parameters": {"binary_data_size": len(part)}}
        for name, word, shape, part in zip(("input.1", "class", "a b", "a_b"), words, shapes, parts, strict=True)
    ]
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}

    def ask(first: bytes) -> Any:
        inputs[0]["parameters"] = {"binary_data_size": len(first)}
        head = json.dumps(document).encode()
        tail = b"".join((first, *parts[1:]))
        return infer(protocol, load("odd").Model(), bytearray(head + tail), str(len(head)).encode())

    answer = ask(texts)
    assert answer.body[answer.json_length :] == texts + b"\0\1" + np.array([2, 3, 4, -127], "<i4").tobytes()
    for wrong in (texts[:-1], texts + b"\0", b"\xff" + texts[1:], b"", texts + bytes(4), b"\1\0\0\0\xff" + bytes(4)):
        with pytest.raises(ValueError, match=r"input 'input.1': "):
            ask(wrong)
    parts[1] = b"\2\0"
    with pytest.raises(ValueError, match="a truth value must be the byte 0 or 1"):
        ask(texts)
    half = load("odd", "tensors").from_bytes(memoryview(np.array([1.5, -2], "<f2").tobytes()), np.float16, [2, 1])
    assert (half.dtype, half.tolist()) == (np.float16, [[1.5], [-2.0]])


def test_large_outputs_are_written_in_pieces(load: Load) -> None:
    tensors = load("transactions", "tensors")
    array = np.arange(20_000, dtype=np.float32)
    array[9000] = np.nan
    assert json.loads(b"[" + tensors.to_text(array) + b"]") == [*range(9000), "NaN", *range(9001, 20_000)]


def test_the_examples_agree() -> None:
    assert [item["name"] for item in request()["inputs"]] == [info.name for info in TRANSACTIONS.inputs]


def test_a_server_that_nobody_uses_does_not_wake_up(apps: dict[str, Path]) -> None:
    with serving(apps["iris"]) as server:
        server.ask("GET", "/v2/health/live")
        status = Path(f"/proc/{server.process.pid}/status")

        def count_switches() -> str:
            return status.read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0]

        time.sleep(1.5)  # a tick's time after the connection has closed
        before = count_switches()
        time.sleep(1.5)
        assert count_switches() == before
