"""Runs jobs on a Dask cluster that others have started: its workers share no disk with this machine."""

from collections.abc import Sequence

from onnxpack.cache.store import Store
from onnxpack.fleet.cluster import Cluster, connect, make_lost_error
from onnxpack.fleet.course import Course
from onnxpack.fleet.executor import Tell
from onnxpack.fleet.job import Job
from onnxpack.fleet.parcels import Parcels

PATIENCE = 60.0
"""Seconds that a job waits for a worker that can build it, as a cluster that grows may start one."""


class DaskCluster:
    """An executor on the cluster of the scheduler at ``dask://host:port``."""

    def __init__(self, url: str, store: Store, patience: float = PATIENCE) -> None:
        self._url = url
        self._store = store
        self._patience = patience
        self._cluster: Cluster | None = None
        self._cancelled = False

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run all jobs, as ``Executor.run`` says.

        Raises:
            EngineError: the scheduler cannot be reached or is gone, or a worker has other versions.
            SpecError: the URL is none, or Dask is not installed.
        """
        self._cluster = cluster = connect(self._url)
        cluster.require_same_versions()
        course = Course(cluster, Parcels(self._store), tell, self._patience)
        cluster.listen(course.news.put)
        course.add(jobs)
        while course.unfinished:
            if not cluster.alive:
                raise make_lost_error(self._url)
            if self._cancelled:
                course.cancel()
                return
            course.send()
            course.hear()

    def cancel(self) -> None:
        """Begin no further job, and end those that run."""
        self._cancelled = True

    def close(self) -> None:
        """End the connection; the scheduler then takes from its workers what is not finished."""
        if self._cluster:
            self._cluster.close()
            self._cluster = None
