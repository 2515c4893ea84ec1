import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bundle_examples import TRANSACTIONS
from serving import INFER, Server, request, start, wait_until, with_input

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
    about = {"name": "transactions", "version": "1.4.0", "extensions": ["binary_tensor_data"]}
    assert server.ask("GET", "/v2")[1] == about
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
        ("GET", "/", 404, "nothing is at ''; the model is at '/v2/models/transactions'"),
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


def test_compressed_bodies_are_refused(server: Server) -> None:
    body = json.dumps(request()).encode()
    status, answer = server.ask("POST", INFER, body, content_encoding="gzip")
    assert (status, answer["error"]) == (415, "the body must not be compressed")
    assert server.ask("POST", INFER, body, content_encoding="identity")[0] == 200


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
    for path in apps["iris"].glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if content:
        (tmp_path / "model.onnx").write_bytes(content)
    server = start(tmp_path)
    _, errors = server.process.communicate(timeout=30)
    assert server.process.returncode == 1
    assert errors.startswith("iris: cannot load ")
    assert errors.count("\n") == 1


def test_sigterm_while_loading_ends_it(apps: dict[str, Path], tmp_path: Path) -> None:
    for path in apps["iris"].glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    os.mkfifo(tmp_path / "loading")
    slow = """
import hashlib, server
def load():
    open("loading").close()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # hours in C, deaf to signals, as loading a large model is
server.load = load
server.main()
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


def test_strings_bools_and_scalars(load: Load) -> None:
    protocol = load("odd", "protocol")
    model = protocol.Model()
    answer = json.loads(protocol.infer(model, odd_request(["é", "\0"], [True, False], [[1, 2], [3, -128]])).body)
    assert [output["data"] for output in answer["outputs"]] == [["é", "\0"], [False, True], [2, 3, 4, -127]]
    assert [output["datatype"] for output in answer["outputs"]] == ["BYTES", "BOOL", "INT32"]
    assert json.loads(protocol.infer(model, odd_request([], [True, False], [1] * 4)).body)["outputs"][0]["data"] == []
    for texts, truth, small, reason in (
        ([1], [True, False], [1] * 4, "'data' must hold strings only"),
        (["\ud800"], [True, False], [1] * 4, "input 'input.1': .* surrogates not allowed"),
        (["a"], [1, 0], [1] * 4, "'data' must hold true and false only"),
        (["a"], [True, False], [128] * 4, "does not fit INT8"),
        (["a"] * 4, [True, False], [1] * 4, r"dimension 0 \(n x\): must be 0 to 3, got 4"),
    ):
        with pytest.raises(ValueError, match=reason):
            protocol.infer(model, odd_request(texts, truth, small))


def test_the_examples_agree() -> None:
    assert [item["name"] for item in request()["inputs"]] == [info.name for info in TRANSACTIONS.inputs]
