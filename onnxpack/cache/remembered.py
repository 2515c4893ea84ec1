"""A memory of the digests of large files: a file of 20 GB takes 40 s to read, and every command needs its digest.

A file counts as the same while its device, inode, size and both times are. One that was changed a moment ago may change
again within one tick of the file system's clock, so its digest is neither remembered nor believed.
"""

import contextlib
import hashlib
import os
import re
import time
from pathlib import Path

from onnxpack.cache.store import Store, find_default_root
from onnxpack.core.holds import note_use
from onnxpack.core.regular import open_regular, read_regular

_LARGE = 64 * 2**20
"""Bytes from which on it is worth a file in the store; reading that many takes 0.1 s."""
_SETTLED_NS = 5_000_000_000
"""FAT has ticks of two seconds, and a server's clock is not this machine's."""
_FOLDER = "digests"
_LINE = re.compile(r"(?P<known>(?P<state>[0-9 ]{1,150}) (?P<sha256>[0-9a-f]{64})) (?P<check>[0-9a-f]{64})\n")
"""The last part is the digest of the others: one flipped bit can make another digest that looks as good."""
_LONGEST = 1_000  # bytes


def digest_large_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, without reading a large file again that has not changed.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as stream:
        before = os.fstat(stream.fileno())
        place = find_default_root() / _FOLDER / f"{before.st_dev}-{before.st_ino}"
        lasting = before.st_size >= _LARGE and is_settled(before)
        known = _read_known(place, _format_state(before)) if lasting else None
        if known:
            return known
        computed = hashlib.file_digest(stream, "sha256").hexdigest()
        if lasting and _format_state(os.fstat(stream.fileno())) == _format_state(before):
            with contextlib.suppress(OSError):  # without room for it the file is read again, and that is all
                Store(find_default_root()).write(place, _format_line(f"{_format_state(before)} {computed}"))
    return computed


def _format_state(facts: os.stat_result) -> str:
    return f"{facts.st_dev} {facts.st_ino} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"


def _format_line(known: str) -> bytes:
    return f"{known} {hashlib.sha256(known.encode()).hexdigest()}\n".encode()


def is_settled(facts: os.stat_result) -> bool:
    """Return whether a file changed so long ago that any later change shows in its times."""
    return max(facts.st_mtime_ns, facts.st_ctime_ns) + _SETTLED_NS < time.time_ns()


def _read_known(place: Path, state: str) -> str | None:
    """Return the digest that this user has stored for a file in this state, if any."""
    try:
        if place.lstat().st_uid != os.geteuid():  # a digest decides which pickles are trusted
            return None
        found = _LINE.fullmatch(read_regular(place, _LONGEST).decode("ascii", "replace"))
    except OSError:
        return None
    if found is None or found["state"] != state or _format_line(found["known"]) != found[0].encode():
        return None
    note_use(place)
    return found["sha256"]
