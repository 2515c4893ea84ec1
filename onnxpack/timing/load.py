"""Send the server in a container more and more requests at once, and measure its answers, CPU time and memory.

It runs beside the server, as ``onnxpack.timing.soak`` does. First some clients ask again as soon as they are answered,
twice as many each time, until more of them bring no higher rate: that is the server's capacity. Then requests come at
random moments at a share of it, as those of many independent clients do; ``onnxpack.timing.queueing`` predicts their
times without having seen them. One thread is all clients. It makes its request once and reads no JSON, since it takes
its time from the same CPUs.
"""

import contextlib
import os
import random
import re
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.timing.probe import PATIENCE, find_model_path, find_process, read_datatypes, read_inputs
from onnxpack.timing.soak import make_body, read_rss

HELD_OUT = 0.65
"""The share of the capacity at which random requests come."""
_OPEN_SHARE = 0.35
"""The share of the time that is kept for them."""
_MOST_CLIENTS = 64
_GROWTH = 1.05
"""More clients count as a gain if they bring so many times the best rate before."""
_ENOUGH = 3_000
"""The requests after which a measurement ends before its time."""
_FEWEST = 100
"""The requests of which a slowest hundredth can be told."""
_PART, _RANDOM_PART = 100, 1_000
"""A quantile is the median of those of parts with so many requests: what else the machine did for a moment is left out.
Random ones come in clusters, which belong to the quantile: parts must be long beside them."""
_BINS = 40
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def main(arguments: list[str]) -> dict[str, Any]:
    """Measure; the arguments are the server's port, the file of a case, and seconds."""
    port, sample, seconds = arguments
    request = make_request(int(port), read_inputs(Path(sample)))
    return measure_load(Clients(int(port), request, find_process()), float(seconds))


