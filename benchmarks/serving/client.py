"""The load: a process of its own that asks a server over many connections, and tells how long each answer took.

It needs the standard library alone and does as little as it can for each answer, so that on a small machine the
server under test has most of the CPU. Run by ``python client.py JOB``; the job and what comes out are JSON.
"""

import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass

RECEIVE = 1 << 20
PATIENCE = 20.0
"""Seconds without any answer after which a server counts as stuck."""


@dataclass(frozen=True)
class Job:
    """What to ask, and how."""

    port: int
    request: str
    """The file with the bytes of one whole request."""
    connections: int
    seconds: float
    least: int = 1
    """Answers to wait for, even if that takes longer than `seconds`..."""
    most_seconds: float = 10.0
    """... but no longer than this."""
    rate: float = 0.0
    """Requests a second, one by one at even distances; 0: each connection asks again once it is answered."""


@dataclass(frozen=True)
class Load:
    """What came of a job; times are in seconds."""

    answers: int
    failures: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    """CPU time of this process, for all answers."""
    failure: str = ""
    """The beginning of one answer that was no success."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


class Link:
    """One connection, with the part of its answer that has arrived."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fileno = self.socket.fileno()
        self.request = request
        self.unsent = memoryview(b"")
        self.answer = b""
        self.started = 0.0

    def ask(self, started: float) -> bool:
        """Send the request; say whether all of it went out."""
        self.started = started
        self.unsent = memoryview(self.request)
        return self.send()

    def send(self) -> bool:
        """Send what is left; say whether nothing is."""
        while self.unsent:
            try:
                sent = self.socket.send(self.unsent)
            except BlockingIOError:
                return False
            self.unsent = self.unsent[sent:]
        return True


class Tally:
    """The answers so far."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.failures = 0
        self.failure = ""
        self.usual = 0
        """The length of the last success: most answers have it, and need no second look."""

    def take(self, link: Link, now: float) -> bool:
        """Read what arrived; say whether an answer is whole."""
        data = link.socket.recv(RECEIVE)
        if not data:
            raise ConnectionError(f"the server closed a connection, after {link.answer[:300]!r}")
        if link.answer or len(data) != self.usual:
            data = link.answer + data
            if not is_whole(data):
                link.answer = data
                return False
            link.answer = b""
        if data.startswith(b"HTTP/1.1 200"):
            self.usual = len(data)
            self.times.append(now - link.started)
        else:
            self.failures += 1
            self.failure = data[:300].decode("latin-1")
        return True


def is_whole(data: bytes) -> bool:
    """Say whether a response is complete."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    head = head.lower()
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])


def ask_closed(links: list[Link], job: Job, tally: Tally) -> float:
    """Have each connection ask again once it is answered; give the seconds that all took."""
    poller = select.epoll()
    by_number = {link.fileno: link for link in links}
    began = time.perf_counter()
    for link in links:
        whole = link.ask(time.perf_counter())
        poller.register(link.fileno, select.EPOLLIN if whole else select.EPOLLIN | select.EPOLLOUT)
    soon, latest = began + job.seconds, began + job.most_seconds
    while True:
        events = poller.poll(PATIENCE)
        if not events:
            raise TimeoutError(f"no answer within {PATIENCE:g} seconds")
        for number, event in events:
            link = by_number[number]
            if event & select.EPOLLOUT and link.send():
                poller.modify(number, select.EPOLLIN)
            answered = event & ~select.EPOLLOUT and tally.take(link, time.perf_counter())
            if answered and not link.ask(time.perf_counter()):
                poller.modify(number, select.EPOLLIN | select.EPOLLOUT)
        now = time.perf_counter()
        if now >= soon and (len(tally.times) + tally.failures >= job.least or now >= latest):
            return now - began


def ask_open(links: list[Link], job: Job, tally: Tally) -> float:
    """Ask at a fixed rate, whether or not answers come; a request's time begins when it is due."""
    busy: dict[int, Link] = {}
    idle = deque(links)
    waiting: deque[float] = deque()
    began = time.perf_counter()
    total = int(job.seconds * job.rate)
    asked = 0
    while len(tally.times) + tally.failures < total and time.perf_counter() < began + job.most_seconds:
        now = time.perf_counter()
        while asked < total and began + asked / job.rate <= now:
            waiting.append(began + asked / job.rate)
            asked += 1
        while waiting and idle:
            link = idle.popleft()
            busy[link.fileno] = link
            link.ask(waiting.popleft())
        due = began + asked / job.rate - time.perf_counter() if asked < total else 1.0
        writers = [number for number, link in busy.items() if link.unsent]
        # Unlike those of polls, its time-out is no whole number of milliseconds.
        readable, writable, _ = select.select(busy, writers, [], max(0.0, due))
        for number in writable:
            busy[number].send()
        for number in readable:
            if tally.take(busy[number], time.perf_counter()):
                idle.append(busy.pop(number))
    return time.perf_counter() - began


def apply_load(job: Job) -> Load:
    """Do a job."""
    with open(job.request, "rb") as file:  # noqa: PTH123 -- pathlib would cost this process its start
        request = file.read()
    links = [Link(job.port, request) for _ in range(job.connections)]
    tally = Tally()
    cpu = time.process_time()
    seconds = (ask_open if job.rate else ask_closed)(links, job, tally)
    cpu = time.process_time() - cpu
    for link in links:
        link.socket.close()
    times = sorted(tally.times) or [float("nan")]
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    return Load(len(tally.times), tally.failures, seconds, p50, p99, cpu, tally.failure)


def main() -> None:
    """Do the job that the command line has, and print what came of it."""
    sys.stdout.write(json.dumps(asdict(apply_load(Job(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
