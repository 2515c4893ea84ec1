"""What clients may do to a generated server, by malice or mistake: it stays small, quick and right."""

import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving import INFER, Server, all_of, post, request, serving, start, wait_until, with_input

MIB = 2**20
QUICK = """
connection.FIRST_SECONDS = connection.HEAD_SECONDS = connection.BODY_SECONDS = connection.IDLE_SECONDS = 1
connection.WRITE_SECONDS = connection.LINGER_SECONDS = 1
app.TICK_SECONDS = 0.1
"""
SLOW = """
import time
quick = app.protocol.read
def slow(*arguments):
    time.sleep(0.1)
    return quick(*arguments)
app.protocol.read = slow
"""
GOOD = json.dumps(request()).encode()
READY = b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(apps: dict[str, Path]) -> Iterator[Server]:
    with serving(apps["transactions"]) as server:
        yield server


def read_some(client: socket.socket) -> bytes:
    """Return the first bytes that come, or none from a connection that was reset."""
    try:
        return client.recv(100)
    except ConnectionError:
        return b""


def is_ready(server: Server) -> None:
    assert server.ask("GET", "/v2/health/ready") == (200, {"ready": True})


@contextmanager
def many(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


def flood(client: socket.socket, data: bytes, times: int) -> int:
    """Send until the server takes nothing for a second; give the bytes that it took."""
    client.settimeout(1)
    sent = 0
    try:
        for _ in range(times):
            rest = memoryview(data)
            while rest:
                done = client.send(rest)
                sent, rest = sent + done, rest[done:]
    except (TimeoutError, ConnectionError):
        pass
    client.settimeout(30)
    return sent


def test_pipelined_requests_whose_answers_are_not_read_take_no_memory(server: Server) -> None:
    before = server.memory_peak()
    metadata = b"GET /v2/models/transactions HTTP/1.1\r\n\r\n"
    with server.connect() as client:
        sent = flood(client, metadata * 1000, 700)
        is_ready(server)
        assert sent < 28e6
        assert server.memory_peak() - before < 24 * MIB
        client.shutdown(socket.SHUT_WR)
        answers = all_of(client)
    assert answers.count(b"HTTP/1.1 200 OK") in (sent // len(metadata), sent // len(metadata) + 1)


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    bodies = [json.dumps(with_input(2, data=[i, 0], shape=[1, 2])).encode() for i in range(20)]
    with server.connect() as client:
        client.sendall(b"".join(post(body) + READY for body in bodies))
        client.shutdown(socket.SHUT_WR)
        answers = all_of(client)
    scores = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in answers.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert [answer["outputs"][0]["data"] for answer in scores[::2]] == [[52.0 + i] for i in range(20)]
    assert scores[1::2] == [{"ready": True}] * 20


def ask(server: Server, body: bytes) -> tuple[int, Any]:
    """Ask, and take it as refused if the server hangs up before all is sent."""
    try:
        return server.ask("POST", INFER, body)
    except ConnectionError:
        return 503, None


@pytest.mark.parametrize("size", [1, 7, 100, 8191, 8192, 16_385])
def test_requests_may_come_in_pieces_of_any_size(server: Server, size: int) -> None:
    chunked = b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    spaced = GOOD + b" " * (20_000 if size > 50 else 0)
    stream = (post(spaced) + READY + chunked % (INFER.encode(), len(spaced), spaced)) * 3
    with server.connect() as client:
        for start in range(0, len(stream), size):
            client.sendall(stream[start : start + size])
        client.shutdown(socket.SHUT_WR)
        answers = all_of(client)
    assert (answers.count(b"HTTP/1.1 200 "), answers.count(b"54.0")) == (9, 6)


def test_large_bodies_leave_health_checks_quick_and_memory_bounded(large: Path) -> None:
    ones = b"0.5," * (15 * MIB) + b"1"
    body = json.dumps(with_input(2, data=[])).encode().replace(b'"data": []', b'"data": [%b]' % ones)
    slowest = 0.0
    with serving(large) as server, ThreadPoolExecutor(4) as pool:
        before = server.memory_peak()
        asked = [pool.submit(ask, server, body) for _ in range(4)]
        while not all(each.done() for each in asked):
            began = time.monotonic()
            is_ready(server)
            slowest = max(slowest, time.monotonic() - began)
        grown = server.memory_peak() - before
        answers = [each.result() for each in asked]
    reasons = {status: answer["error"] for status, answer in answers if answer}
    assert "the shape [1, 2] has 2 elements, and 'data' has 15728641" in reasons[400]
    assert set(reasons) <= {400, 503}
    assert grown < 512 * MIB, "it was 3.6 GiB"
    assert slowest < 1.0, "it was seconds; 50 ms where nothing else runs"


def test_unfinished_bodies_share_a_budget(large: Path) -> None:
    half = post(b" " * (60 * MIB))[: 30 * MIB]
    with serving(large) as server:
        before = server.memory_peak()
        with many(server, 12) as clients, ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda client: flood(client, half, 1), clients))
            refused = select.select(clients, [], [], 0)[0]
            assert refused
            assert server.infer(request())[0] == 200, "a small request passes beside them"
            assert server.memory_peak() - before < 300 * MIB
        wait_until(lambda: server.metric("onnxpack_inflight_bytes") == 0)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET /v2 HTT", b"HTTP/1.1 408 "),
        (b"GET /v2 HTTP/1.1\r\nhost: x\r\n", b"HTTP/1.1 408 "),
        (post(GOOD)[:-1], b"HTTP/1.1 408 "),
        (READY, b"HTTP/1.1 200 "),
        (b"POST %b HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n" % INFER.encode(), b"HTTP/1.1 413 "),
        (b"POST /v3 HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", b"HTTP/1.1 404 "),
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "idle", "too large", "nothing there"],
)
def test_every_connection_ends(quick: Server, sent: bytes, answer: bytes) -> None:
    with quick.connect() as client:
        client.sendall(sent)
        assert all_of(client).startswith(answer)


