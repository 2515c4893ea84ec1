"""The queue of predictions and the threads that make them: bounded, and small requests first."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from numpy.typing import NDArray

from inference import Model
from metrics import Metrics, Times
from protocol import Call

LARGE = 128 * 2**10  # bytes of a request from which it does not go before smaller ones
QUEUE_SECONDS = 5.0  # a request that is likely to wait longer is refused at once: its client would give up
COLD_RUNS = 5  # the first runs, of which the quickest counts
NEWEST = 0.1  # the weight of the newest request in the means of what requests take
Infer = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


class Task(Protocol):
    """A prediction that somebody waits for; ``read`` and ``write`` are called in a thread, mostly."""

    @property
    def size(self) -> int:
        """Return the bytes that came."""

    @property
    def alive(self) -> bool:
        """Return whether anybody still waits for the answer."""

    def read(self) -> Call:
        """Read the request; ValueError if it is wrong."""

    def write(self, call: Call, results: dict[str, NDArray[Any]]) -> None:
        """Make the answer, and keep it for ``finish``."""

    def finish(self, failure: BaseException | None) -> None:
        """Send the answer, or say why there is none."""

    def drop(self) -> None:
        """Forget it: nobody waits."""


class Job:
    """A task, and what it took."""

    __slots__ = ("failure", "queued", "task", "times")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.queued = time.perf_counter()
        self.failure: BaseException | None = None
        self.times: Times

    def run(self, infer: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]) -> None:
        """Do it, in any thread."""
        clock = time.perf_counter
        began = read = inferred = clock()
        rows = 0  # of its run of the model
        try:
            call = self.task.read()
            read = inferred = clock()
            results = infer(call.arrays)
            inferred = clock()
            rows = len(next(iter(call.arrays.values())))
            self.task.write(call, results)
        except ValueError as error:
            error.__cause__ = error.__context__ = None  # their frames hold all that the client sent
            self.failure = error.with_traceback(None)
        except BaseException as error:  # whatever it is, somebody waits for an answer
            self.failure = error
        self.times = (self.failure is None, rows, self.queued, began, read, inferred, clock())


class Lane:
    """Tasks of like size, and what they take."""

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.running = 0
        self.seconds = 0.0  # of one run, as the clock on the wall has it
        self.cpu_seconds = math.inf  # of one run, in its own thread
        self.runs = 0

    def measure(self, seconds: float, cpu_seconds: float) -> None:
        """Take the newest run into the means."""
        self.seconds += (seconds - self.seconds) * (NEWEST if self.seconds else 1)
        self.runs += 1
        if self.runs <= COLD_RUNS:
            self.cpu_seconds = min(cpu_seconds, self.cpu_seconds)
        else:
            self.cpu_seconds += (cpu_seconds - self.cpu_seconds) * NEWEST


class Workers:
    """Threads that run a model. All public methods are for the event loop's thread."""

    def __init__(self, model: Model, threads: int, max_queue: int, metrics: Metrics) -> None:
        self.small = Lane()
        self.large = Lane()
        self._metrics = metrics
        self._max_queue = max_queue
        self._threads = max(2, threads)  # one is left for small requests while a large one runs
        self._infer: Infer = model.run_checked
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="infer")
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """Return how many tasks wait."""
        return len(self.small.waiting) + len(self.large.waiting)

    @property
    def running(self) -> int:
        """Return how many tasks run."""
        return self.small.running + self.large.running

    def submit(self, task: Task) -> int:
        """Run a task, now or later. Otherwise return the seconds after which it is worth another try."""
        lane = self._find_lane(task)
        if len(lane.waiting) >= self._max_queue:
            self._sweep(lane)
        ahead = len(self.small.waiting) * self.small.seconds
        if lane is self.large:
            ahead += len(self.large.waiting) * self.large.seconds
        seconds = ahead / (self._threads - (lane is self.large))
        if lane.waiting and (len(lane.waiting) >= self._max_queue or seconds > QUEUE_SECONDS):
            return max(1, math.ceil(seconds))
        lane.waiting.append(Job(task))
        self._start()
        return 0

    def _find_lane(self, task: Task) -> Lane:
        return self.large if task.size >= LARGE else self.small

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
            job = lane.waiting.popleft()
            if not job.task.alive:
                self._drop(job)
                continue
            lane.running += 1
            self._pool.submit(self._run, job, lane)

    def _sweep(self, lane: Lane) -> None:
        """Make room: whose client has left need not wait."""
        waiting = list(lane.waiting)
        lane.waiting = deque(job for job in waiting if job.task.alive)
        for job in set(waiting).difference(lane.waiting):
            self._drop(job)

    def _drop(self, job: Job) -> None:
        self._metrics.count_dropped()
        job.task.drop()

    def _run(self, job: Job, lane: Lane) -> None:
        """Run a job in a thread."""
        cpu = time.thread_time()  # without other threads and processes
        job.run(self._infer)
        self._loop.call_soon_threadsafe(self._end, job, lane, time.thread_time() - cpu)

    def _end(self, job: Job, lane: Lane, cpu_seconds: float) -> None:
        lane.running -= 1
        self._start()
        self._finish(job, lane, cpu_seconds)

    def _finish(self, job: Job, lane: Lane, cpu_seconds: float) -> None:
        if job.failure is None:  # refusals are quick, and say nothing about the model
            lane.measure(job.times[6] - job.times[3], cpu_seconds)
        self._metrics.count_prediction(job.times)
        job.task.finish(job.failure)
        job.failure = None  # its frames hold the job
