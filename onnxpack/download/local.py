"""Reads file: URLs: regular files, inside the folders that a build may read from.

A spec comes from somebody else, and the error for a wrong digest tells the digest and the size of what was read. So a
URL reaches no more than the project and the folders that whoever builds has named, and no device or pipe: these never
end.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from onnxpack.core.errors import EngineError, SpecError
from onnxpack.core.regular import open_regular
from onnxpack.download.transfer import CHUNK, Answer, Transient
from onnxpack.spec.origin import shown
from onnxpack.spec.yaml_nodes import real

ROOTS_VARIABLE = "ONNXPACK_FILE_ROOTS"


@dataclass(frozen=True)
class Bounds:
    """What may be fetched: files below these folders by file: URLs, and so many bytes of each file."""

    roots: tuple[str, ...]
    limit: int


def allowed_roots(project: Path) -> tuple[str, ...]:
    """Return the folders that file: URLs may name: the project's, and those in ``ONNXPACK_FILE_ROOTS``.

    Raises:
        SpecError: the variable names a relative path, which would mean another folder from elsewhere.
    """
    named = [root for root in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep) if root]
    for root in named:
        if not Path(root).is_absolute():
            hint = f"write absolute paths, separated by '{os.pathsep}'"
            raise SpecError(f"{ROOTS_VARIABLE} names the relative path '{root}'", hint)
    return (str(project), *named)


def require_allowed(url: str, roots: Sequence[str]) -> Path:
    """Return the path that a file: URL names, links followed; whether a file is there is not looked at.

    Raises:
        SpecError: it is outside the roots; nothing else is told of it.
    """
    try:
        path = real(Path(unquote(urlsplit(url).path)))
    except ValueError as error:  # a zero byte
        raise SpecError(f"'{shown(url)}' is no path: {error}", "correct it") from None
    if not any(path.is_relative_to(real(Path(root))) for root in roots):
        hint = f"put it into the project, or name its folder in {ROOTS_VARIABLE}, as {ROOTS_VARIABLE}=/mnt/models"
        raise SpecError(f"'{shown(url)}' is outside the folders that a file: URL may name: {', '.join(roots)}", hint)
    return path


def from_file(url: str, start: int, *, roots: Sequence[str]) -> Answer:
    """Read a regular file from ``start`` on, or all of it if it is shorter.

    Raises:
        SpecError: it is outside the roots, or no regular file.
        EngineError: it is not there, or may not be read.
    """
    path = require_allowed(url, roots)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: opening a device can do something
            raise _irregular(url)
        stream = open_regular(path, follow=False)  # a link, or a pipe, may have taken the file's place meanwhile
    except OSError as error:
        raise _irregular(url) if error.errno == errno.EINVAL else _unreadable(url, error) from None
    size = os.fstat(stream.fileno()).st_size
    begin = start if start <= size else 0
    stream.seek(begin)
    return Answer(begin, size, _chunks(stream), stream.close)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := stream.read(CHUNK):
            yield chunk
    except OSError as error:
        raise Transient(f"the file cannot be read: {error.strerror}") from None


def _irregular(url: str) -> SpecError:
    return SpecError(f"'{shown(url)}' is not a regular file", "give the URL of a file")


def _unreadable(url: str, error: OSError) -> EngineError:
    if isinstance(error, FileNotFoundError):
        return EngineError(f"'{shown(url)}' is not there", "correct the URL, or put the file there")
    return EngineError(f"cannot read '{shown(url)}': {error.strerror}", "let whoever builds read it")
