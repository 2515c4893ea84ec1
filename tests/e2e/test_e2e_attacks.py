"""Attacks on a real container: what a client sends decides neither its memory nor its time, and it goes on serving."""

import contextlib
import copy
import json
import random
import re
import signal
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e_tools import PATIENCE, Box, Built, Client, Workshop, box, eventually

INFER = "/v2/models/iris/infer"
MIB = 2**20
GOOD = {"inputs": [{"name": "float_input", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}
PORTS = {"port_bindings": {8080: ("127.0.0.1",)}}


@pytest.fixture
def client(published: Box) -> Iterator[Client]:
    """Give a client of the iris server, which must be ready and alive afterwards, with its memory as before."""
    client = Client(published.find_port())
    assert client.infer(GOOD)[0] == 200
    before = published.measure_peak()
    yield client
    client.require_ready()
    assert client.infer(GOOD)[0] == 200
    assert published.measure_peak() - before < 16 * MIB


def change(**fields: object) -> dict[str, Any]:
    """Return the good request with other fields of its input."""
    document = copy.deepcopy(GOOD)
    document["inputs"][0] |= fields
    return document


@pytest.mark.case("S1")
@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (change(shape=[1, 3], data=[1, 2, 3]), "dimension 1: must be 4, got 3"),
        (change(shape=[4]), r"the shape must be \[batch, 4\]"),
        (change(datatype="FP64"), "'datatype' must be 'FP32'"),
        (change(name="other"), "input 'float_input' is missing"),
        ({"inputs": [*GOOD["inputs"], *GOOD["inputs"]]}, "must have a 'name' of its own"),
        ({"inputs": [*GOOD["inputs"], *change(name="more")["inputs"]]}, "there is no input 'more'"),
        ({"inputs": []}, "input 'float_input' is missing"),
        (change(shape=[2, 4], data=[[1, 2, 3, 4], [1, 2, 3]]), "not nested as the shape"),
        (change(data=["a", 1, 2, 3]), "numbers only"),
        (change(data=[1, 2, 3]), r"has 4 elements, and 'data' has 3"),
        (change(data=None), "'data' must be a list"),
        ([], "must be a JSON object"),
    ],
)
def test_wrong_inputs_are_refused_with_the_reason(client: Client, document: object, reason: str) -> None:
    status, answer, _ = client.infer(document)
    assert status == 400
    assert re.search(reason, answer["error"]), answer


@pytest.mark.case("S2")
@pytest.mark.parametrize("size", [2**60, 2**63, 10**30, -1, 0, 1.0, True, None])
def test_impossible_sizes_are_refused_without_memory(client: Client, size: object) -> None:
    assert client.infer(change(shape=[size, 4]))[0] == 400
    assert client.infer(change(shape=[size, size, 4]))[0] == 400


@pytest.mark.case("S3")
def test_a_body_above_the_limit_is_refused_before_it_is_sent(client: Client) -> None:
    with client.connect() as raw:
        raw.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {10**12}\r\n\r\n".encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.case("S3")
def test_endless_chunks_are_cut_off(client: Client) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with client.connect() as raw:
        raw.sendall(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(4096):  # 256 MiB
                raw.sendall(chunk)
            pytest.fail("the server read 256 MiB")


@pytest.mark.case("S3")
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_bomb_is_refused(client: Client, coding: str) -> None:
    packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    assert client.ask("POST", INFER, bomb, content_encoding=coding)[0] == 413
    good = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    body = good.compress(json.dumps(GOOD).encode()) + good.flush()
    assert client.ask("POST", INFER, body, content_encoding=coding)[0] == 200
    assert client.ask("POST", INFER, body[:-4], content_encoding=coding)[0] == 400


@pytest.mark.case("S3")
@pytest.mark.parametrize("bracket", ["[", '{"a":', '{"inputs":['])
def test_deep_json_is_refused(client: Client, bracket: str) -> None:
    status, answer, _ = client.ask("POST", INFER, (bracket * 10_000).encode())
    assert status == 400, answer


@pytest.mark.case("S3")
def test_slow_clients_are_cut_off_while_others_are_served(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(client.connect()) for _ in range(50)]
        for raw in slow:
            raw.sendall(f"POST {INFER} HTTP/1.1\r\nhost: ".encode())
        end = time.monotonic() + 30
        while slow and time.monotonic() < end:
            time.sleep(0.5)
            assert client.infer(GOOD)[0] == 200
            slow = [raw for raw in slow if not _is_closed(raw)]
        assert not slow, f"{len(slow)} connections with half a head are open after 30 s"


def _is_closed(raw: socket.socket) -> bool:
    """Send one more byte, and return whether the other side has had enough."""
    try:
        raw.sendall(b"x")
        raw.setblocking(False)
        raw.recv(1000)
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        raw.settimeout(60)


@pytest.mark.case("S4")
def test_nan_and_infinity_are_words_in_json(client: Client) -> None:
    status, answer, _ = client.infer(change(data=["NaN", "Infinity", "-Infinity", 1]))
    assert status == 200, answer
    for word in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = json.dumps(change(data=[0, 0, 0, "X"])).replace('"X"', word).encode()
        assert client.ask("POST", INFER, body)[0] == 400


@pytest.mark.case("S10")
def test_random_bytes_on_the_socket_are_survived(client: Client) -> None:
    chance = random.Random(12)
    good = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(json.dumps(GOOD))}\r\n\r\n".encode()
    good += json.dumps(GOOD).encode()
    for index in range(300):
        data = bytearray(good if index % 2 else chance.randbytes(chance.randrange(1, 3000)))
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with client.connect() as raw, contextlib.suppress(ConnectionError):
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda raw=raw: raw.recv(65536), b""))
            assert not answer.startswith(b"HTTP/1.1 5") or answer.startswith(b"HTTP/1.1 501"), (bytes(data), answer)