@pytest.fixture(scope="module")
def quick(apps: dict[str, Path]) -> Iterator[Server]:
    with serving(apps["transactions"], QUICK) as server:
        yield server


def test_drops_in_time_do_not_keep_a_connection(quick: Server) -> None:
    with quick.connect() as client:
        for byte in READY[:30]:
            client.send(bytes([byte]))
            time.sleep(0.05)
        assert all_of(client).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_never_reads_is_let_go(quick: Server) -> None:
    with quick.connect() as client:
        flood(client, b"GET /v2/models/transactions HTTP/1.1\r\n\r\n" * 1000, 700)
        wait_until(lambda: quick.metric("onnxpack_connections") == 1)


def test_more_connections_than_files_are_refused(apps: dict[str, Path]) -> None:
    # The limit is read when the model is loaded, and it takes a moment until then.
    server = start(apps["transactions"], "app.LOG_SECONDS = 60", files=256)
    try:
        with many(server, 200) as clients:
            used = server.cpu_seconds()
            refused = select.select(clients, [], [], 5)[0]
            assert any(read_some(client).startswith(b"HTTP/1.1 503 ") for client in refused), "most are just closed"
            time.sleep(1)
            assert server.cpu_seconds() - used < 0.5
        wait_until(lambda: server.ask("GET", "/v2/health/ready")[0] == 200)
        assert server.stop().count("\n") == 1
    finally:
        server.process.kill()
        server.process.communicate()


