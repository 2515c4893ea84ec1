"""Dynamic batching: requests that are there at the same time run as one.

The model runs one batch at a time, and starts when it is free: what arrives meanwhile is the next batch.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BATCH_SIZE = 8  # rows of one run
MAX_DELAY = 0.0  # seconds that a request waits at most for others that are on their way

Arrays = dict[str, NDArray[Any]]


class Entry:
    """A request that is to be run with others."""

    __slots__ = ("alone", "arrays", "failure", "results", "rows", "since", "turn")

    def __init__(self, arrays: Arrays, rows: int) -> None:
        self.arrays = arrays
        self.rows = rows
        self.since = time.monotonic()
        self.results: Arrays | None = None
        self.failure: BaseException | None = None
        self.alone = False  # its batch failed, for which another request may be to blame
        self.turn = threading.Lock()  # released when there are results, or when it is to run the next batch
        self.turn.acquire()


class Batcher:
    """Combines requests of many threads into batches; the thread of the first one runs the batch."""

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        count_running: Callable[[], int],
        observe: Callable[[int, float, float], None],
    ) -> None:
        """Take what runs the model, what counts all requests at work, and what is told of each run."""
        self._model = run
        self._count_running = count_running
        self._observe = observe
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._waiting: deque[Entry] = deque()
        self._inside = 0  # requests that wait here, run, or leave
        self._busy = False

    def run(self, arrays: Arrays) -> Arrays:
        """Run a request, maybe with others of the same shape but for the rows; raise its own failure."""
        entry = Entry(arrays, len(next(iter(arrays.values()))))
        with self._lock:
            self._waiting.append(entry)
            self._inside += 1
            self._arrived.notify()
            leads, self._busy = not self._busy, True
        try:
            if not leads:
                entry.turn.acquire()
            return self._finish(entry)
        finally:
            with self._lock:
                self._inside -= 1
                self._arrived.notify()

    def _finish(self, entry: Entry) -> Arrays:
        if not (entry.results or entry.failure or entry.alone):
            self._run_batch(self._collect())
        if entry.alone:
            began = time.monotonic()
            results = self._model(entry.arrays)
            self._observe(entry.rows, time.monotonic() - began, 0.0)
            return results
        if entry.failure:
            raise entry.failure
        assert entry.results is not None
        return entry.results

    def _collect(self) -> list[Entry]:
        """Take the oldest request and those that fit to it, as many rows as the model takes."""
        with self._lock:
            first = self._waiting[0]
            while (left := first.since + MAX_DELAY - time.monotonic()) > 0:
                missing = MAX_BATCH_SIZE - sum(entry.rows for entry in self._waiting)
                if missing <= 0 or self._count_running() <= self._inside:  # nobody is coming
                    break
                self._arrived.wait(left)
            batch = [self._waiting.popleft()]
            shape, rows = get_shape(batch[0]), batch[0].rows
            others = deque[Entry]()
            while self._waiting and rows < MAX_BATCH_SIZE:
                entry = self._waiting.popleft()
                if rows + entry.rows <= MAX_BATCH_SIZE and get_shape(entry) == shape:
                    batch.append(entry)
                    rows += entry.rows
                else:
                    others.append(entry)
            self._waiting.extendleft(reversed(others))
        return batch

    def _run_batch(self, batch: list[Entry]) -> None:
        """Run a batch, let the next one start, and hand out the results."""
        results: Arrays = {}
        began = time.monotonic()
        try:
            if len(batch) == 1:
                results = self._model(batch[0].arrays)
            else:
                results = self._model({name: concatenate(name, batch) for name in batch[0].arrays})
        except BaseException as error:  # whatever it is, each request has to be answered
            if len(batch) == 1:
                batch[0].failure = error
            for entry in batch:
                entry.alone = entry.failure is None
        seconds = time.monotonic() - began
        self._pass_on()
        end = 0
        for entry in batch if results else ():
            start, end = end, end + entry.rows
            entry.results = {name: array[start:end] for name, array in results.items()}
        if results:
            self._observe(end, seconds, sum(began - entry.since for entry in batch))
        for entry in batch[1:]:
            entry.turn.release()

    def _pass_on(self) -> None:
        """Let the request that waits longest run the next batch."""
        with self._lock:
            self._busy = bool(self._waiting)
            if self._waiting:
                self._waiting[0].turn.release()


def concatenate(name: str, batch: list[Entry]) -> NDArray[Any]:
    """Return one input of all requests, row by row."""
    return np.concatenate([entry.arrays[name] for entry in batch])


def get_shape(entry: Entry) -> list[tuple[int, ...]]:
    """Return what the inputs of a batch must have in common: their shapes without the rows."""
    return [entry.arrays[name].shape[1:] for name in sorted(entry.arrays)]
