"""The protocol of tasks: a frozen request whose ``run`` returns a frozen result."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, final, get_type_hints

ResultT = TypeVar("ResultT")
Say = Callable[[str], None]
"""Reports the progress of the work to a person, in one line."""


@final
class Effort:
    """A limit in seconds on how long a task may look for more.

    It is not part of the key. So a task that has one must return False from ``keeps`` for a result that the limit cut
    short.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Task(Generic[ResultT]):
    """One piece of work for a child process; a subclass is a frozen dataclass, and its fields are the request.

    ``run`` receives these fields and nothing else, so the digest of the fields is a key of the result that cannot be
    forgotten to change: what is not in the request cannot be read. Files are fields of type ``Artifact``, a spec is a
    ``SpecPart`` that holds only the named fields. What ``run`` opens or imports besides is traced.

    The module of a subclass is imported by the parent too, so ``run`` imports frameworks itself.
    """

    NAME: ClassVar[str]
    """The name of the work in the store and in messages."""
    TRUSTED: ClassVar[bool] = False
    """Whether the work runs only code of this package; then it sees all variables, logins too, and has no sandbox."""
    MEASURES: ClassVar[bool] = False
    """Whether the result holds times; then other builds of a fleet wait until it is done."""

    def run(self, folder: Path, say: Say) -> ResultT:
        """Do the work and return its result; files of the result go into the empty ``folder``.

        Raises:
            OnnxpackError: the work cannot be done; the parent raises the same error.
        """
        raise NotImplementedError

    def keeps(self, result: ResultT) -> bool:
        """Return whether the result is complete, so that it may be used for the same request again."""
        return True


def find_result_type(kind: type[Task[ResultT]]) -> type[ResultT]:
    """Return the type of a task's results, as its ``run`` declares it."""
    declared: type[ResultT] = get_type_hints(kind.run)["return"]
    return declared
