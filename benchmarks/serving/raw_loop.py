"""The bound: threads that call session.run in a loop, with the session's options as the server has them.

Run by ``python raw_loop.py JOB`` with the packages of a bundle; the job and what comes out are JSON.
"""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime


@dataclass(frozen=True)
class Loop:
    """What to run."""

    model: str
    inputs: str
    """An npz file."""
    seconds: float
    threads: int = 1
    intra_op_threads: int = 1
    batch: int = 1
    """How often the inputs are repeated on their first axis."""


@dataclass(frozen=True)
class Pace:
    """What came of it."""

    rate: float
    """Rows a second: calls times the batch."""
    p50: float
    peak: float
    """Resident memory of this process, in megabytes."""


def run_loop(loop: Loop) -> Pace:
    """Run the model until the time is over."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = loop.intra_op_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(loop.model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    with np.load(loop.inputs) as archive:
        feeds = {name: np.concatenate([archive[name]] * loop.batch) for name in archive.files}
    times: list[list[float]] = [[] for _ in range(loop.threads)]
    for _ in range(3):
        session.run(names, feeds)
    began = time.perf_counter()

    def repeat(mine: list[float]) -> None:
        while (start := time.perf_counter()) < began + loop.seconds:
            session.run(names, feeds)
            mine.append(time.perf_counter() - start)

    threads = [threading.Thread(target=repeat, args=(mine,)) for mine in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    every = sorted(value for mine in times for value in mine)
    with open("/proc/self/status") as file:  # noqa: PTH123 -- memory is measured: nothing needless is imported
        peak = next(int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith("VmHWM:"))
    return Pace(len(every) * loop.batch / seconds, every[len(every) // 2], peak)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run_loop(Loop(**json.loads(sys.argv[1]))))))