def test_a_full_queue_says_when_to_come_back(apps: dict[str, Path]) -> None:
    with serving(apps["transactions"], SLOW.replace("0.1", "0.3") + "app.MAX_QUEUE = 4") as server:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: server.infer(request()), range(20)))
            is_ready(server)
        statuses = [status for status, _ in answers]
        assert statuses.count(200) >= 4
        assert statuses.count(503) >= 4
        refusal = next(answer["error"] for status, answer in answers if status == 503)
        assert refusal == "too many requests are waiting: try again in 1 s"
        with many(server, 12) as clients:
            for client in clients:
                client.sendall(post(GOOD))
            wait_until(lambda: server.metric("onnxpack_queue_requests") >= 3)
            assert any(b"\r\nretry-after: 1\r\n" in client.recv(1000) for client in clients)
        assert server.infer(request())[0] == 200


def test_small_requests_go_before_large_ones(apps: dict[str, Path]) -> None:
    body = GOOD + b" " * 200_000
    with serving(apps["transactions"], SLOW) as server, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(server.ask, "POST", INFER, body) for _ in range(16)]
        wait_until(lambda: server.metric("onnxpack_queue_requests") >= 10)
        assert server.infer(request())[0] == 200
        assert server.metric("onnxpack_queue_requests") >= 6
        assert {each.result()[0] for each in asked} == {200}


def test_large_requests_have_their_turn_among_small_ones(apps: dict[str, Path]) -> None:
    with serving(apps["transactions"], SLOW) as server, ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(server.infer, request()) for _ in range(30)]
        wait_until(lambda: server.metric("onnxpack_queue_requests") >= 20)
        assert server.ask("POST", INFER, GOOD + b" " * 200_000)[0] == 200
        assert server.metric("onnxpack_queue_requests") >= 5
        assert {each.result()[0] for each in asked} == {200}


@pytest.mark.parametrize("reset", [False, True])
def test_work_of_clients_that_left_is_dropped(apps: dict[str, Path], reset: bool) -> None:
    with serving(apps["transactions"], SLOW) as server:
        with many(server, 30) as clients:
            for client in clients:
                client.sendall(post(GOOD))
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            wait_until(lambda: server.metric("onnxpack_queue_requests") >= 20)
        assert server.infer(request())[0] == 200
        assert server.metric("onnxpack_dropped_requests_total") >= 15


def test_half_closing_clients_get_their_answer(apps: dict[str, Path]) -> None:
    with serving(apps["transactions"], SLOW) as server, many(server, 6) as clients:
        for client in clients:
            client.sendall(post(GOOD))
            client.shutdown(socket.SHUT_WR)
        for client in clients:
            answer = all_of(client)
            assert answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").startswith(b"HTTP/1.1 200 ")
            assert b"54.0" in answer


@pytest.mark.parametrize(
    ("start_of_it", "more"),
    [
        (b"GET /v2 HTTP/1.1\r\nx: ", b"y" * 100_000),
        (b"GET /v2 HTTP/1.1\r\n", b"x: y\r\n" * 10_000),
        (b"GET /", b"v" * 100_000),
        (b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" % INFER.encode(), b"x: y\r\n" * 10_000),
        (b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;" % INFER.encode(), b"y" * 100_000),
    ],
    ids=["one header", "many headers", "a path", "trailers", "extensions of chunks"],
)
def test_endless_headers_are_refused(server: Server, start_of_it: bytes, more: bytes) -> None:
    before, used = server.memory_peak(), server.cpu_seconds()
    with server.connect() as client:
        client.sendall(start_of_it)
        flood(client, more, 300)
        assert server.memory_peak() - before < 8 * MIB
        assert server.cpu_seconds() - used < 1
    with server.connect() as client:
        client.sendall(start_of_it + more * 2)
        assert all_of(client).startswith(b"HTTP/1.1 431 ")


def test_accepted_requests_finish_after_sigterm_and_new_ones_are_refused(apps: dict[str, Path]) -> None:
    server = start(apps["transactions"], SLOW)
    with ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(server.infer, request()) for _ in range(24)]
        wait_until(lambda: server.metric("onnxpack_queue_requests") >= 20)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.ask("GET", "/v2/health/ready") == (503, {"ready": False}))
        assert server.infer(request())[0] == 503
        assert server.ask("GET", "/v2/health/live")[0] == 200
        statuses = [each.result()[0] for each in asked]
    assert statuses.count(200) >= 20, "all that were there before the signal"
    assert set(statuses) <= {200, 503}
    _, errors = server.process.communicate(timeout=30)
    assert (server.process.returncode, errors.count("\n")) == (0, 1)


