"""What clients may do to a generated server over gRPC, by malice or mistake: it stays small, quick and right."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import open_inference_pb2 as messages
import pytest
from bundle_examples import IRIS, save_iris, write_modules
from calling import HEALTH, call, calling, make_request, read_answer, refuse
from serving import Server, serving, wait_until

from onnxpack.core.values import Axis

MIB = 2**20
INFER = "/inference.GRPCInferenceService/ModelInfer"
GOOD = make_request("iris", {"float_input": ("FP32", np.ones((1, 4), np.float32))})
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SLOW = """
import messages, time
quick = messages.read
def slow(body):
    time.sleep(0.05)
    return quick(body)
messages.read = slow
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server as it is rendered for flowers: messages of 80 kB at most."""
    return make_app(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes messages of 64 MiB, and any number of flowers up to a million."""
    return make_app(tmp_path_factory.mktemp("large"), max_body=64 * MIB, axes=(Axis("batch", 1, 8, 10**6),))


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes messages of 16 MiB."""
    return make_app(tmp_path_factory.mktemp("medium"), max_body=16 * MIB)


def make_app(folder: Path, **fields: Any) -> Path:
    write_modules(folder, replace(IRIS, server="http+grpc", **fields))
    save_iris(folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def server(small: Path) -> Iterator[Server]:
    with serving(small) as server:
        yield server


def is_well(server: Server) -> None:
    """Both protocols answer, and a prediction is made."""
    assert server.ask("GET", "/v2/health/ready") == (200, {"ready": True})
    with calling(server) as channel:
        assert channel.unary_unary(HEALTH)(b"", timeout=30, wait_for_ready=True) == b"\x08\x01"
        assert read_answer(call(channel, "ModelInfer", GOOD))["label"].tolist() == [0]


def test_a_message_that_is_too_large_is_refused_unread(server: Server) -> None:
    before = server.memory_peak()
    with calling(server) as channel:
        for size in (100_000, 40 * MIB):
            code, details = refuse(channel, "ModelInfer", b"\x0a" * size)
            assert code == "RESOURCE_EXHAUSTED"
            assert "larger than max" in details
            code, _ = refuse(channel, "ModelReady", b"\x0a" * size)
            assert code == "RESOURCE_EXHAUSTED"
    assert server.memory_peak() - before < 8 * MIB
    is_well(server)


MANY = {
    "empty inputs": b"\x2a\x00" * (8 * MIB),
    "inputs in one": b"\x2a" + b"\x80\x80\x80\x08" + b"\x0a\x00" * (8 * MIB),
    "unknown fields": b"\x78\x01" * (8 * MIB),
    "raw contents": b"\x3a\x00" * (8 * MIB),
    "outputs": b"\x32\x00" * (8 * MIB),
}


def test_messages_of_millions_of_fields_take_neither_memory_nor_time(large: Path) -> None:
    """protobuf's own classes take 45 times a message's bytes, and hold the interpreter for 2 s."""
    with serving(large) as server, calling(server) as channel:
        is_well(server)
        before = server.memory_peak()
        for name, body in MANY.items():
            cpu = server.cpu_seconds()
            code, details = refuse(channel, "ModelInfer", b"\x0a\x04iris" + body)
            assert (code, details) == ("INVALID_ARGUMENT", "the message has too many fields"), name
            assert server.cpu_seconds() - cpu < 2
        assert server.memory_peak() - before < 6 * 16 * MIB
        is_well(server)


def test_elements_without_end_are_not_read(large: Path) -> None:
    tensor = messages.ModelInferRequest.InferInputTensor(name="float_input", datatype="FP32", shape=[1, 4])
    for contents in (b"\x35\0\0\x80\x3f" * (3 * MIB), b"\x32\x80\x80\x80\x08" + b"\0" * (16 * MIB)):
        request = messages.ModelInferRequest(model_name="iris", inputs=[tensor])
        with serving(large) as server, calling(server) as channel:
            is_well(server)
            before = server.memory_peak()
            request.inputs[0].contents.MergeFromString(contents)
            code, details = refuse(channel, "ModelInfer", request)
            assert code == "INVALID_ARGUMENT"
            assert "takes 16 bytes" in details or "too many fields" in details
            assert server.memory_peak() - before < 4 * 16 * MIB


def test_compressed_messages_are_refused(server: Server) -> None:
    before = server.memory_peak()
    with calling(server) as channel:
        for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            code, details = refuse(channel, "ModelInfer", b"\0" * (30 * MIB), compression=algorithm)
            assert code == "UNIMPLEMENTED"
            assert "Compression algorithm" in details
    assert server.memory_peak() - before < 4 * MIB
    is_well(server)


def test_a_thousand_calls_at_once_are_answered_or_refused(small: Path) -> None:
    slow = f"{SLOW}\nimport rpc\nrpc.INLINE_SECONDS = -1"
    with serving(small, slow) as server, ExitStack() as stack:
        is_well(server)
        before = server.memory_peak()
        channels = [stack.enter_context(calling(server)) for _ in range(5)]
        data = GOOD.SerializeToString()
        calls = [channels[index % 5].unary_unary(INFER).future(data, timeout=60) for index in range(1000)]
        assert server.ask("GET", "/v2/health/ready") == (200, {"ready": True})
        codes = [one.code() for one in calls]
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.OK) >= 100
        assert codes.count(grpc.StatusCode.UNAVAILABLE) >= 100
        assert server.memory_peak() - before < 48 * MIB
        is_well(server)
        assert server.metric("onnxpack_inflight_bytes") == 0


def test_calls_whose_messages_do_not_come_end_and_keep_nobody_out(small: Path) -> None:
    with serving(small, "import rpc\nrpc.READ_SECONDS = 3\nrpc.MAX_CALLS = 40") as server, ExitStack() as stack:
        channels = [stack.enter_context(calling(server)) for _ in range(4)]
        calls = []
        for index in range(300):  # more than the server reads at the same time
            method = INFER if index % 4 else "/inference.GRPCInferenceService/ModelReady"
            ask = channels[index % 4].stream_unary(method)
            calls.append(ask.future(wait_for_ever(stack), timeout=30))
        codes = {one.code() for one in calls}
        assert codes <= {
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        }
        details = {one.details() for one in calls}
        assert {"the message took more than 3 seconds", "too many requests are waiting: try again in 1 s"} <= details
        wait_until(lambda: server.metric("onnxpack_inflight_bytes") == 0)
        is_well(server)


def wait_for_ever(stack: ExitStack) -> Iterator[bytes]:
    """Messages of which there is none until the test ends."""
    ended = Event()
    stack.callback(ended.set)

    def nothing() -> Iterator[bytes]:
        ended.wait(60)
        yield from ()

    return nothing()


def test_large_messages_wait_until_there_is_room(medium: Path) -> None:
    body = make_raw(12 * MIB)
    with serving(medium, SLOW) as server, ExitStack() as stack:
        is_well(server)
        before = server.memory_peak()
        calls = []
        for _ in range(24):
            channel = stack.enter_context(calling(server))
            calls.append(channel.unary_unary(INFER).future(body, timeout=60))
        is_well(server)
        codes = {one.code() for one in calls}
        assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE}
        # Four that arrive, two that wait or run, and two copies that gRPC makes for a moment.
        assert server.memory_peak() - before < 16 * 12 * MIB
        is_well(server)
        assert server.metric("onnxpack_inflight_bytes") == 0


def test_a_wrong_request_is_freed_at_once(large: Path) -> None:
    body = make_raw(48 * MIB)
    with serving(large) as server, calling(server) as channel:
        is_well(server)
        before = server.memory_peak()
        for _ in range(4):
            assert refuse(channel, "ModelInfer", body)[0] == "INVALID_ARGUMENT"
        assert server.memory_peak() - before < 5 * 48 * MIB, "gRPC alone has three copies for a moment"


def make_raw(size: int) -> bytes:
    """A request whose bytes do not fit its shape."""
    request = make_request("iris", {"float_input": ("FP32", np.ones((1, 4), np.float32))}, raw=True)
    request.raw_input_contents[0] = bytes(size)
    return request.SerializeToString()


def count(server: Server, code: int) -> float:
    """How many answers had this status."""
    try:
        return server.metric(f'onnxpack_requests_total{{code="{code}"}}')
    except StopIteration:
        return 0


class Raw:
    """A client of HTTP/2 that does as it likes: here it never says that it has read anything."""

    def __init__(self, server: Server) -> None:
        assert server.grpc_port is not None
        self.socket = socket.create_connection(("127.0.0.1", server.grpc_port), timeout=30)
        self.socket.sendall(PREFACE + self.frame(4, 0, 0, b""))
        self.stream = 1

    def frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def call(self, path: bytes, message: bytes) -> None:
        pairs = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
        pairs += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
        head = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in pairs)
        data = b"\0" + struct.pack(">I", len(message)) + message
        self.socket.sendall(self.frame(1, 4, self.stream, head) + self.frame(0, 1, self.stream, data))
        self.stream += 2

    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        self.socket.settimeout(0.01)
        try:
            return self.socket.recv(MIB) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


def test_answers_that_nobody_takes_are_bounded_and_end_with_their_connection(large: Path) -> None:
    """An answer of 8 MB for each of many small requests; an unread one can only be ended with its connection."""
    make_large = f"""
