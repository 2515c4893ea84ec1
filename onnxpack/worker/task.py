"""The protocol of all work: a frozen request whose ``run`` gives a frozen result."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, final, get_type_hints

ResultT = TypeVar("ResultT")
Say = Callable[[str], None]
"""Tells a person how far the work is, in one line."""


@final
class Effort:
    """A limit in seconds on how long a task may look for more.

    It is not part of the key. So a task that takes one must refuse, by ``keeps``, to keep a result that the limit cut
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
    """What the work is called in the store, and to a person."""
    TRUSTED: ClassVar[bool] = False
    """The work runs no code but this package's: it sees all variables, logins among them, and is never confined."""

    def run(self, folder: Path, say: Say) -> ResultT:
        """Do the work; files of the result go into the empty ``folder``.

        Raises:
            OnnxpackError: the work cannot be done; the parent raises the same error.
        """
        raise NotImplementedError

    def keeps(self, result: ResultT) -> bool:
        """Return whether the result is whole, so that it may answer the same request again."""
        return True


def result_type(kind: type[Task[ResultT]]) -> type[ResultT]:
    """Return the type of a task's results, as its ``run`` declares it."""
    declared: type[ResultT] = get_type_hints(kind.run)["return"]
    return declared
