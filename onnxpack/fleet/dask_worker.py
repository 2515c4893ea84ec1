"""What a worker of a Dask cluster runs: one function, which builds a job in a process of its own."""

import select
import time
from collections.abc import Callable

from distributed import Status, Worker, get_worker

from onnxpack.core.errors import EngineError
from onnxpack.fleet.cluster import TOPIC
from onnxpack.fleet.events import AnyEvent, Finished, Started
from onnxpack.fleet.executor import Tell
from onnxpack.fleet.job import Job, Outcome
from onnxpack.fleet.process import WorkerProcess, start_worker
from onnxpack.fleet.remote import answer_request
from onnxpack.fleet.work import cancel_job, fail_job
from onnxpack.pipeline.stores import open_store
from onnxpack.worker.codec import encode
from onnxpack.worker.process import Ended

_LOOK = 0.5  # seconds between two looks at whether the job is still wanted
_GRACE = 20.0
"""Seconds for a process to put away what it is at."""


def build_on_worker(request: bytes, key: str) -> bytes:
    """Build the job of a request and return the encoded answer; ``key`` is that of the task.

    What happens is told to the client as events of Dask's. A job that nobody waits for any more is ended.
    """
    worker = get_worker()

    def tell(event: AnyEvent) -> None:
        worker.log_event(TOPIC, {"key": key, "event": encode(event)})

    def run(job: Job, told: Tell) -> Outcome:
        told(Started(job.number, str(worker.name)))
        return run_apart(job, told, lambda: _is_wanted(worker, key))

    return answer_request(request, open_store, tell, run)


def run_apart(job: Job, tell: Tell, is_wanted: Callable[[], bool]) -> Outcome:
    """Build a job in a new process and return its outcome; end the process once the job is not wanted any more."""
    process = start_worker()
    try:
        process.begin(job)
        while is_wanted():
            if not select.select([process.receiver.descriptor], [], [], _LOOK)[0]:
                continue
            events = process.receive()
            if events is None:
                return fail_job(job, _make_death_error(process.kill()), "process")
            for event in events:
                if isinstance(event, Finished):
                    process.finish()
                    return event.outcome
                if not isinstance(event, Started):  # that was told, with the worker's own name
                    tell(event)
        process.interrupt()
        return cancel_job(job)
    finally:
        _end(process)


def _make_death_error(ended: Ended) -> EngineError:
    hint = "too little memory is the usual cause of a kill: give the worker more, or fewer threads"
    return EngineError(f"the process that built it died: {ended.words}", hint, ended.printed)


def _end(process: WorkerProcess) -> None:
    """End a process: it is given time to share what it made, or to put away what it is at."""
    deadline = time.monotonic() + _GRACE
    while process.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()


def _is_wanted(worker: Worker, key: str) -> bool:
    """Return whether a task is still to be done: a client that cancels it, or is gone, takes it from the worker."""
    task = worker.state.tasks.get(key)
    ending = worker.status in (Status.closing, Status.closed, Status.failed)
    return task is not None and task.state != "cancelled" and not ending
