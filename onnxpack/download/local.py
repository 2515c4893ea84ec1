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
from onnxpack.spec.origin import format_source
from onnxpack.spec.yaml_nodes import resolve_links

ROOTS_VARIABLE = "ONNXPACK_FILE_ROOTS"


@dataclass(frozen=True)
class Bounds:
    """The limits of downloads: the folders that file: URLs may name, and the size of a file in bytes."""

    roots: tuple[str, ...]
    limit: int


def read_allowed_roots(project: Path) -> tuple[str, ...]:
    """Return the folders that file: URLs may name: the project, and those in ``ONNXPACK_FILE_ROOTS``.

    Raises:
        SpecError: the variable names a relative path, which would mean another folder from elsewhere.
    """
    named = [root for root in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep) if root]
    for root in named:
        if not Path(root).is_absolute():
            hint = f"use absolute paths, separated by '{os.pathsep}'"
            raise SpecError(f"{ROOTS_VARIABLE} names the relative path '{root}'", hint)
    return (str(project), *named)


def require_allowed(url: str, roots: Sequence[str]) -> Path:
    """Return the path in a file: URL, links followed, without a look at whether there is a file.

    Raises:
        SpecError: it is outside the roots; the message tells nothing else about it.
    """
    try:
        path = resolve_links(Path(unquote(urlsplit(url).path)))
    except ValueError as error:  # a zero byte
        raise SpecError(f"'{format_source(url)}' is no path: {error}", "correct the URL") from None
    if not any(path.is_relative_to(resolve_links(Path(root))) for root in roots):
        hint = f"copy it into the project, or allow its folder, for example {ROOTS_VARIABLE}=/mnt/models"
        raise SpecError(
            f"'{format_source(url)}' is outside the folders that a file: URL may name: {', '.join(roots)}", hint
        )
    return path


def open_file(url: str, start: int, *, roots: Sequence[str]) -> Answer:
    """Open a regular file at byte ``start``, or at its beginning if it is shorter.

    Raises:
        SpecError: it is outside the roots, or no regular file.
        EngineError: it is not there, or may not be read.
    """
    path = require_allowed(url, roots)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: opening a device can do something
            raise _irregular_error(url)
        stream = open_regular(path, follow=False)  # a link, or a pipe, may have taken the file's place meanwhile
    except OSError as error:
        raise _irregular_error(url) if error.errno == errno.EINVAL else _unreadable_error(url, error) from None
    size = os.fstat(stream.fileno()).st_size
    begin = start if start <= size else 0
    stream.seek(begin)
    return Answer(begin, size, _iterate_chunks(stream), stream.close)


def _iterate_chunks(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := stream.read(CHUNK):
            yield chunk
    except OSError as error:
        raise Transient(f"the file cannot be read: {error.strerror}") from None


def _irregular_error(url: str) -> SpecError:
    return SpecError(f"'{format_source(url)}' is not a regular file", "give the URL of a file")


def _unreadable_error(url: str, error: OSError) -> EngineError:
    if isinstance(error, FileNotFoundError):
        return EngineError(f"'{format_source(url)}' is not there", "correct the URL, or put the file there")
    return EngineError(
        f"cannot read '{format_source(url)}': {error.strerror}", "give the user who builds permission to read it"
    )
