import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundle_examples import MODULES, SAVERS, STEPS, write_app
from reference_server import Answer, Fault, reference
from server_faults import starting
from serving import serving

from onnxpack.conformance.checks import Level, Result, Verdict
from onnxpack.conformance.suite import CHECKS, Request, check_server, is_conformant
from onnxpack.core.errors import EngineError, OnnxpackError, SpecError

Find = Callable[..., dict[str, Result]]


@pytest.mark.parametrize("name", [name for name in SAVERS if (MODULES | STEPS)[name].server != "none"])
def test_a_rendered_server_passes_all_checks(name: str, check: Find, tmp_path: Path) -> None:
    write_app(tmp_path, name, version="1", server="http")  # an image always has a version
    with serving(tmp_path) as server:
        results = check(f"http://127.0.0.1:{server.port}")
    failed = {name: result.reason for name, result in results.items() if result.verdict is Verdict.FAIL}
    assert failed == {}
    assert is_conformant(list(results.values()))
    passed = {name for name, result in results.items() if result.verdict is Verdict.PASS}
    assert passed >= starting("health.live", "infer.json", "binary.inputs", "refuse.json", "after.")


@pytest.mark.parametrize("name", SAVERS)
def test_a_rendered_server_with_grpc_passes_all_checks_of_both(name: str, check: Find, tmp_path: Path) -> None:
    write_app(tmp_path, name, version="1", server="http+grpc")
    with serving(tmp_path) as server:
        results = check(f"http://127.0.0.1:{server.port}", grpc=f"127.0.0.1:{server.grpc_port}")
    failed = {name: result.reason for name, result in results.items() if result.verdict is Verdict.FAIL}
    assert failed == {}
    passed = {name for name, result in results.items() if result.verdict is Verdict.PASS}
    assert {"grpc.contents", "grpc.raw", "grpc.http", "grpc.mistakes", "grpc.after"} <= passed


def test_the_reference_server_offers_all_that_is_checked(check: Find) -> None:
    with reference() as server:
        results = check(server.url)
    assert {name: result.reason for name, result in results.items() if result.verdict is not Verdict.PASS} == {}
    assert list(results) == [check.id for check in CHECKS]


def test_names_of_checks_are_unique_and_begin_with_a_group() -> None:
    names = [check.id for check in CHECKS]
    assert len(set(names)) == len(names)
    groups = {"health", "metadata", "infer", "refuse", "binary", "http", "coding", "triton", "after"}
    assert {name.partition(".")[0] for name in names} == groups
    assert all(check.section for check in CHECKS)


def test_what_a_server_does_not_claim_is_not_offered(check: Find) -> None:
    def claim_nothing(request: object, answer: Answer) -> Answer:
        if isinstance(answer.document, dict) and "extensions" in answer.document:
            return Answer(document={**answer.document, "extensions": []})
        return answer

    with reference(Fault(claim_nothing)) as server:
        results = check(server.url)
    assert {results[name].verdict for name in starting("binary.")} == {Verdict.NOT_OFFERED}
    assert results["binary.inputs"].reason == "the server's extensions are []"


