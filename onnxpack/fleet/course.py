"""The course of jobs on a cluster: which wait here, which the scheduler has, and what becomes of each."""

import queue
import secrets
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxpack.core.errors import EngineError, OnnxpackError, describe_error
from onnxpack.core.text import clean, plural
from onnxpack.fleet.cluster import Cluster, make_lost_error
from onnxpack.fleet.delivery import Delivery
from onnxpack.fleet.events import AnyEvent, Finished, Noted, Started
from onnxpack.fleet.executor import Tell
from onnxpack.fleet.job import Job, Outcome
from onnxpack.fleet.parcels import Parcels
from onnxpack.fleet.resources import format_resources, is_offered, list_resources
from onnxpack.fleet.work import cancel_job, fail_job, leave_failure
from onnxpack.worker.codec import decode

if TYPE_CHECKING:
    from distributed import Future

RETRIES = 2
"""How often a job is begun again after its worker died."""
_LOOK = 0.5  # seconds between two looks at whether the scheduler is there
_REFRESH = 2.0  # seconds between two looks at which workers there are
_AHEAD = 2
"""How many jobs are sent for each thread of the workers, so that none waits for this machine."""
_LONGEST = 1000
_STAGE = "process"
_MADE_AGAIN = ("lost", "pending")
"""The states of a task whose answer was there, and is gone with its worker: the scheduler begins it again."""
_FUNCTION = "onnxpack.fleet.dask_worker:build_on_worker"


@dataclass
class _Sent:
    """A job that the scheduler has."""

    job: Job
    delivery: Delivery
    request: bytes
    needs: Mapping[str, float]
    future: "Future[bytes]"
    begun: int = 0
    """How many workers have begun it."""


