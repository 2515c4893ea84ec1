"""Time ONNX files side by side in one process, in turn, so that a noisy neighbour slows all of them.

All of it runs in a child process, with the session options of the module that ships.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from onnxpack.data.test_inputs import Arrays, read_arrays
from onnxpack.timing import BatchGain, Measured, compute_paired_gain
from onnxpack.timing.probe import read_peak_rss
from onnxpack.worker import Say, Task
from onnxpack.worker.call import call_alone

_LOADS = 3
_LEAST = 5
_MOST = 1000
"""How often each model runs, at least and at most, however long it takes."""
_WARM = 3
_QUICK = 0.02  # seconds; beyond, cold caches do not count

Work = Callable[[], Any]


def measure(
    models: Mapping[str, Path], inputs: Path, throughput: Path | None, seconds: float, threads: int | None
) -> dict[str, Measured]:
    """Measure latency at ``inputs``, rows per second at ``throughput``, load time and peak memory of ``models``.

    ``inputs`` and ``throughput`` are npz files of arrays by input name; ``seconds`` bounds the timing of all models
    together, but for the least number of runs.

    Raises:
        SourceError: the runtime refuses a model.
    """
    sessions, loads = load_in_turn({name: partial(open_timed_session, path, threads) for name, path in models.items()})
    # Half of the time for each of latency and throughput.
    share = seconds / (2 if throughput else 1)
    latencies = time_side_by_side(_works(sessions, read_arrays(inputs)), share)
    batch = read_arrays(throughput) if throughput else None
    batches = time_side_by_side(_works(sessions, batch), share) if batch else None
    # Freed before each file is loaded once more in a child for its peak memory.
    del sessions
    found = {}
    for name, path in models.items():
        times = latencies[name]
        many = batches[name] if batches else None
        found[name] = Measured(
            latency_p50_seconds=float(np.median(times)),
            latency_p99_seconds=float(np.percentile(times, 99)),
            speedup=compute_gain(latencies, name),
            rows_per_second=_rows(batch) / float(np.median(many)) if batch and many else None,
            throughput_gain=compute_gain(batches, name) if batches else None,
            peak_rss_bytes=call_alone(LoadAndRun(path, throughput or inputs, threads)),
            load_seconds=loads[name],
            runs=len(times),
        )
    return found


def measure_batch(model: Path, inputs: Path, sizes: tuple[int, int], seconds: float, threads: int | None) -> BatchGain:
    """Measure the rows per second at two numbers of rows: those of one request, and those of a batch of them.

    The rows are those of ``inputs``, over and over; ``seconds`` bounds the timing, but for the least number of runs.
    """
    session = open_timed_session(model, threads)
    arrays = read_arrays(inputs)
    rows = {
        str(size): {name: np.take(array, np.arange(size) % len(array), 0) for name, array in arrays.items()}
        for size in sizes
    }
    times = time_side_by_side({name: partial(session.run, None, batch) for name, batch in rows.items()}, seconds)
    least, most = sizes
    one, many = times[str(least)], times[str(most)]
    gain = compute_paired_gain(one, many) * most / least
    return BatchGain(least, most, least / float(np.median(one)), most / float(np.median(many)), gain)


def load_in_turn(loads: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, float]]:
    """Load each model several times in turn; return the models, and the median of each one's seconds."""
    made: dict[str, Any] = {}
    times: dict[str, list[float]] = {name: [] for name in loads}
    for done in range(_LOADS + 1):
        for name, load in loads.items():
            # One copy at a time: the old one is freed before the same model is loaded again.
            made.pop(name, None)
            started = time.perf_counter()
            made[name] = load()
            # The first round is for imports and caches.
            times[name] += [time.perf_counter() - started] if done else []
    return {name: made[name] for name in loads}, {name: float(np.median(seconds)) for name, seconds in times.items()}


def time_side_by_side(works: Mapping[str, Work], seconds: float) -> dict[str, list[float]]:
    """Return the seconds of each call; the n-th times of all were measured within one round.

    Who comes after a model that fills the caches, or uses up a CPU quota, pays for it. So every round has another
    order, and a quick one is called once unseen before it is timed.
    """
    quick: dict[str, bool] = {}
    for name, work in works.items():
        for _ in range(_WARM):
            started = time.perf_counter()
            work()
            # The last warm-up decides, after the caches are filled.
            quick[name] = time.perf_counter() - started < _QUICK
    times: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    # A fixed seed, so that two benchmarks have the same orders.
    generator = np.random.default_rng(0)
    began = time.perf_counter()
    for done in range(_MOST):
        if done >= _LEAST and time.perf_counter() - began > seconds:
            break
        for index in generator.permutation(len(names)):
            name = names[index]
            work = works[name]
            if quick[name]:
                work()
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    return times


def compute_gain(times: Mapping[str, list[float]], name: str) -> float:
    """Return how many times faster the model ``name`` was than the first one."""
    return compute_paired_gain(next(iter(times.values())), times[name])


def open_timed_session(path: Path, threads: int | None) -> ort.InferenceSession:
    """Return a CPU session made as the generated module makes it; ``threads`` of None are the usable CPUs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    # Spinning threads take six times the CPU at the same latency, and the CPU from whoever is timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Of every shape a plan would be kept.
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class LoadAndRun(Task[int]):
    """Load a model in a process of its own, run it once, and return the process's peak resident set in bytes."""

    NAME = "peak memory"
    path: Path
    inputs: Path
    threads: int | None

    def run(self, folder: Path, say: Say) -> int:
        """Load and run the model, and read this process's peak memory."""
        running = open_timed_session(self.path, self.threads)
        running.run(None, read_arrays(self.inputs))
        return read_peak_rss("self")


def _works(sessions: Mapping[str, ort.InferenceSession], arrays: Arrays) -> dict[str, Work]:
    return {name: partial(running.run, None, arrays) for name, running in sessions.items()}


def _rows(arrays: Arrays) -> int:
    return max(array.shape[0] if array.ndim else 1 for array in arrays.values())
