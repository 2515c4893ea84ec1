"""How to ask a server is taken from its own description, or from nothing if it has none."""

import http.server
import json
import shlex
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from onnxpack.serve.ask import describe_request


class Described(http.server.BaseHTTPRequestHandler):
    """A server that describes itself by whatever a test has put there."""

    answer = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/openapi.json" else 404)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Described) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def describe(*paths: str, example: Any) -> bytes:
    post = {"post": {"requestBody": {"content": {"application/json": {"example": example}}}}}
    return json.dumps({"paths": {"/v2": {"get": {}}, **dict.fromkeys(paths, post)}}).encode()


def test_the_command_has_the_example_of_the_shortest_path(port: int) -> None:
    example = {"inputs": [{"name": "it's", "data": [1.5]}]}
    Described.answer = describe("/v2/models/m/versions/1/infer", "/v2/models/m/infer", example=example)
    words = shlex.split(describe_request(port))
    assert words[:3] == ["curl", "-s", f"localhost:{port}/v2/models/m/infer"]
    assert words[3:5] == ["-H", "Content-Type: application/json"]
    assert json.loads(words[-1]) == example


def test_of_a_large_request_the_model_is_asked_about(port: int) -> None:
    Described.answer = describe("/v2/models/m/infer", example=[0.5] * 1000)
    assert describe_request(port) == f"curl -s localhost:{port}/v2/models/m"


def describe_bodies(**content: Any) -> bytes:
    bodies = {kind.replace("_", "/"): body for kind, body in content.items()}
    return json.dumps({"paths": {"/predict": {"post": {"requestBody": {"content": bodies}}}}}).encode()


def test_the_shortest_command_is_told(port: int) -> None:
    record = {"examples": {"one": {"value": {"city": "it's"}}, "several": {"value": []}}}
    address = f"localhost:{port}/predict"
    Described.answer = describe_bodies(image_png={}, application_json=record)
    assert describe_request(port) == f"curl -s {address} --data-binary @picture.png"
    Described.answer = describe_bodies(text_plain={"example": "How's it?"}, application_json=record)
    assert shlex.split(describe_request(port))[2:] == [address, "-d", "How's it?"]
    for special in ("@x", '"x"', "[x]", ""):
        Described.answer = describe_bodies(text_plain={"example": special}, application_json=record)
        words = shlex.split(describe_request(port))
        assert json.loads(words[-1]) == {"city": "it's"}
    Described.answer = describe_bodies(application_json={"examples": {"one": {"value": ["x" * 1000]}}})
    assert describe_request(port) == f"curl -s localhost:{port}/v2"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"[]",
        b'{"paths": []}',
        b'{"paths": {"/infer": 5}}',
        b'{"paths": {"/predict": {"post": 5}}}',
        b"[" * 100_000,
    ],
)
def test_a_server_that_describes_itself_in_another_way_is_asked_what_it_is(port: int, answer: bytes) -> None:
    Described.answer = answer
    assert describe_request(port) == f"curl -s localhost:{port}/v2"


def test_a_server_that_has_gone_is_no_bug() -> None:
    assert describe_request(9) == "curl -s localhost:9/v2"