class Course:
    """The jobs of one command on a cluster; every method is called in one thread."""

    def __init__(self, cluster: Cluster, parcels: Parcels, tell: Tell, patience: float) -> None:
        self.news: queue.SimpleQueue[Any] = queue.SimpleQueue()
        """Events of workers, and the keys of tasks that ended; other threads put them here."""
        self._cluster = cluster
        self._parcels = parcels
        self._tell = tell
        self._patience = patience
        self._waiting: deque[Job] = deque()
        self._stuck: list[Job] = []
        """Those that no worker could build when they were looked at."""
        self._sent: dict[str, _Sent] = {}
        self._name = secrets.token_hex(8)
        self._workers = cluster.list_workers()
        self._looked = time.monotonic()
        self._missed: dict[str, float] = {}
        """Since when no worker offers what some jobs need, by its words."""

    @property
    def unfinished(self) -> bool:
        """Return whether a job has no outcome yet."""
        return bool(self._waiting or self._stuck or self._sent)

    def add(self, jobs: Iterable[Job]) -> None:
        """Let jobs wait to be sent."""
        self._waiting.extend(jobs)

    def send(self) -> None:
        """Send as many jobs as the workers will soon want, and fail those that no worker can build for too long."""
        if time.monotonic() - self._looked > _REFRESH:
            self._look_at_workers()
        room = _AHEAD * sum(worker.threads for worker in self._workers) - len(self._sent)
        while self._waiting and (room > 0 or not self._workers):
            job = self._waiting.popleft()
            needs = list_resources(job.needs, self._workers)
            if is_offered(needs, self._workers):
                self._send_job(job, needs)
                room -= 1
            else:
                self._note_missing(job, needs)
                self._stuck.append(job)

    def hear(self) -> None:
        """Wait a moment for news, and take all that there is."""
        try:
            self._take(self.news.get(timeout=_LOOK))
            while True:
                self._take(self.news.get_nowait())
        except queue.Empty:
            return

    def cancel(self) -> None:
        """Take back every job that is not finished."""
        for key in list(self._sent):
            self._end(key, cancel_job(self._sent[key].job))
        for job in (*self._waiting, *self._stuck):
            self._tell(Finished(job.number, cancel_job(job)))
        self._waiting.clear()
        self._stuck.clear()

    def _look_at_workers(self) -> None:
        """Look at which workers there are by now, and at the jobs that had none."""
        self._workers = self._cluster.list_workers()
        self._looked = time.monotonic()
        for key, sent in list(self._sent.items()):
            if not is_offered(sent.needs, self._workers):
                self._note_missing(sent.job, sent.needs)
                if self._is_hopeless(sent.needs):
                    self._end(key, _fail(sent.job, _make_missing_error(sent.needs)))
        for job in list(self._stuck):
            needs = list_resources(job.needs, self._workers)
            if is_offered(needs, self._workers):
                self._missed.pop(format_resources(needs), None)
                self._stuck.remove(job)
                self._waiting.appendleft(job)
            elif self._is_hopeless(needs):
                self._stuck.remove(job)
                self._tell(Finished(job.number, _fail(job, _make_missing_error(needs))))

    def _note_missing(self, job: Job, needs: Mapping[str, float]) -> None:
        """Remember since when no worker offers something; the first job that waits for it says so."""
        words = format_resources(needs)
        if words not in self._missed:
            self._missed[words] = time.monotonic()
            text = f"no worker of the cluster offers {words}" if words else "the cluster has no worker"
            self._tell(Noted(job.number, f"{text}: waiting {self._patience:g} s for one"))

    def _is_hopeless(self, needs: Mapping[str, float]) -> bool:
        """Return whether no worker has come for so long that none is waited for."""
        since = self._missed.setdefault(format_resources(needs), time.monotonic())
        return time.monotonic() - since > self._patience

    def _send_job(self, job: Job, needs: Mapping[str, float]) -> None:
        try:
            delivery = Delivery(job, self._parcels)
            request = delivery.make_request()
        except (OnnxpackError, OSError) as error:
            self._tell(Finished(job.number, fail_job(job, error)))
            return
        self._submit(job, delivery, request, needs)

    def _submit(self, job: Job, delivery: Delivery, request: bytes, needs: Mapping[str, float]) -> None:
        """Give a job to the scheduler, under a name that no other task has."""
        key = f"onnxpack-{self._name}-{job.number}-{secrets.token_hex(2)}"
        future = self._cluster.submit(_FUNCTION, request, key, needs)
        self._sent[key] = _Sent(job, delivery, request, needs, future)
        self._watch(key, future)

    def _watch(self, key: str, future: "Future[bytes]") -> None:
        """Let it be news that a task has ended."""
        future.add_done_callback(lambda _: self.news.put(key))

    def _take(self, news: Any) -> None:
        """Take an event of a worker, or the key of a task that ended; what other commands are told is passed over."""
        key = news if isinstance(news, str) else news.get("key")
        sent = self._sent.get(key)
        if sent is None:
            return
        if isinstance(news, str):
            self._finish(key, sent)
            return
        event: AnyEvent = decode(news["event"], AnyEvent)  # type: ignore[arg-type]  # a union is a type for the codec
        if isinstance(event, Started):
            sent.begun += 1
            if sent.begun > 1 + RETRIES:
                self._end(key, _fail(sent.job, _make_death_error(sent.begun - 1)))
                return
        if not isinstance(event, Finished):
            self._tell(sent.delivery.bring_home(event))

    def _finish(self, key: str, sent: _Sent) -> None:
        """Take the answer of a task that ended, or what became of it instead."""
        if sent.future.status == "finished":
            try:
                outcome = sent.delivery.accept(self._cluster.gather(sent.future))
            except (OnnxpackError, OSError) as error:
                self._require_alive()
                if sent.future.status in _MADE_AGAIN:
                    self._watch(key, sent.future)
                    return
                outcome = _fail(sent.job, error)
            self._end(key, outcome)
        elif sent.future.status in _MADE_AGAIN:
            self._watch(key, sent.future)
        elif sent.future.status == "error":
            self._end_failed(key, sent)
        else:
            self._require_alive()
            text = "the scheduler took the job back before it was finished"
            self._end(key, _fail(sent.job, EngineError(text, "look into its log, and build again")))

    def _end_failed(self, key: str, sent: _Sent) -> None:
        """Fail a job that no worker answered; begin it again where its worker died."""
        error = sent.future.exception()
        if type(error).__name__ != "KilledWorker":  # named: Dask is imported where a cluster is used
            words = clean(describe_error(error, _LONGEST) if error else "nothing is known of it", _LONGEST)
            hint = "look whether the worker's environment is that of this command, and into its log"
            self._end(key, _fail(sent.job, EngineError(f"a worker could not begin the job: {words}", hint)))
        elif sent.begun > RETRIES:
            self._end(key, _fail(sent.job, _make_death_error(sent.begun)))
        else:
            del self._sent[key]
            self._submit(sent.job, sent.delivery, sent.request, sent.needs)

    def _end(self, key: str, outcome: Outcome) -> None:
        """Tell a job's outcome, and let the scheduler forget it."""
        sent = self._sent.pop(key)
        sent.future.cancel()
        self._tell(Finished(sent.job.number, outcome))

    def _require_alive(self) -> None:
        if not self._cluster.alive:
            raise make_lost_error(self._cluster.url)


def _fail(job: Job, error: Exception) -> Outcome:
    """Return the outcome of a job that no worker could finish, and leave it as the report of the last attempt."""
    outcome = fail_job(job, error, _STAGE)
    leave_failure(job, outcome)
    return outcome


def _make_death_error(times: int) -> EngineError:
    hint = "too little memory is the usual cause: give the workers more, or fewer threads"
    return EngineError(f"its worker died, {plural(times, 'time')} in a row", hint)


def _make_missing_error(needs: Mapping[str, float]) -> EngineError:
    if not needs:
        return EngineError("the cluster has no worker", "start one: dask worker tcp://host:port")
    words = format_resources(needs)
    hint = f'start one that has it: dask worker … --resources "{words}"'
    return EngineError(f"no worker of the cluster offers {words}", hint)
