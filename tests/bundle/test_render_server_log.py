"""The structured log of a generated server: one JSON object in a line, whatever clients send and however it is read."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from serving import INFER, Server, all_of, post, request, serving, start, wait_until, with_input

GOOD = json.dumps(request()).encode()
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = {"time", "level", "message", "method", "path", "status", "seconds", "bytes_in", "bytes_out", "request_id"}
FIELDS |= {"remote"}


def read_log(text: str) -> list[dict[str, Any]]:
    """Read the lines strictly."""
    entries = [json.loads(line) for line in text.splitlines()]
    assert all(TIME.fullmatch(entry["time"]) for entry in entries)
    assert text.isascii()
    return entries


@contextmanager
def logging_requests(folder: Path, change: str = "") -> Iterator[Server]:
    """A server that logs its requests, for a test that ends it."""
    server = start(folder, change, ONNXPACK_LOG="requests")
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        assert server.process.stderr is not None
        server.process.stderr.close()


def stop(server: Server) -> list[dict[str, Any]]:
    """End a server, and give the lines that it logged."""
    server.process.send_signal(signal.SIGTERM)
    _, errors = server.process.communicate(timeout=30)
    assert server.process.returncode == 0, errors
    return read_log(errors)


def ask(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> dict[str, str]:
    """One request; give the status and the headers of its answer."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        size = str(len(response.read()))
        given = {name.lower(): value for name, value in response.getheaders()}
        return {**given, "status": str(response.status), "size": size}


def test_each_answer_is_a_line(apps: dict[str, Path]) -> None:
    with logging_requests(apps["transactions"]) as server:
        answers = [
            ask(server, "POST", INFER, GOOD, X_Request_Id="order-7:a", traceparent=PARENT),
            ask(server, "POST", f"{INFER}?token=secret", json.dumps(with_input(0, data=[])).encode()),
            ask(server, "GET", "/nowhere", authorization="secret"),
            ask(server, "HEAD", "/v2"),
        ]
        with server.connect() as client:
            client.sendall(b"rubbish\r\n\r\n")
            all_of(client)
        first, *entries = stop(server)
    assert first["message"] == f"transactions 1.4.0: port {server.port}, 2 threads"
    assert [set(entry) for entry in entries] == [FIELDS | {"trace_id", "span_id"}, *[FIELDS] * 4]
    assert {entry["message"] for entry in entries} == {"request"}
    assert [(entry["method"], entry["path"], entry["status"], entry["level"]) for entry in entries] == [
        ("POST", INFER, 200, "info"),
        ("POST", INFER, 400, "warning"),
        ("GET", "/nowhere", 404, "warning"),
        ("HEAD", "/v2", 200, "info"),
        ("", "", 400, "warning"),
    ]
    for answer, entry in zip(answers, entries, strict=False):
        assert (answer["status"], answer["x-request-id"]) == (str(entry["status"]), entry["request_id"])
        assert answer["size"] == str(entry["bytes_out"])
        assert 0 <= entry["seconds"] < 30
        assert entry["remote"] == "127.0.0.1"
    assert entries[0]["bytes_in"] == len(GOOD)
    assert answers[0]["x-request-id"] == "order-7:a"
    assert (entries[0]["trace_id"], entries[0]["span_id"], answers[0]["traceparent"]) == (TRACE, SPAN, PARENT)
    assert all(re.fullmatch("[0-9a-f]{32}", entry["request_id"]) for entry in entries[1:])
    assert len({entry["request_id"] for entry in entries}) == len(entries)
    assert "secret" not in json.dumps(entries)


@pytest.mark.parametrize("name", ['a"b', "a b", "x" * 129, "\u00e9", "", "a\tb", "{}", "a,b", "<script>", "a\x1b[31m"])
def test_ids_that_could_do_harm_are_replaced(load: Callable[..., ModuleType], name: str) -> None:
    module = load("iris", "request_log")
    assert not module.REQUEST_ID.fullmatch(name.encode())


