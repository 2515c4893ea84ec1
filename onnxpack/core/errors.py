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

from onnxpack.core.redact import redact

_LONGEST, _LONGEST_DETAIL = 4_000, 40_000
"""How many characters of a problem's texts are kept: an exception's own text may have a hundred million."""


def shorten_text(text: str, longest: int) -> str:
    """Shorten a text of more than ``longest`` characters in its middle, and say there how many are left out.

    What UTF-8 cannot express, half of a surrogate pair, is escaped: an error must get through to where it is told.
    """
    missing, half = len(text) - longest, longest // 2
    bounded = text if missing <= 0 else f"{text[:half]} … {missing} characters left out … {text[-half:]}"
    return bounded.encode("utf-8", "backslashreplace").decode()


def flatten_words(error: object, longest: int) -> str:
    """Return an error's text as one line of at most ``longest`` characters."""
    return " ".join(str(error).split())[:longest]


def describe_error(error: BaseException, longest: int) -> str:
    """Return an error's type and its text of at most ``longest`` characters, in one line."""
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
    """One problem: what is wrong, where (if it is in a file), and what to do about it.

    ``detail`` is extra text of several lines (a table, a log's end) shown below the message. Secrets in all three
    texts, and in the name of the file, are hidden from the start, so that whatever shows a problem shows none.
    """

    message: str
    hint: str = ""
    where: Location | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("message", "hint", "detail"):
            # Hiding costs time for each character, and a person reads some of them.
            text = shorten_text(getattr(self, name), _LONGEST_DETAIL if name == "detail" else _LONGEST)
            object.__setattr__(self, name, redact(text))
        if self.where:  # a URL may be given where a file is meant
            object.__setattr__(self, "where", replace(self.where, file=redact(self.where.file)))

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


DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a full disk, or a full quota."""
NO_ROOM = (*DISK_FULL, errno.EROFS, errno.EFBIG)
"""The error numbers of a file system that takes no more: full, over quota, read-only, or the file too large."""
NO_RIGHT = (errno.EACCES, errno.EPERM)
"""How it says that this user may not."""
_PLACES = "--output, ONNXPACK_CACHE, TMPDIR or UV_CACHE_DIR"


def classify_error(error: Exception) -> OnnxpackError | None:
    """Return an exception as an error of this module; None for one that nobody expected, which is a bug.

    An ``OSError`` that no stage handled is the machine's: a full disk, a folder that may not be written.
    """
    if isinstance(error, OSError):
        # A copy that finds no room names its source first; the room is missing at the other.
        name = error.filename2 if error.errno in NO_ROOM and error.filename2 else error.filename
        place = f" '{_keep_lasting(os.fsdecode(name))}'" if name else ""
        if error.errno == errno.ENAMETOOLONG:
            return SpecError(f"{error.strerror}{place}", "shorten it: no file can have a name of this length")
        hint = f"free disk space, or choose another {_PLACES}"
        if error.errno in (*NO_RIGHT, errno.EROFS):
            hint = f"choose a place that can be written by {_PLACES}"
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


def _keep_lasting(name: str) -> str:
    """Return the part of a path that is still there when it is read: working folders go."""
    from onnxpack.core.scratch import is_working_name

    parts = Path(name).parts
    gone = next((number for number, part in enumerate(parts) if is_working_name(part)), len(parts))
    return str(Path(*parts[:gone]))


BY_EXIT_CODE: dict[int, type[OnnxpackError]] = {
    kind.exit_code: kind for kind in (SpecError, SourceError, GateError, EngineError)
}
