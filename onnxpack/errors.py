"""Everything that can go wrong for a user, each kind with its exit code.

Stages raise these; only ``onnxpack.cli`` turns them into words and an exit status. An error carries one or
more problems, so that a user sees all of them at once.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.redact import redact

_LONGEST, _LONGEST_DETAIL = 4_000, 40_000
"""How many characters of a problem's texts are kept: an exception's own text may have a hundred million."""


def bound_text(text: str, longest: int) -> str:
    """Return the text, or of one with more than ``longest`` characters its first and last, and how many are missing."""
    missing = len(text) - longest
    if missing <= 0:
        return text
    half = longest // 2
    return f"{text[:half]} … {missing} characters left out … {text[-half:]}"


def flatten_words(error: object, longest: int) -> str:
    """Return what an error says in one line of at most ``longest`` characters."""
    return " ".join(str(error).split())[:longest]


def describe_error(error: BaseException, longest: int) -> str:
    """Return an error's type and what it says, in one line."""
    return f"{type(error).__name__}: {flatten_words(error, longest)}"


@dataclass(frozen=True, order=True)
class Location:
    """A place in a file; ``line`` and ``column`` count from 1, and 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what, where (if it is in a file), and what to do about it.

    ``detail`` is extra text of several lines (a table, a log's end) shown below the message. Secrets in all three
    texts are hidden from the start, so that whatever shows a problem, in whatever format, shows none.
    """

    message: str
    hint: str = ""
    where: Location | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("message", "hint", "detail"):
            # Hiding costs time for each character, and a person reads some of them.
            text = bound_text(getattr(self, name), _LONGEST_DETAIL if name == "detail" else _LONGEST)
            object.__setattr__(self, name, redact(text))

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


class OnnxpackError(Exception):
    """The base of all errors that a user can cause or meet; never raised itself."""

    exit_code = 1

    def __init__(self, problems: str | Problem | Sequence[Problem], hint: str = "", detail: str = "") -> None:
        if isinstance(problems, str):
            problems = Problem(problems, hint, detail=detail)
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def at(self, place: Location) -> "OnnxpackError":
        """Return an error of this kind whose problems without a place are at ``place``."""
        problems = [replace(problem, where=problem.where or place) for problem in self.problems]
        return BY_EXIT_CODE[self.exit_code](problems)


class SpecError(OnnxpackError):
    """The spec, the lock or the command line is wrong."""

    exit_code = 2


class SourceError(OnnxpackError):
    """The source model cannot be loaded, run or exported."""

    exit_code = 3


class GateError(OnnxpackError):
    """The model was made, but a check that it must pass failed: parity, size, smoke."""

    exit_code = 4


class EngineError(OnnxpackError):
    """The container engine, a registry, the network or the disk did not do its part."""

    exit_code = 5


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""How a file system says that it takes no more."""
NO_RIGHT = (errno.EACCES, errno.EPERM)
"""How it says that this user may not."""
_PLACES = "--output, ONNXPACK_CACHE, TMPDIR or UV_CACHE_DIR"


def typed(error: Exception) -> OnnxpackError | None:
    """Return the error of this module that tells what happened; None for one that nobody expected: a bug.

    What is left of ``OSError`` at the boundary is the machine's: a full disk, a folder that may not be written.
    """
    if isinstance(error, OSError):
        # A copy that finds no room names its source first; the room is missing at the other.
        name = error.filename2 if error.errno in NO_ROOM and error.filename2 else error.filename
        place = f" '{_lasting(os.fsdecode(name))}'" if name else ""
        writable = error.errno not in (*NO_RIGHT, errno.EROFS)
        hint = f"make room, or name another {_PLACES}" if writable else f"name a place that can be written by {_PLACES}"
        return EngineError(f"{error.strerror or error}{place}", hint)
    return error if isinstance(error, OnnxpackError) else None


@contextlib.contextmanager
def naming(place: Path, *, only_unnamed: bool = False) -> Iterator[None]:
    """Let an error of a full or closed disk name ``place``, not the hidden file that is written first.

    ``only_unnamed`` leaves an error as it is that names a file: a write names none.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (*NO_ROOM, *NO_RIGHT) and not (only_unnamed and error.filename):
            error.filename, error.filename2 = str(place), None
        raise


def _lasting(name: str) -> str:
    """Return the part of a path that is still there when it is read: working folders go."""
    from onnxpack.scratch import is_working_name

    parts = Path(name).parts
    gone = next((number for number, part in enumerate(parts) if is_working_name(part)), len(parts))
    return str(Path(*parts[:gone]))


BY_EXIT_CODE: dict[int, type[OnnxpackError]] = {
    kind.exit_code: kind for kind in (SpecError, SourceError, GateError, EngineError)
}