def make_request(port: int, arrays: Mapping[str, Any]) -> bytes:
    """Return the bytes of a prediction's request over HTTP."""
    body, headers = make_body(read_datatypes(port), arrays)
    lines = [f"POST {find_model_path()}/infer HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def measure_load(clients: "Clients", seconds: float) -> dict[str, Any]:
    """Return the figures of a server under load, measured for about ``seconds`` in all, as JSON values."""
    import inference

    process = clients.process
    idle, used, began = read_memory(process), _Used.now(process), time.perf_counter()
    found = list(raise_load(clients, seconds))
    points = [{"clients": number, **series.describe(), "rss_bytes": rss} for number, series, rss in found]
    rate = HELD_OUT * max(point["rate"] for point in points)
    left = max(began + seconds - time.perf_counter(), 0.0)
    some = Series(part=_RANDOM_PART)
    if rate * left >= _FEWEST:
        some = clients.ask_at_random(rate, min(left, _ENOUGH / rate))
    cpu, others = used.since(process)
    answered = sum(len(series.times) for _, series, _ in found) + len(some.times)
    return {
        "cores": inference.cpu_count(),
        "seconds": time.perf_counter() - began,
        "points": points,
        "histogram": make_histogram(found[0][1].times),
        "held_out": some.describe() if some.times else None,
        "idle_rss_bytes": idle,
        "cpu_seconds": cpu / answered if answered else 0.0,
        "other_cpus": others,
    }


def raise_load(clients: "Clients", seconds: float) -> "Iterator[tuple[int, Series, int]]":
    """Yield numbers of clients, their answers and the memory in use, until more clients twice bring no more answers."""
    end, best, futile, number = time.perf_counter() + seconds * (1 - _OPEN_SHARE), 0.0, 0, 1
    while number <= _MOST_CLIENTS and futile < 2:
        left = end - time.perf_counter()
        if left <= 0 and number > 1:
            return
        series = clients.ask_again(number, min(seconds / 10, max(left, 0.0)))
        yield number, series, read_memory(clients.process)
        futile = 0 if series.rate > best * _GROWTH else futile + 1
        best, number = max(best, series.rate), 2 * number


@dataclass
class Series:
    """The answers of one measurement: ``times`` in seconds, in the order of their ends."""

    times: list[float] = field(default_factory=list)
    errors: int = 0
    elapsed: float = 0.0
    part: int = _PART
    """How many requests a part has of which a quantile is told."""

    @property
    def rate(self) -> float:
        """Return the requests per second that were answered."""
        return len(self.times) / self.elapsed if self.elapsed else 0.0

    def describe(self) -> dict[str, Any]:
        """Return its figures as JSON values."""
        p50, p90, p99 = compute_quantiles(self.times, self.part)
        return {
            "rate": self.rate,
            "p50_seconds": p50,
            "p90_seconds": p90,
            "p99_seconds": p99,
            "slowest_seconds": max(self.times, default=0.0),
            "requests": len(self.times),
            "errors": self.errors,
        }


def compute_quantiles(times: list[float], part: int = _PART) -> tuple[float, float, float]:
    """Return the times below which 50, 90 and 99 of 100 requests are: medians over parts of ``part`` requests."""
    if not times:
        return 0.0, 0.0, 0.0
    parts = np.array_split(times, max(len(times) // part, 1))
    p50, p90, p99 = np.median([np.quantile(part, (0.5, 0.9, 0.99)) for part in parts], axis=0).tolist()
    return p50, p90, p99


def make_histogram(times: list[float]) -> dict[str, list[float]]:
    """Return how many requests took how long, in bins each as much wider than the one before."""
    if not times:
        return {"edges_seconds": [], "counts": []}
    edges = np.geomspace(min(times) * 0.999, max(times) * 1.001, _BINS + 1)
    return {"edges_seconds": edges.tolist(), "counts": np.histogram(times, edges)[0].tolist()}


class Clients:
    """Some clients of one server that send one request again and again, in this thread.

    ``process`` is the number of the server's first process.
    """

    def __init__(self, port: int, request: bytes, process: str) -> None:
        self._port = port
        self._request = request
        self.process = process
        self._drawn = 0
        """How often random requests were asked: each time their moments are others."""

    def ask_again(self, number: int, seconds: float) -> Series:
        """Let ``number`` clients ask again as soon as they are answered, each once at least."""
        series = Series()
        with self._open(number) as connections:
            busy = {connection.fileno(): connection for connection in connections}
            began = time.perf_counter()
            for connection in connections:
                connection.send(self._request, time.perf_counter())
            while busy:
                for connection in _wait(busy, PATIENCE):
                    if not connection.receive(series):
                        continue
                    now = time.perf_counter()
                    more = now - began < seconds and len(series.times) + series.errors < _ENOUGH
                    if not (more and connection.send(self._request, now)):
                        del busy[connection.fileno()]
            series.elapsed = time.perf_counter() - began
        return series

    def ask_at_random(self, rate: float, seconds: float) -> Series:
        """Ask ``rate`` times a second on average, at moments that know nothing of each other (a Poisson process).

        A request that finds all connections in use waits for one, and its time counts from when it came.
        """
        series, gaps, late = Series(part=_RANDOM_PART), random.Random(self._drawn), deque[float]()
        self._drawn += 1
        with self._open(_MOST_CLIENTS) as free:
            busy: dict[int, _Connection] = {}
            began = time.perf_counter()
            end, coming = began + seconds, began + gaps.expovariate(rate)
            while busy or coming < end:
                while coming < end and coming <= (now := time.perf_counter()):
                    if not free:
                        late.append(coming)
                    elif (connection := free.pop()).send(self._request, now):
                        busy[connection.fileno()] = connection
                    coming += gaps.expovariate(rate)
                patience = PATIENCE if busy and coming >= end else max(coming - time.perf_counter(), 0.0)
                for connection in _wait(busy, patience):
                    if connection.receive(series) and not (late and connection.send(self._request, late.popleft())):
                        free.append(busy.pop(connection.fileno()))
            series.elapsed = time.perf_counter() - began
        return series

    @contextlib.contextmanager
    def _open(self, number: int) -> "Iterator[list[_Connection]]":
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(contextlib.closing(_Connection(self._port))) for _ in range(number)]


def _wait(busy: "Mapping[int, _Connection]", seconds: float) -> "list[_Connection]":
    """Return the connections on which something came, after ``seconds`` at most."""
    # select(2) takes microseconds; epoll_wait(2) would round the moments of requests to milliseconds.
    ready, _, _ = select.select(list(busy), [], [], seconds)
    if busy and not ready and seconds >= PATIENCE:
        raise SystemExit(f"the server does not answer within {PATIENCE:.0f} s while several clients ask it")
    return [busy[number] for number in ready]


class _Connection:
    """An open connection with at most one request on its way."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._came = 0.0
        self._received = bytearray()
        self._size = 0
        """The bytes of the whole answer; 0 until its head is there."""
        self._ended = False

    def fileno(self) -> int:
        """Return the number of its file."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, request: bytes, came: float) -> bool:
        """Send a request whose time counts from ``came``; return whether the server still takes any."""
        self._came, self._received, self._size = came, bytearray(), 0
        if self._ended:
            return False
        try:
            self._socket.sendall(request)
        except OSError:
            self._ended = True
        return not self._ended

    def receive(self, series: Series) -> bool:
        """Read what is there; return whether the answer has ended, which is then added to ``series``."""
        try:
            data = self._socket.recv(2**18)
        except OSError:
            data = b""
        self._received += data
        self._ended = not data
        if not self._size:
            head, end, _ = self._received.partition(b"\r\n\r\n")
            if end:
                length = _LENGTH.search(head)
                self._size = len(head) + len(end) + (int(length[1]) if length else 0)
        if data and not 0 < self._size <= len(self._received):
            return False
        if data and self._received.startswith(b"HTTP/1.1 200 "):
            series.times.append(time.perf_counter() - self._came)
        else:
            series.errors += 1
        return True


@dataclass(frozen=True)
class _Used:
    """The CPU seconds that were used until some moment: by the server, by this process, and by the whole machine."""

    moment: float
    server: float
    own: float
    machine: float

    @classmethod
    def now(cls, process: str) -> "_Used":
        """Read them; ``process`` is the server's first one."""
        return cls(time.perf_counter(), read_cpu(process), time.process_time(), _read_machine_cpu())

    def since(self, process: str) -> tuple[float, float]:
        """Return the CPU seconds of the server since then, and how many CPUs others had on average."""
        end = _Used.now(process)
        server = end.server - self.server
        others = end.machine - self.machine - server - (end.own - self.own)
        return server, max(others / (end.moment - self.moment), 0.0)


def read_cpu(process: str) -> float:
    """Return the CPU seconds of a process and its workers (fields 14 and 15 of /proc/PID/stat, proc(5))."""
    total = 0
    for number in _list_processes(process):
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def read_memory(process: str) -> int:
    """Return the resident sets of a process and its workers, in bytes."""
    return sum(map(read_rss, _list_processes(process)))


def _list_processes(process: str) -> list[str]:
    """Return a process and those that it started, as proc(5) numbers them."""
    children = Path(f"/proc/{process}/task/{process}/children")
    # Kernels that are built without it tell of none.
    return [process, *(children.read_text().split() if children.exists() else [])]


def _read_machine_cpu() -> float:
    """Return the CPU seconds that the machine did not rest, also those that its host gave to others (proc(5))."""
    user, nice, system, _, _, irq, softirq, steal, _, _ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
