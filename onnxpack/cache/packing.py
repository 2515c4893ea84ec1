"""Entries of the store as single files to share: a tar compressed by zstd, the same bytes for the same files.

Anybody may have made one that comes from elsewhere: names, kinds, sizes and counts are not believed.
"""

import errno
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from onnxpack.cache.entry import DATA, MANIFEST, MANIFEST_LIMIT
from onnxpack.core.digests import EMPTY
from onnxpack.core.regular import open_regular, read_regular

_LEVEL = 3
"""Of 19: it takes 0.2 s for a layer of 50 MB, a tenth of what the levels that shrink it further take."""
_CHUNK = 2**20
_LONGEST_HEADER = 2**16
"""Bytes of a header with a long name, which ``tarfile`` reads into memory whole."""
_MOST_FILES = 200_000
_MOST_BYTES = 32 * 2**30
"""Of an entry's files together."""
_FILE, _FOLDER = 0o644, 0o755
"""Modes: a file that is a program has that of a folder."""


class DamagedError(Exception):
    """What was to be unpacked is no entry, or not a whole one."""


def pack(entry: Path, target: Path) -> None:
    """Write an entry into one file.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: the entry has links, which are of no use elsewhere, or is none.
    """
    manifest = read_regular(entry / MANIFEST, MANIFEST_LIMIT)
    files: dict[str, str] = json.loads(manifest)["files"]
    if any(known.startswith("link:") for known in files.values()):
        raise ValueError("an entry with links is not shared")
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    with (
        target.open("wb") as stream,
        compressor.stream_writer(stream) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add_file(archive, entry / MANIFEST, MANIFEST)
        for name in sorted(files):
            if files[name] == EMPTY:
                archive.addfile(_describe(f"{DATA}/{name}", tarfile.DIRTYPE, _FOLDER))
            else:
                _add_file(archive, entry / DATA / name, f"{DATA}/{name}")


def unpack(source: Path, folder: Path) -> None:
    """Unpack an entry from a file into an empty folder; whether its files are as the manifest says is not looked at.

    Raises:
        DamagedError: it is no entry, is cut short, or holds something else than files and folders.
        OSError: the folder has no room for it.
    """
    (folder / DATA).mkdir()
    with open_regular(source, follow=False) as stream:
        reader = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(stream, closefd=False)
        try:
            with reader, tarfile.open(fileobj=reader, mode="r|", tarinfo=_Member) as archive:
                for member in _list_members(archive):
                    _place(archive, member, folder)
        except (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError, RecursionError) as error:
            raise DamagedError(f"it cannot be unpacked: {type(error).__name__}") from None
    if not (folder / MANIFEST).exists():
        raise DamagedError("it has no manifest")


class _Member(tarfile.TarInfo):
    """An entry of an archive, whose headers of extra length are bounded."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) and self.size > _LONGEST_HEADER:
            raise ValueError("a header is too long")
        return super()._proc_member(archive)  # type: ignore[misc]


def _describe(name: str, kind: bytes, mode: int, size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, mode, size
    return member


def _add_file(archive: tarfile.TarFile, path: Path, name: str) -> None:
    with open_regular(path, follow=False) as stream:
        status = os.fstat(stream.fileno())
        mode = _FOLDER if status.st_mode & stat.S_IXUSR else _FILE
        archive.addfile(_describe(name, tarfile.REGTYPE, mode, status.st_size), stream)


def _list_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive, as many and as large as an entry may be.

    Raises:
        ValueError: there are more, or one is neither a file nor a folder below the entry.
    """
    total = 0
    for number, member in enumerate(archive):
        total += member.size
        if number > _MOST_FILES or total > _MOST_BYTES:
            raise ValueError("it is too large")
        kinds = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
        if member.type not in kinds or "GNU.sparse.major" in member.pax_headers or not _is_inside(member.name):
            raise ValueError("it holds something else than files and folders of its own")
        yield member


def _is_inside(name: str) -> bool:
    parts = name.split("/")
    if name == MANIFEST:
        return True
    return parts[0] == DATA and len(parts) > 1 and not {"", ".", ".."} & set(parts) and "\0" not in name


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    path = folder / member.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.isdir():
            path.mkdir()
            return
        with path.open("xb") as target:
            content = archive.extractfile(member)
            while content and (chunk := content.read(_CHUNK)):
                target.write(chunk)
            target.flush()
            os.fchmod(target.fileno(), _FOLDER if member.mode & stat.S_IXUSR else _FILE)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise ValueError("a name is there twice") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError("a name is too long") from None
        raise
