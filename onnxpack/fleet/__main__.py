"""The process of a fleet: it builds the jobs that come through its input, one after another, and tells events."""

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable

from onnxpack.cache.store import Store
from onnxpack.core import interrupts, quiet
from onnxpack.fleet.channel import Sender, receive_job
from onnxpack.fleet.events import AnyEvent, Finished, Started, Warned
from onnxpack.fleet.job import Job
from onnxpack.fleet.work import run_job
from onnxpack.pipeline.stores import open_store

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_INTERRUPTED = 130


def main(events: int, parent: int) -> int:
    """Build jobs until no other comes; return the exit status.

    ``events`` is the file descriptor to tell events through, and ``parent`` the number of the command's process.
    """
    try:
        interrupts.heed_signals()
        _end_with(parent)
        _build_all(Sender(events))
        status = 0
    except KeyboardInterrupt:
        status = _INTERRUPTED
    interrupts.ignore_signals()
    interrupts.put_away_all()
    return status


def _end_with(parent: int) -> None:
    """Let this process be interrupted when the command's process dies, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise KeyboardInterrupt


def _build_all(sender: Sender) -> None:
    def tell(event: AnyEvent) -> None:
        with contextlib.suppress(BrokenPipeError):  # the command was killed; so is this process, in a moment
            sender.send(event)

    def note(line: str) -> None:
        tell(Warned(number, line))

    store: Store | None = None
    number = 0
    while job := receive_job(sys.stdin.buffer):
        number = job.number
        store = store or _open_store(job, note)
        os.chdir(job.folder)
        tell(Started(job.number, f"process {os.getpid()}"))
        outcome = run_job(job, store, tell)
        if interrupts.was_interrupted():  # code in between made another exception of it
            raise KeyboardInterrupt
        tell(Finished(job.number, outcome))
    if store:
        store.finish()


def _open_store(job: Job, tell: Callable[[str], None]) -> Store:
    """Return the store, in which builds of several processes take turns to measure."""
    store = open_store(fresh=job.options.fresh, tell=tell)
    quiet.share(store.locks)
    return store


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[3])  # which module a name means is as in the command's process
    status = main(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(status)  # to tear all modules down takes a while, and nothing depends on it
