"""What is told of a job while it runs: typed messages, the same from a thread, a process or another machine."""

import msgspec

from onnxpack.fleet.job import Outcome


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """Something that happened to a job."""

    job: int
    """The job's number."""


class Started(Event, frozen=True):
    """The job was begun, by a worker of this name; a job that is tried again is begun again."""

    worker: str = ""


class StageBegan(Event, frozen=True):
    """A stage of the job began to work."""

    stage: str


class StageEnded(Event, frozen=True):
    """The stage that began last ended, well or not."""

    stage: str
    seconds: float
    passed: bool


class StageSkipped(Event, frozen=True):
    """A stage was skipped since its result exists already."""

    stage: str
    why: str


class Noted(Event, frozen=True):
    """One line for a person about the stage at hand."""

    text: str


class Warned(Event, frozen=True):
    """One line for a person that concerns the command as a whole, such as a shared store that does not answer."""

    text: str


class Finished(Event, frozen=True):
    """The last event of a job: what became of it."""

    outcome: Outcome


AnyEvent = Started | StageBegan | StageEnded | StageSkipped | Noted | Warned | Finished
"""The type to decode an event as."""
