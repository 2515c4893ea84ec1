"""Runs jobs in this process, one after another: what a single one needs, and the view of all that its build says."""

from collections.abc import Callable, Sequence

from onnxpack.cache.store import Store
from onnxpack.fleet.events import Finished, Started
from onnxpack.fleet.executor import Tell
from onnxpack.fleet.job import Job
from onnxpack.fleet.work import cancel_job, run_job
from onnxpack.pipeline.report import Attempt


class ThisProcess:
    """An executor that builds in this process; ``look`` receives each attempt before its outcome is told."""

    def __init__(self, store: Store, look: Callable[[Attempt], None] | None = None) -> None:
        self._store = store
        self._look = look
        self._cancelled = False

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run all jobs, as ``Executor.run`` says; the working folder must be theirs."""
        for job in jobs:
            if self._cancelled:
                tell(Finished(job.number, cancel_job(job)))
                continue
            tell(Started(job.number))
            tell(Finished(job.number, run_job(job, self._store, tell, self._look)))

    def cancel(self) -> None:
        """Begin no further job; the one at hand cannot be ended by itself."""
        self._cancelled = True

    def close(self) -> None:
        """Do nothing: there is nothing to end."""