@pytest.mark.parametrize(
    ("header", "good"),
    [
        (PARENT, True),
        (PARENT.replace("00-", "01-", 1), True),
        (PARENT.replace("00-", "cc-", 1) + "-what-comes-later", True),
        (PARENT + "-what-comes-later", False),
        (PARENT + "-", False),
        (PARENT.replace("00-", "ff-", 1), False),
        (PARENT.upper(), False),
        (PARENT[:-1], False),
        (PARENT + "1", False),
        (PARENT.replace("00-", "0-", 1), False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        (f"00-{TRACE[:-1]}g-{SPAN}-01", False),
        (f"cc-{TRACE}-{SPAN}-01.x", False),
        (f" {PARENT}", False),
        ("", False),
    ],
)
def test_traces_are_read_as_the_w3c_has_them(load: Callable[..., ModuleType], header: str, good: bool) -> None:
    assert load("iris", "request_log").read_trace(header.encode()) == ((TRACE, SPAN) if good else None)


def test_lines_are_bounded_and_whole_whatever_a_path_holds(apps: dict[str, Path]) -> None:
    with logging_requests(apps["transactions"]) as server:
        with server.connect() as client:
            for path in (b"/%0A%22%7B%1B%5B31m", b"/" + b"%F0%9F%8D%8E" * 4000, b"/\xff\xfe"):
                client.sendall(b"GET %b HTTP/1.1\r\nx-request-id: a\xffb\r\n\r\n" % path)
            client.shutdown(socket.SHUT_WR)
            all_of(client)
        first, *entries = stop(server)
    assert [entry["status"] for entry in entries] in ([404] * 3, [404, 404, 400])
    assert entries[0]["path"] == '/\n"{\x1b[31m'
    assert len(entries[1]["path"]) == 2000
    assert first["level"] == "info"


def test_errors_are_lines_too(apps: dict[str, Path]) -> None:
    change = """
def fail(*arguments):
    raise RuntimeError("\\x1b[31mbroken\\n" + "x" * 9000)
app.protocol.read = fail
"""
    with logging_requests(apps["transactions"], change) as server:
        assert server.infer(request()) == (500, {"error": "internal error: see the server's log"})
        _, error, entry = stop(server)
    assert (error["level"], error["message"]) == ("error", f"POST {INFER} failed")
    assert len(error["traceback"]) == 2000
    assert (entry["status"], entry["level"]) == (500, "error")


def test_a_log_that_nobody_reads_holds_up_nothing(apps: dict[str, Path]) -> None:
    change = "import request_log; request_log.MAX_BYTES = 20_000; request_log.CLOSE_SECONDS = 30"
    with logging_requests(apps["transactions"], change) as server:
        with server.connect() as client:
            client.sendall(b"GET /v2/health/live HTTP/1.1\r\n\r\n" * 2000)  # a line each, of some 250 bytes
            client.shutdown(socket.SHUT_WR)
            assert all_of(client).count(b"HTTP/1.1 200 OK") == 2000
        assert server.infer(request())[0] == 200
        entries = stop(server)
    missed = sum(entry.get("missed", 0) for entry in entries)
    assert missed > 1000
    assert sum(entry["message"] == "request" for entry in entries) + missed == 2001
    assert {entry["level"] for entry in entries if "missed" in entry} == {"warning"}


def test_a_log_whose_reader_is_gone_holds_up_nothing(apps: dict[str, Path]) -> None:
    with logging_requests(apps["transactions"]) as server:
        assert server.process.stderr is not None
        server.process.stderr.close()
        for _ in range(3):
            assert server.infer(request())[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def test_lines_of_several_threads_are_whole(load: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("iris", "request_log")
    read, write = os.pipe()
    really_write = os.write
    monkeypatch.setattr(module.os, "write", lambda _, text: really_write(write, text[:100]))
    log = module.Log()
    threads = [
        threading.Thread(target=lambda: [log.put("info", "x" * 50, number=i) for i in range(100)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    os.close(write)
    with os.fdopen(read) as file:
        entries = read_log(file.read())
    assert sorted(entry["number"] for entry in entries) == sorted(list(range(100)) * 4)
    wait_until(lambda: not log._thread.is_alive())


def test_without_the_variable_nothing_is_logged_or_echoed(apps: dict[str, Path]) -> None:
    with serving(apps["transactions"], ONNXPACK_LOG="") as server:
        answer = ask(server, "POST", INFER, GOOD, X_Request_Id="a", traceparent=PARENT)
        assert answer.keys().isdisjoint({"x-request-id", "traceparent"})


def test_another_value_is_refused(apps: dict[str, Path]) -> None:
    environment = {**os.environ, "ONNXPACK_LOG": "all"}
    command = [sys.executable, "-B", "-m", "server"]
    done = subprocess.run(command, cwd=apps["transactions"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "ONNXPACK_LOG must be 'requests' or empty, got 'all'\n")


def test_requests_of_a_pipeline_have_ids_of_their_own(apps: dict[str, Path]) -> None:
    with logging_requests(apps["transactions"]) as server:
        with server.connect() as client:
            client.sendall(post(GOOD, "x-request-id: a") + post(GOOD, "x-request-id: b") + post(GOOD))
            client.shutdown(socket.SHUT_WR)
            ids = re.findall(rb"x-request-id: (\S+)", all_of(client))
        _, *entries = stop(server)
    assert ids[:2] == [b"a", b"b"]
    assert [entry["request_id"].encode() for entry in entries] == ids