def test_the_drain_has_a_limit(apps: dict[str, Path]) -> None:
    server = start(apps["transactions"], SLOW.replace("0.1", "60") + "app.DRAIN_SECONDS = 0.5")
    with server.connect() as client:
        client.sendall(post(GOOD))
        wait_until(lambda: server.metric("onnxpack_running_requests") == 1)
        server.process.send_signal(signal.SIGTERM)
        _, errors = server.process.communicate(timeout=10)
    assert server.process.returncode == 0
    assert "1 requests are unanswered after 0.5 seconds" in errors


def test_offers_of_other_protocols_are_ignored(server: Server) -> None:
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__")
    with server.connect() as client:
        for _ in range(2):
            client.sendall(post(GOOD, *offer))
            assert b"54.0" in client.recv(10_000)
        client.sendall(b"CONNECT a:1 HTTP/1.1\r\n\r\n")
        assert all_of(client).startswith(b"HTTP/1.1 501 ")


def test_what_follows_a_refused_body_keeps_nothing(server: Server) -> None:
    head = b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" % INFER.encode()
    with server.connect() as client:
        client.sendall(head + b"%x\r\n%b\r\n0\r\n\r\n" % (1_000_001, b" " * 1_000_001) + READY * 3)
        assert all_of(client).startswith(b"HTTP/1.1 413 ")
    wait_until(lambda: server.metric("onnxpack_inflight_bytes") == 0)


def test_old_clients_that_half_close_get_no_other_answer_first(apps: dict[str, Path]) -> None:
    with serving(apps["transactions"], SLOW) as server, many(server, 6) as clients:
        for client in clients:
            client.sendall(post(GOOD).replace(b"HTTP/1.1", b"HTTP/1.0"))
            client.shutdown(socket.SHUT_WR)
        assert all(all_of(client).startswith(b"HTTP/1.1 200 ") for client in clients)


def test_old_clients_are_answered_and_let_go(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"GET /v2?x=1 HTTP/1.0\r\n\r\n")
        assert all_of(client).startswith(b"HTTP/1.1 200 ")


def test_any_bytes_do_no_harm(server: Server) -> None:
    parts = [b"GET ", b"POST ", INFER.encode(), b" HTTP/1.1\r\n", b"\r\n", b"content-length: 9\r\n", GOOD, b"\0\xff"]
    parts += [b"transfer-encoding: chunked\r\n", b"7\r\n", b"expect: 100-continue\r\n", b"upgrade: x\r\n", b"/v2", b":"]
    parts += [b"connection: upgrade\r\n", b"inference-header-content-length: 3\r\n", b"http://x/v2?%", b"-1", READY]
    for seed in range(150):
        choices = os.urandom(12) if seed > 50 else bytes((seed + step) * 7 % 256 for step in range(12))
        with server.connect() as client:
            client.sendall(b"".join(parts[choice % len(parts)] for choice in choices))
            client.shutdown(socket.SHUT_WR)
            try:
                answer = all_of(client)
            except ConnectionError:
                continue
        assert b"HTTP/1.1 500 " not in answer, choices.hex()
    is_ready(server)


def test_a_hundred_clients_at_once_are_answered(server: Server) -> None:
    barrier = threading.Barrier(50)

    def ask_once(_: int) -> int:
        barrier.wait()
        return server.infer(request())[0]

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(ask_once, range(100))) <= {200, 503}
    assert server.infer(request())[0] == 200
