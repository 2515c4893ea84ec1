"""What a server counts. Each figure is a number in a table that one thread writes and anybody may read."""

import os
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Upper ends of the histogram's buckets in seconds: what a client's time-out or an objective is likely to be.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PAGE = os.sysconf("SC_PAGE_SIZE")
MANY = 256  # predictions that are added up at once, unless somebody asks before
STAGES = ("queue", "read", "infer", "write")  # of a request
MAX_ROWS = 8  # larger runs are counted as ones of so many rows

# All numbers are float64, which Python writes in one go; whole numbers are exact in it up to 2**53.
FIGURES = np.dtype(
    [
        # As things are now.
        ("waiting", "f8"),
        ("running", "f8"),
        ("body_bytes", "f8"),
        ("connections", "f8"),
        ("ready", "f8"),
        ("memory", "f8"),
        ("files", "f8"),
        # As they add up.
        ("answers", "f8", 600),  # by status
        ("answer_seconds", "f8"),  # since their requests' first bytes
        ("latencies", "f8", len(BUCKETS) + 1),
        ("predictions", "f8", 2),  # that failed, and that succeeded
        ("prediction_seconds", "f8", 2),
        ("stage_seconds", "f8", len(STAGES)),  # of predictions that succeeded
        ("runs", "f8", MAX_ROWS + 1),  # of the model, by rows
        ("run_seconds", "f8", MAX_ROWS + 1),
        ("rows", "f8"),
        ("dropped", "f8"),  # predictions whose clients left before they ran
        ("started", "f8"),  # seconds since 1970
        ("newest", "f8"),  # the newest prediction, in seconds since 1970
        ("cpu_seconds", "f8"),
    ]
)


Figures = dict[str, NDArray[np.float64]]


class Source(Protocol):
    """What is read when the figures are asked for."""

    draining: bool
    body_bytes: int
    connections: Any
    workers: Any


Times = tuple[bool, int, float, float, float, float, float]
"""Of a prediction: whether it succeeded, the rows of its own run of the model, and by ``time.perf_counter``
when it was asked for, began, was read, was inferred, and was written."""


class Metrics:
    """Counts, in the event loop's thread alone."""

    def __init__(self, source: Source) -> None:
        self._source = source
        numbers = bytearray(FIGURES.itemsize)
        self._table = self._row = np.frombuffer(numbers, FIGURES)
        self._mine = split_row(memoryview(numbers))
        self._mine["started"][0] = find_start()
        self._answers, self._latencies = self._mine["answers"], self._mine["latencies"]
        self._answer_seconds = self._mine["answer_seconds"]
        self._newest_times: list[Times] = []  # not yet added up
        self._first_row = self._row.copy()

    def count_answer(self, status: int, seconds: float) -> None:
        """Count an answer, and the seconds since its request's first byte."""
        self._answers[status] += 1
        self._answer_seconds[0] += seconds
        self._latencies[bisect_left(BUCKETS, seconds)] += 1

    def count_prediction(self, times: Times) -> None:
        """Count a prediction that was tried, soon: to add up many at once takes a fifth of the time."""
        self._newest_times.append(times)
        if len(self._newest_times) >= MANY:
            self._add_up()

    def _add_up(self) -> None:
        times = np.array(self._newest_times)
        self._newest_times.clear()
        row = self._row
        good = times[times[:, 0] > 0]
        for result, some in enumerate((times[times[:, 0] == 0], good)):
            row["predictions"][0, result] += len(some)
            row["prediction_seconds"][0, result] += (some[:, 6] - some[:, 2]).sum()
        row["stage_seconds"] += np.diff(good[:, 2:], axis=1).sum(axis=0)
        row["newest"] = time.time() - time.perf_counter() + times[-1, 6]
        ran = times[times[:, 1] > 0]
        sizes = np.minimum(ran[:, 1], MAX_ROWS).astype(np.intp)
        row["runs"] += np.bincount(sizes, minlength=MAX_ROWS + 1)
        row["run_seconds"] += np.bincount(sizes, ran[:, 5] - ran[:, 4], MAX_ROWS + 1)
        row["rows"] += ran[:, 1].sum()

    def count_dropped(self) -> None:
        """Count a prediction whose client left before it ran."""
        self._mine["dropped"][0] += 1

    def forget(self) -> None:
        """Take back what was counted so far, since no client asked for it."""
        self._newest_times.clear()
        self._row[:] = self._first_row

    def read(self) -> Figures:
        """Return all figures as they are now."""
        self.update()
        return {name: self._table[name][0] for name in FIGURES.names or ()}

    def update(self) -> None:
        """Take down what is not counted at once, and what is looked at."""
        if self._newest_times:
            self._add_up()
        source, mine = self._source, self._mine
        mine["waiting"][0] = source.workers.waiting
        mine["running"][0] = source.workers.running
        mine["body_bytes"][0] = source.body_bytes
        mine["connections"][0] = len(source.connections)
        mine["ready"][0] = not source.draining
        mine["cpu_seconds"][0] = time.process_time()
        mine["memory"][0] = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
        mine["files"][0] = sum(1 for _ in Path("/proc/self/fd").iterdir())


def split_row(row: memoryview) -> dict[str, "memoryview[float]"]:
    """Return a row's figures as memoryviews: adding to one takes 50 ns, a quarter of what numpy takes."""
    numbers, start = row.cast("d"), 0
    views = {}
    for name in FIGURES.names or ():
        count = FIGURES[name].itemsize // numbers.itemsize
        views[name] = numbers[start : start + count]
        start += count
    return views


def find_start() -> float:
    """Return when this process started, in seconds since 1970."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]  # since the machine started
    running = time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")
    return time.time() - running
