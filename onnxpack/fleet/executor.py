"""The interface of what runs jobs: this process, processes of this machine, or a cluster."""

from collections.abc import Callable, Sequence
from typing import Protocol

from onnxpack.fleet.events import AnyEvent
from onnxpack.fleet.job import Job

Tell = Callable[[AnyEvent], None]
"""Receives each event; it is called in the thread that called ``run``, and may call ``cancel``."""


class Executor(Protocol):
    """Something that runs jobs.

    The command calls ``run`` once, in the main thread, and ``close`` in any case, also after an interrupt:

        with contextlib.closing(executor):
            executor.run(jobs, tell)
    """

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run all jobs, in an order of its own choice, and tell what happens to each; return when all have ended.

        Of each job the last event is its ``Finished``, and there is exactly one of these. A job that fails is an
        outcome like any other: also where its process dies, or its worker is lost and it cannot be tried again. Then
        its outcome has an ``EngineError``'s exit code and problems.

        Events of one job come in their order; those of several jobs are mixed.

        Raises:
            EngineError: no job can be run any more, as when a scheduler is gone; the command then says so once, and
                takes every job without an outcome for cancelled.
            SpecError: the jobs cannot be run here at all, as when what they need is nowhere.
        """

    def cancel(self) -> None:
        """Begin no further job, and end those that run; each gets an outcome that says ``cancelled``.

        It returns at once, and ``run`` then ends soon. Jobs that have ended keep their outcomes.
        """

    def close(self) -> None:
        """End every process and connection that this executor made; called again, it does nothing."""
