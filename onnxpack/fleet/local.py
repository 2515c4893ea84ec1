"""Runs jobs in processes of this machine, as many at once as its cores and its memory allow."""

import selectors
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxpack.core.errors import EngineError
from onnxpack.core.interrupts import count_signals, holding, uninterrupted
from onnxpack.fleet.events import Finished
from onnxpack.fleet.executor import Tell
from onnxpack.fleet.job import Job, Outcome
from onnxpack.fleet.machine import find_free_memory
from onnxpack.fleet.process import WorkerProcess, start_worker
from onnxpack.fleet.work import cancel_job, fail_job, leave_failure
from onnxpack.worker.process import Ended

_UNKNOWN_BYTES = 1_500_000_000
"""What a job counts that was never measured: about what the export of a PyTorch model takes."""
_HINT = "too little memory is the usual cause of a kill: run fewer at once by --jobs"
_GRACE = 30.0
"""Seconds for processes to put away what they are at: a task of theirs has 15."""
_HEED = 0.5
"""Seconds after which a signal is heeded that came just before the wait for processes began, which it does not end."""
_LOOK = 0.01  # seconds between two looks at whether processes have ended


class LocalProcesses:
    """An executor with up to ``workers`` processes, each of which runs one job after another.

    Jobs run at once as long as their measured peaks fit into ``memory_bytes``, by default what is free. One that would
    never fit runs alone.
    """

    def __init__(self, workers: int, memory_bytes: int | None = None) -> None:
        self._workers = workers
        self._memory = memory_bytes
        self._cancelled = False

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run all jobs, as ``Executor.run`` says; this machine's processes can always be started.

        Raises:
            OSError: the machine starts no process.
        """
        memory = find_free_memory() if self._memory is None else self._memory
        with holding(_Pool, _Pool.end) as pool:
            waiting = list(order_jobs(jobs))
            while waiting or pool.busy:
                if self._cancelled:
                    pool.interrupt()
                    for job in waiting:
                        tell(Finished(job.number, cancel_job(job)))
                    waiting.clear()
                while begun := self._choose(waiting, pool.busy, memory):
                    waiting.remove(begun)
                    pool.begin(begun)
                for worker in pool.wait() if pool.busy else ():
                    self._hear(pool, worker, tell)

    def cancel(self) -> None:
        """Begin no further job, and end those that run."""
        self._cancelled = True

    def close(self) -> None:
        """Do nothing: no process outlives ``run``."""

    def _choose(self, waiting: Sequence[Job], busy: Sequence[Job], memory: int) -> Job | None:
        """Return the first job that may be begun now beside the ``busy`` ones."""
        if len(busy) >= self._workers:
            return None
        free = memory - sum(map(_weigh, busy))
        return next((job for job in waiting if not busy or _weigh(job) <= free), None)

    def _hear(self, pool: "_Pool", worker: WorkerProcess, tell: Tell) -> None:
        """Tell the events of a process; one that has ended with a job gives the job's outcome too."""
        events = worker.receive()
        for event in events or ():
            if isinstance(event, Finished):
                worker.job = None
            tell(event)
        if events is None:
            ended, job = pool.drop(worker), worker.job
            if job:
                tell(Finished(job.number, cancel_job(job) if self._cancelled else _fail_dead(job, ended)))


def order_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs in the order to begin them.

    The targets of one spec share its export: at once all but one would wait for it, so those of other specs come
    between them. What takes long comes first, so that it is not what everybody waits for in the end.
    """
    seen: Counter[Path] = Counter()
    ranked = []
    for job in jobs:
        ranked.append((seen[job.spec], -job.needs.seconds, job.number, job))
        seen[job.spec] += 1
    return [job for *_, job in sorted(ranked, key=lambda row: row[:3])]


def _weigh(job: Job) -> int:
    return job.needs.memory_bytes or _UNKNOWN_BYTES


def _fail_dead(job: Job, ended: Ended) -> Outcome:
    """Return the outcome of a job whose process died, and leave it as the report of the target's last attempt."""
    error = EngineError(
        f"the process that built '{job.name}', target '{job.target}', died: {ended.words}",
        _HINT + ("; the end of its output is below" if ended.printed else ""),
        ended.printed,
    )
    outcome = fail_job(job, error, "process")
    leave_failure(job, outcome)
    return outcome


@dataclass
class _Pool:
    """The processes of one run."""

    workers: list[WorkerProcess] = field(default_factory=list)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    interrupted: bool = False

    @property
    def busy(self) -> list[Job]:
        """Return the jobs that are worked on."""
        return [worker.job for worker in self.workers if worker.job]

    def begin(self, job: Job) -> None:
        """Give a job to a process that has none, or to a new one."""
        worker = next((worker for worker in self.workers if worker.job is None), None)
        if worker is None:
            with uninterrupted():  # else it could be started and not be known here
                worker = start_worker()
                self.workers.append(worker)
                self.selector.register(worker.receiver.descriptor, selectors.EVENT_READ, worker)
        worker.begin(job)

    def wait(self) -> list[WorkerProcess]:
        """Wait a moment until processes have told something, and return those that have."""
        return [key.data for key, _ in self.selector.select(_HEED)]

    def drop(self, worker: WorkerProcess) -> Ended:
        """Take a process that has ended out, and return how it ended."""
        self.selector.unregister(worker.receiver.descriptor)
        self.workers.remove(worker)
        return worker.kill()

    def interrupt(self) -> None:
        """Let the processes that have jobs put them away, once: another signal would disturb that."""
        for worker in () if self.interrupted else self.workers:
            if worker.job:
                worker.interrupt()
        self.interrupted = True

    def end(self) -> None:
        """End all processes: those with a job put it away first, and a second signal kills them at once."""
        signals, deadline = count_signals(), time.monotonic() + _GRACE
        self.interrupt()
        for worker in self.workers:
            worker.finish()
        while any(worker.process.poll() is None for worker in self.workers):
            if count_signals() > signals or time.monotonic() > deadline:
                break
            time.sleep(_LOOK)
        while self.workers:
            self.workers.pop().kill()
        self.selector.close()
