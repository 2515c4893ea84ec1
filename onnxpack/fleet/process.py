"""A process that runs jobs: its start, the messages to and from it, and its end with all that it started."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property

from onnxpack.fleet.channel import Receiver, Sender
from onnxpack.fleet.events import AnyEvent
from onnxpack.fleet.job import Job
from onnxpack.worker.log import Log
from onnxpack.worker.process import Ended

_MODULE = "onnxpack.fleet"


@dataclass(eq=False)
class WorkerProcess:
    """A process of ``onnxpack.fleet``, which lives for many jobs, and the job that it is at."""

    process: subprocess.Popen[bytes]
    receiver: Receiver
    log: Log
    job: Job | None = None

    @cached_property
    def _sender(self) -> Sender:
        assert self.process.stdin
        return Sender(self.process.stdin.fileno())

    def begin(self, job: Job) -> None:
        """Send it a job; one that has died meanwhile is found out when its events are read."""
        self.job = job
        with contextlib.suppress(BrokenPipeError):
            self._sender.send(job)

    def receive(self) -> list[AnyEvent] | None:
        """Return the events that came; None if the process has ended, or sends anything else."""
        try:
            return self.receiver.receive()
        except ValueError:
            return None

    def interrupt(self) -> None:
        """Let it put away what it is at, and end."""
        if self.process.poll() is None:
            self.process.terminate()

    def finish(self) -> None:
        """Let it end, which it does soon where it has no job."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def kill(self) -> Ended:
        """End it at once if it still runs, and return how it ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        self.finish()
        self.log.close()
        with contextlib.suppress(OSError):
            os.close(self.receiver.descriptor)
        return Ended(status, self.log.last_lines())


def start_worker() -> WorkerProcess:
    """Start a process that waits for jobs.

    Raises:
        OSError: the machine starts no other process.
    """
    reading, writing = os.pipe()
    # -P: no file of the working folder takes the place of a module of the same name
    command = [sys.executable, "-P", "-m", _MODULE, str(writing), str(os.getpid()), json.dumps(sys.path)]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            start_new_session=True,  # ctrl-C reaches the command alone, which ends the others
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    assert process.stdout
    log = Log(os.dup(process.stdout.fileno()))
    process.stdout.close()
    return WorkerProcess(process, Receiver(reading), log)