import messages, rpc
messages.write = lambda call, results: bytes(8 * 2**20)
age = {{"grpc.max_connection_age_ms": 1000, "grpc.max_connection_age_grace_ms": 1000}}
rpc.OPTIONS = tuple({{**dict(rpc.OPTIONS), **age}}.items())
rpc.INLINE_SECONDS = -1
rpc.BODY_BUDGET = {40 * MIB}
"""
    with serving(large, make_large) as server, ExitStack() as stack:
        with calling(server) as channel:
            channel.unary_unary(HEALTH)(b"", timeout=30, wait_for_ready=True)
        before = server.memory_peak()
        client = Raw(server)
        stack.enter_context(client.socket)
        for _ in range(100):
            client.call(INFER.encode(), GOOD.SerializeToString())
        wait_until(lambda: count(server, 503) >= 94)
        assert count(server, 200) >= 5
        assert server.memory_peak() - before < 4 * 40 * MIB + 32 * MIB, "gRPC has a copy of its own"
        wait_until(client.closed)
        with calling(server) as channel:
            data = channel.unary_unary(INFER)(GOOD.SerializeToString(), timeout=30, wait_for_ready=True)
            assert len(data) == 8 * MIB
        assert "bytes of answers are not taken" in server.stop()


def test_bytes_that_are_not_http2_do_no_harm(server: Server) -> None:
    assert server.grpc_port is not None
    before = server.memory_peak()
    chance = np.random.default_rng(3)
    for size in (0, 1, 24, 1000, 100_000):
        for start in (b"", PREFACE, PREFACE + b"\0\0\0\4\0\0\0\0\0", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=10) as client:
                try:
                    client.sendall(start + chance.bytes(size))
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass
                except OSError:
                    pass  # it was closed at once
    assert server.memory_peak() - before < 16 * MIB
    is_well(server)


def test_silent_and_half_open_connections_are_closed(small: Path) -> None:
    quick = """
