"""A server under load: how many clients ask it, what is counted, and what becomes of answers that are none."""

import contextlib
import os
import random
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_examples import MODULES, save_iris, write_modules
from serving import serving

from onnxpack.data.test_inputs import write_arrays
from onnxpack.timing import load as loading
from onnxpack.timing.load import Clients, Series, compute_quantiles, make_histogram, read_cpu, read_memory

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
OWN = str(os.getpid())


@contextlib.contextmanager
def answering(*parts: bytes) -> Iterator[int]:
    """Yield the port of a server that answers each request with the next of some texts, and then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                for part in parts:
                    client.recv(4096)
                    for piece in part.split(b"|"):
                        client.sendall(piece)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def iris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server, whose modules can be imported."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_modules(tmp_path, MODULES["iris"])
    save_iris(tmp_path / "model.onnx")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("inference", None)


def test_a_server_is_measured_from_one_client_to_several(iris: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arrays(iris / "case.npz", {"float_input": np.ones((1, 4), np.float32)})
    with serving(iris) as server:
        monkeypatch.setenv("ONNXPACK_FIRST_PROCESS", str(server.process.pid))
        monkeypatch.setattr(loading, "_FEWEST", 1)
        found = loading.main([str(server.port), str(iris / "case.npz"), "0.8"])
        answered = server.metric('onnxpack_requests_total{code="200"}')
    assert [point["clients"] for point in found["points"]][:2] == [1, 2]
    assert all(point["requests"] >= point["clients"] and not point["errors"] for point in found["points"])
    counted = sum(point["requests"] for point in found["points"]) + found["held_out"]["requests"]
    assert answered == counted + 1, "the datatypes were asked for, too"
    first = found["points"][0]
    assert sum(found["histogram"]["counts"]) == first["requests"]
    assert len(found["histogram"]["edges_seconds"]) == len(found["histogram"]["counts"]) + 1
    assert 0 < first["p50_seconds"] <= first["p90_seconds"] <= first["p99_seconds"] <= first["slowest_seconds"]
    assert found["held_out"]["rate"] > 0
    assert found["cores"] >= 1
    assert found["other_cpus"] >= 0
    assert 0 <= found["cpu_seconds"] * counted < found["seconds"] * (os.cpu_count() or 1) + 1
    assert found["idle_rss_bytes"] > 2**20


def test_more_clients_are_tried_until_twice_in_a_row_they_bring_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, rates = [], {1: 100.0, 2: 190.0, 4: 195.0, 8: 380.0, 16: 385.0, 32: 390.0, 64: 9999.0}

    class Known(Clients):
        def ask_again(self, number: int, seconds: float) -> Series:
            asked.append(number)
            return Series([0.01] * int(rates[number]), 0, 1.0)

    monkeypatch.setattr(loading, "read_memory", lambda process: 7)
    found = list(loading.raise_load(Known(0, b"", "1"), 3600.0))
    assert [number for number, _, _ in found] == asked == [1, 2, 4, 8, 16, 32]


def test_without_time_one_client_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(OK) as port:
        found = list(loading.raise_load(Clients(port, b"ask", OWN), 0.0))
    assert [(number, len(series.times), series.errors) for number, series, _ in found] == [(1, 1, 0)]


@pytest.mark.parametrize(
    ("parts", "answered", "errors"),
    [
        ([OK] * 3, 3, 1),  # then the connection ends
        ([b"HTTP/1.1 200 OK\r\nContent-|Length: 4\r\n\r\n{|  }"], 1, 1),
        ([OK, BUSY, OK], 2, 2),
        ([OK[:-1]], 0, 1),
        ([b"HTTP/1.1 500 Broken\r\nCONTENT-LENGTH: 1\r\n\r\nx"], 0, 2),
    ],
)
def test_answers_count_when_they_are_whole_and_of_status_200(parts: list[bytes], answered: int, errors: int) -> None:
    with answering(*parts) as port:
        series = Clients(port, b"ask", OWN).ask_again(1, 60.0)
    assert (len(series.times), series.errors) == (answered, errors)


def test_random_requests_come_as_often_as_they_are_drawn_and_wait_for_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gaps, moment, expected = random.Random(0), 0.0, -1
    while moment < 0.2:
        moment += gaps.expovariate(500.0)
        expected += 1
    monkeypatch.setattr(loading, "_MOST_CLIENTS", 2)
    with answering(*[OK] * 1000) as port:
        series = Clients(port, b"ask", OWN).ask_at_random(500.0, 0.2)
    assert (len(series.times), series.errors) == (expected, 0)


def test_random_requests_end_where_all_connections_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_MOST_CLIENTS", 2)
    with answering(OK) as port:
        series = Clients(port, b"ask", OWN).ask_at_random(500.0, 0.1)
    assert len(series.times) <= 2
    assert series.errors <= 4


def test_a_server_that_falls_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PATIENCE", 0.05)
    with answering(b"HTTP/1.1 200 OK\r\n", b"") as port, pytest.raises(SystemExit, match="does not answer within 0 s"):
        Clients(port, b"ask", OWN).ask_again(2, 60.0)


def test_quantiles_leave_out_what_happened_in_one_part() -> None:
    steady = [0.001] * 1000
    assert compute_quantiles(steady) == (0.001, 0.001, 0.001)
    assert compute_quantiles([*steady[:900], *[5.0] * 100]) == (0.001, 0.001, 0.001)
    assert compute_quantiles([0.001] * 50 + [1.0] * 50)[2] == 1.0, "few requests are one part"
    assert compute_quantiles([]) == (0.0, 0.0, 0.0)


def test_a_histogram_holds_every_request() -> None:
    times = [0.001, 0.002, 0.004, 1.5, 0.001]
    found = make_histogram(times)
    assert sum(found["counts"]) == 5
    assert found["edges_seconds"][0] < 0.001 < 1.5 < found["edges_seconds"][-1]
    assert make_histogram([]) == {"edges_seconds": [], "counts": []}


def test_workers_count_with_their_first_process() -> None:
    before = read_memory(OWN)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    both: list[Any] = [read_memory(OWN), read_cpu(OWN)]
    os.close(writing)
    os.waitpid(child, 0)
    os.close(reading)
    assert both[0] > before * 1.1
    assert both[1] > 0