@contextlib.contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """Give the URL of what sends the same bytes to everybody and closes, or with None says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    kept.append(client)
                    if answer is not None:
                        client.recv(65536)
                        client.sendall(answer)
                        client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for client in kept:
            client.close()


def http_answer(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 500])
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"inputs": 3}', b"\xff", b"[" * 5000], ids=repr)
def test_a_server_that_says_the_same_to_everything_is_judged(status: int, body: bytes, check: Find) -> None:
    with listening(http_answer(body, status)) as url:
        results = check(url, "any", seconds=5.0)
    assert not is_conformant(list(results.values()))
    assert results["health.live"].verdict is Verdict.FAIL


ODD_METADATA = [
    b'{"inputs": [{}]}',
    b'{"inputs": [3]}',
    b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-7]}]}',
    b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": ["a"]}]}',
    b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [99999999, 99999999]}]}',
    b'{"inputs": [{"name": 3, "datatype": [], "shape": [1]}]}',
    b'{"inputs": {"a": 1}, "outputs": 3, "versions": [3], "extensions": 3, "name": []}',
    b'{"inputs": [{"name": "x", "datatype": "X", "shape": [2]}], "outputs": [{"data": [1]}], "versions": [""]}',
    b'{"outputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": 3}], "extensions": ["binary_tensor_data"]}',
    b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": []}], "outputs": [{"name": "y"}], "versions": ["a/b"],'
    b'"extensions": ["binary_tensor_data"], "model_stats": [3], "name": "any"}',
]


@pytest.mark.parametrize("body", ODD_METADATA, ids=range(len(ODD_METADATA)))
def test_odd_documents_are_failures_and_never_an_error_of_ours(body: bytes, check: Find) -> None:
    with listening(http_answer(body)) as url:
        results = check(url, "any", seconds=5.0)
    assert not is_conformant(list(results.values()))


@pytest.mark.parametrize("answer", [b"", b"\0" * 100, b"HTTP/1.1 abc X\r\n\r\n"], ids=repr)
def test_what_is_no_http_is_an_error_that_names_the_url(answer: bytes) -> None:
    with listening(answer) as url, pytest.raises(EngineError, match="nothing answers at http://127"):
        check_server(Request(url, "any"), lambda _: None)


def test_a_server_that_keeps_silent_is_an_error() -> None:
    with listening(None) as url, pytest.raises(EngineError, match=r"no whole answer in 0\.2 s"):
        check_server(Request(url, seconds=0.2), lambda _: None)


def test_a_port_that_is_closed_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EngineError, match="nothing answers at") as caught:
        check_server(Request(f"127.0.0.1:{port}"), lambda _: None)
    assert caught.value.problems[0].hint == "start the server, or correct the URL"


def test_a_server_that_keeps_silent_later_ends_within_the_total_time(check: Find) -> None:
    begun = threading.Event()

    def hang(request: object, answer: Answer) -> Answer:
        if begun.is_set():
            threading.Event().wait(3)
        begun.set()
        return answer

    with reference(Fault(hang)) as server:
        results = check(server.url, "twice", seconds=0.1, total=0.5)
    reasons = {result.reason for result in results.values() if result.verdict is Verdict.FAIL}
    assert any("no whole answer in 0.1 s" in reason for reason in reasons)
    assert any("not asked: the time for all checks is over" in reason for reason in reasons)
    assert results["after.ready"].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://x", "it must look like http://HOST:PORT"),
        ("http://", "it must look like"),
        ("http://a:b@x/", "it must have no user"),
        ("http://x:99999", "Port out of range"),
        ("http://x/?a", "it must have no user, query"),
    ],
)
def test_a_url_that_is_none_is_an_error_of_usage(url: str, why: str) -> None:
    with pytest.raises(SpecError, match="is no URL of a server") as caught:
        check_server(Request(url), lambda _: None)
    assert why in str(caught.value)


def test_the_only_model_is_found_by_the_index_or_by_the_servers_name(tmp_path: Path) -> None:
    with reference() as server:
        assert check_server(Request(server.url), lambda _: None)[0] == "twice"


def test_a_server_that_does_not_tell_its_model_asks_for_the_option() -> None:
    class Plain(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"name": "server"}' if self.path == "/v2" else b""
            self.send_response(200 if body else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plain) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with pytest.raises(OnnxpackError, match="does not tell which model it has") as caught:
                check_server(Request(f"http://127.0.0.1:{server.server_address[1]}"), lambda _: None)
        finally:
            server.shutdown()
            thread.join()
    assert caught.value.problems[0].hint == "name it with --model NAME"


def test_only_a_required_check_that_fails_makes_a_server_not_conformant() -> None:
    def result(level: Level, verdict: Verdict) -> Result:
        return Result("a", "b", level, "c", verdict, "d")

    assert is_conformant([result(Level.ROBUSTNESS, Verdict.FAIL), result(Level.EXTENSION, Verdict.FAIL)])
    assert is_conformant([result(Level.REQUIRED, Verdict.NOT_OFFERED)])
    assert not is_conformant([result(Level.REQUIRED, Verdict.FAIL)])