@pytest.mark.case("S11")
def test_binary_tensors_that_lie_are_refused(client: Client) -> None:
    part = np.array([5.1, 3.5, 1.4, 0.2], "<f4").tobytes()

    def ask(size: object, tail: bytes, header: Callable[[int], object] = lambda length: length) -> int:
        document = change(parameters={"binary_data_size": size})
        del document["inputs"][0]["data"]
        head = json.dumps(document).encode()
        lie = str(header(len(head)))
        return client.ask("POST", INFER, head + tail, inference_header_content_length=lie)[0]

    assert ask(16, part) == 200
    for size in (0, 15, 17, -16, 2**63, 1e3, "16", None, True):
        assert ask(size, part) == 400, size
    for tail in (b"", part[:-1], part + b"\0", part * 1000):
        assert ask(16, tail) == 400, len(tail)
    for header in (0, 1, -1, 10**30, "x", "", "1e3"):
        assert ask(16, part, lambda _, header=header: header) == 400, header
    assert ask(16, part, lambda length: length + 1) == 400


@pytest.fixture(scope="module")
def small_queue(workshop: Workshop, engine: Any) -> Built:
    """The transactions image with a queue of two."""
    spec = workshop.copy("transactions", "small-queue", runtime={"max_queue": 2, "drain": "100s"})
    return workshop.build(spec, workshop.root / "small-queue")


@contextlib.contextmanager
def overload(engine: Any, built: Built, length: int = 96) -> Iterator[tuple[Box, Client, dict[str, Any]]]:
    """Run a server with a fifth of a CPU, and give a request of that ``length`` that it needs a while for."""
    host = {**PORTS, "cpu_period": 100_000, "cpu_quota": 20_000}
    with box(engine, built.reference, host=host, ports=[8080]) as server:
        client = Client(server.ready().find_port())
        _, metadata, _ = client.ask("GET", "/v2/models/transactions")
        inputs = []
        for item in metadata["inputs"]:
            shape = [{0: 64, 1: length}[axis] if size == -1 else size for axis, size in enumerate(item["shape"])]
            count = int(np.prod(shape))
            inputs.append({"name": item["name"], "datatype": item["datatype"], "shape": shape, "data": [1] * count})
        yield server, client, {"inputs": inputs}


@pytest.mark.case("S5")
def test_overload_is_refused_while_health_stays_right_and_then_it_recovers(small_queue: Built, engine: Any) -> None:
    path = "/v2/models/transactions/infer"
    with overload(engine, small_queue) as (_, client, document), ThreadPoolExecutor(40) as pool:
        assert client.infer(document, path)[0] == 200
        futures = [pool.submit(client.infer, document, path) for _ in range(40)]
        while not all(future.done() for future in futures):
            client.require_ready()
            assert client.ask("GET", "/v2/health/live")[0] == 200
        answers = [future.result() for future in futures]
        assert {status for status, _, _ in answers} == {200, 503}
        waits = [int(headers["retry-after"]) for status, _, headers in answers if status == 503]
        assert all(1 <= seconds <= 60 for seconds in waits), waits
        assert client.infer(document, path)[0] == 200


@pytest.mark.case("S6")
def test_sigterm_lets_accepted_requests_finish(small_queue: Built, engine: Any) -> None:
    path = "/v2/models/transactions/infer"
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        # So long that no machine runs one in the loop that answers for the queue.
        server, client, document = stack.enter_context(overload(engine, small_queue, 384))
        stack.enter_context(client.connect())  # an idle one must not hold it up
        futures = [pool.submit(client.infer, document, path) for _ in range(3)]  # one runs, two wait
        names = ("onnxpack_queue_requests", "onnxpack_running_requests")
        eventually(lambda: client.read_metric(*names) == 3, "all three requests were accepted")
        engine.kill(server.id, "SIGTERM")
        assert [future.result()[0] for future in futures] == [200] * 3
        assert engine.wait(server.id, timeout=PATIENCE)["StatusCode"] == 0, server.log()


@pytest.mark.case("S6")
def test_sigterm_while_it_starts_ends_it(iris: Built, engine: Any) -> None:
    chance = random.Random(6)
    for _ in range(4):
        with box(engine, iris.reference) as server:
            status = Path(f"/proc/{server.facts()['State']['Pid']}/status")
            eventually(lambda status=status: _catches_sigterm(status), "the server took signals")
            time.sleep(chance.random() * 0.5)
            engine.kill(server.id, "SIGTERM")
            code = engine.wait(server.id, timeout=PATIENCE)["StatusCode"]
            assert code == 0, server.log()


def _catches_sigterm(status: Path) -> bool:
    """Return whether a process has a handler: before it has, as its container's first one, it ignores the signal."""
    caught = int(status.read_text().split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.case("S7")
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("path.unlink()", "model.onnx"),
        ("path.write_bytes(path.read_bytes()[:1000])", "cannot load"),
        ("path.write_bytes(b'')", "cannot load"),
    ],
)
def test_a_damaged_model_is_never_ready(iris: Built, engine: Any, damage: str, reason: str) -> None:
    program = f"""
import pathlib, runpy
path = pathlib.Path("/opt/onnxpack/app/model.onnx")
{damage}
runpy.run_module("server", run_name="__main__")
"""
    with box(engine, iris.reference, entrypoint=["python3", "-c", program], user="0") as server:
        assert engine.wait(server.id, timeout=PATIENCE)["StatusCode"] == 1
        log = server.log()
    assert reason in log
    assert "Traceback" not in log