import rpc
names = ("server_handshake_timeout", "max_connection_idle", "keepalive_time", "keepalive_timeout")
rpc.OPTIONS = tuple({**dict(rpc.OPTIONS), **{f"grpc.{name}_ms": 500 for name in names}}.items())
"""
    with serving(small, quick) as server, ExitStack() as stack:
        assert server.grpc_port is not None
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.grpc_port), timeout=30))
            for _ in range(50)
        ]
        for client in silent[:25]:
            client.sendall(PREFACE[:10])
        half = [Raw(server) for _ in range(20)]
        for raw in half:
            stack.enter_context(raw.socket)
        for client in silent:
            assert read_to_end(client)
        wait_until(lambda: all(raw.closed() for raw in half))
        is_well(server)


def read_to_end(client: socket.socket) -> bool:
    """Whether the server closes a connection."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def test_more_connections_than_files_keep_the_server_alive(small: Path) -> None:
    with serving(small, files=400) as server, ExitStack() as stack:
        assert server.grpc_port is not None
        for port in (server.grpc_port, server.port) * 220:
            client = stack.enter_context(socket.socket())
            client.settimeout(5)
            client.connect(("127.0.0.1", port))
        cpu = server.cpu_seconds()
        time.sleep(1)
        assert server.cpu_seconds() - cpu < 0.5
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 300
        stack.close()
        wait_until(lambda: len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 60)
        is_well(server)


def test_deadlines_that_pass_at_once_and_cancelled_calls_leave_nothing(server: Server) -> None:
    with calling(server) as channel:
        ask = channel.unary_unary(INFER)
        data = GOOD.SerializeToString()
        for _ in range(3):
            calls = [ask.future(data, timeout=0.001) for _ in range(100)]
            calls += [ask.future(data, timeout=30) for _ in range(100)]
            for one in calls[100:]:
                one.cancel()
            assert {one.code() for one in calls} <= {
                grpc.StatusCode.OK,
                grpc.StatusCode.UNAVAILABLE,  # more streams than one connection may have
                grpc.StatusCode.CANCELLED,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            }
    is_well(server)
    wait_until(lambda: server.metric("onnxpack_running_requests") + server.metric("onnxpack_queue_requests") == 0)
    assert server.metric("onnxpack_inflight_bytes") == 0


def test_the_largest_requests_do_not_keep_others_waiting(large: Path) -> None:
    request = make_request("iris", {"float_input": ("FP32", np.ones((10**6, 4), np.float32))})
    with serving(large) as server, ExitStack() as stack:
        is_well(server)
        calls = []
        for _ in range(3):
            channel = stack.enter_context(calling(server))
            calls.append(channel.unary_unary(INFER).future(request.SerializeToString(), timeout=60))
        answered = 0
        while not all(one.done() for one in calls):
            assert server.ask("GET", "/v2/health/ready")[0] == 200
            answered += 1
        answers = [one.code() for one in calls]
        assert set(answers) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        assert grpc.StatusCode.OK in answers
        assert answered >= 3


def test_a_log_does_not_grow_by_what_clients_do_wrong(small: Path) -> None:
    with serving(small) as server:
        assert server.grpc_port is not None
        with calling(server) as channel:
            for _ in range(20):
                refuse(channel, "ModelInfer", b"\xff" * 100)
                refuse(channel, "ModelInfer", b"\0" * 1000, compression=grpc.Compression.Gzip)
                refuse(channel, "ModelInfer", b"\0" * MIB)
                with socket.create_connection(("127.0.0.1", server.grpc_port)) as client:
                    client.sendall(b"\xff" * 100)
        assert server.stop() == ""
