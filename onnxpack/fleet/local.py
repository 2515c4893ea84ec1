"""Runs jobs in processes of this machine, as many at once as its cores and its memory allow."""

from collections.abc import Sequence

from onnxpack.fleet.executor import Tell
from onnxpack.fleet.job import Job


class LocalProcesses:
    """An executor with up to ``workers`` processes, each of which runs one job after another."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run all jobs, as ``Executor.run`` says."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Begin no further job, and end those that run."""
        raise NotImplementedError

    def close(self) -> None:
        """End every process that is left."""
