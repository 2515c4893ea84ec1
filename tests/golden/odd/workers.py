"""The queue of predictions and the threads that make them: bounded, and small requests first."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

LARGE = 128 * 2**10  # bytes of a body from which a request does not go before smaller ones
QUEUE_SECONDS = 5.0  # a request that is likely to wait longer is refused at once: its client would give up
NEWEST = 0.1  # the weight of the newest request in the means of what requests take


class Work(Protocol):
    """What is asked of a request."""

    body: bytearray


W = TypeVar("W", bound=Work)
R = TypeVar("R")


class Lane(Generic[W]):
    """Requests of like size, and what they take."""

    def __init__(self) -> None:
        self.waiting: deque[W] = deque()
        self.running = 0
        self.seconds = 0.0  # of one run, as the clock on the wall has it
        self.cpu_seconds = math.inf  # of one run, in its own thread

    def measure(self, seconds: float, cpu_seconds: float) -> None:
        """Take the newest run into the means."""
        self.seconds += (seconds - self.seconds) * (NEWEST if self.seconds else 1)
        if math.isinf(self.cpu_seconds):
            self.cpu_seconds = cpu_seconds
        self.cpu_seconds += (cpu_seconds - self.cpu_seconds) * NEWEST


class Workers(Generic[W, R]):
    """Threads that run `work` on requests. All methods are for the event loop's thread."""

    def __init__(
        self,
        work: Callable[[W], R],
        alive: Callable[[W], bool],
        done: Callable[[W, R | None, BaseException | None], None],
        threads: int,
        max_queue: int,
    ) -> None:
        """`done` gets each request with its result, an exception, or neither if its client has left."""
        self.small: Lane[W] = Lane()
        self.large: Lane[W] = Lane()
        self.dropped = 0
        self._work = work
        self._alive = alive
        self._done = done
        self._max_queue = max_queue
        self._threads = max(2, threads)  # one is left for small requests while a large one runs
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="infer")
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self.small.waiting) + len(self.large.waiting)

    @property
    def running(self) -> int:
        """How many requests run."""
        return self.small.running + self.large.running

    def submit(self, request: W) -> int:
        """Run the request, now or later. Otherwise give the seconds after which it is worth another try."""
        lane = self._lane(request)
        if len(lane.waiting) >= self._max_queue:
            self._sweep(lane)
        ahead = len(self.small.waiting) * self.small.seconds
        if lane is self.large:
            ahead += len(self.large.waiting) * self.large.seconds
        seconds = ahead / (self._threads - (lane is self.large))
        if lane.waiting and (len(lane.waiting) >= self._max_queue or seconds > QUEUE_SECONDS):
            return max(1, math.ceil(seconds))
        lane.waiting.append(request)
        self._start()
        return 0

    def now(self, request: W, most: float) -> bool:
        """Run the request in this thread if nothing waits, and those like it take at most these seconds."""
        if self.small.cpu_seconds > most or self.small.waiting:
            return False
        self.small.running += 1
        self._finish(request, self.small, *self._run(request))
        return True

    def _lane(self, request: W) -> Lane[W]:
        return self.large if len(request.body) >= LARGE else self.small

    def _start(self) -> None:
        while self.running < self._threads:
            if self.large.waiting and not self.large.running:  # many small ones do not keep it from its turn
                lane = self.large
            elif self.small.waiting:
                lane = self.small
            elif self.large.waiting and self.large.running < self._threads - 1:
                lane = self.large
            else:
                return
            request = lane.waiting.popleft()
            if not self._alive(request):
                self._drop(request)
                continue
            lane.running += 1
            self._pool.submit(self._run_in_thread, request, lane)

    def _sweep(self, lane: Lane[W]) -> None:
        """Make room: whose client has left need not wait."""
        waiting = list(lane.waiting)
        lane.waiting = deque(request for request in waiting if self._alive(request))
        for request in set(waiting).difference(lane.waiting):
            self._drop(request)

    def _drop(self, request: W) -> None:
        self.dropped += 1
        self._done(request, None, None)

    def _run_in_thread(self, request: W, lane: Lane[W]) -> None:
        outcome = self._run(request)
        self._loop.call_soon_threadsafe(self._finish, request, lane, *outcome)

    def _run(self, request: W) -> tuple[R | None, BaseException | None, float, float]:
        began, cpu = time.perf_counter(), time.thread_time()  # the latter without other processes
        result, failure = None, None
        try:
            result = self._work(request)
        except BaseException as error:  # whatever it is, somebody waits for an answer
            failure = error
        return result, failure, time.perf_counter() - began, time.thread_time() - cpu

    def _finish(
        self,
        request: W,
        lane: Lane[W],
        result: R | None,
        failure: BaseException | None,
        seconds: float,
        cpu_seconds: float,
    ) -> None:
        lane.running -= 1
        if failure is None:  # refusals are quick, and say nothing about the model
            lane.measure(seconds, cpu_seconds)
        self._start()
        self._done(request, result, failure)
