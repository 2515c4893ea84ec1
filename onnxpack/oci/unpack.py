"""Unpack an image into a folder that a container can have as its root, as root or as an ordinary user.

Anybody may have made the image: its names, links, sizes and counts are not believed. Nothing is written outside of the
folder: links are followed as a process does whose root the folder is, and by this module, never by the system. The
folder must be this process's own, so that nothing in it changes meanwhile.
"""

import contextlib
import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from onnxpack.core.errors import EngineError, flatten_words
from onnxpack.oci.config import read_diff_ids
from onnxpack.oci.layout import BlobSource, read_blob
from onnxpack.oci.manifests import Manifest
from onnxpack.oci.rooted import resolve_in_root
from onnxpack.oci.streams import LayerStream, open_layer

_WHITEOUT = ".wh."
_OPAQUE, _AUFS = ".wh..wh..opq", ".wh..wh."
"""What hides all that lower layers have in a folder; and the beginning of names that an old storage of Docker used."""
_MOST_ENTRIES = 1_000_000
"""Of all layers; an image of a whole desktop has 300,000."""
_LONGEST_NAME = 255
_IDS = 65536
"""Owners beyond it do not exist in a container; those files stay this user's."""
_CHUNK = 2**18


def unpack(source: BlobSource, manifest: Manifest, folder: Path) -> None:
    """Unpack the layers of an image into an empty folder, and compare the digests of all that is read.

    Devices and pipes are left out, and so are the bits that change a program's user. An ordinary user owns all files.

    Raises:
        EngineError: something is missing, is not what its digest says, or would lead out of the folder; the folder then
            holds a part of the image.
        OSError: the folder cannot be written.
    """
    diff_ids = read_diff_ids(read_blob(source, manifest.config))
    if len(diff_ids) != len(manifest.layers):
        raise _make_error(f"it has {len(manifest.layers)} layers, and its configuration names {len(diff_ids)}")
    tree = _Tree(Path(os.path.realpath(folder)))
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        with open_layer(source, layer, diff_id) as stream, _refusing_archive():
            _unpack_layer(stream, tree)


@dataclass
class _Tree:
    """The folder that an image is unpacked into."""

    root: Path
    placed: set[Path] = field(default_factory=set)
    """What the present layer has put there: it is not hidden by the same layer."""
    _owned: bool = field(default_factory=lambda: os.geteuid() == 0)
    """Whether files can be given to other users."""
    _entries: int = 0

    def add(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        """Put one entry of a layer into the folder, or hide what it says."""
        self._entries += 1
        if self._entries > _MOST_ENTRIES:
            raise _make_error(f"it has more than {_MOST_ENTRIES} files")
        parts = _split_name(entry.name)
        if not parts:
            return  # the root itself
        *above, name = parts
        parent = self._make_folders(above)
        place = parent / name
        if name.startswith(_WHITEOUT):
            self._hide(parent, name)
        elif entry.isdir():
            self._add_folder(place, entry)
        elif entry.isreg() or entry.issym() or entry.islnk():
            self._add_file(archive, place, entry)
        elif not (entry.isdev() or entry.isfifo()):
            raise _make_error(f"{entry.name[:200]!r} is of the unknown kind {entry.type!r}")

    def _make_folders(self, parts: list[str]) -> Path:
        """Return the folder of an entry, which is made if no entry was about it; links in its path are followed."""
        place = resolve_in_root(self.root, "/".join(parts))
        with _refusing(place):
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
        return place

    def _hide(self, parent: Path, name: str) -> None:
        if name == _OPAQUE:
            for child in list(parent.iterdir()):
                self._remove_lower(child)
        elif not name.startswith(_AUFS):
            hidden = name.removeprefix(_WHITEOUT)
            if hidden in ("", ".", ".."):
                raise _make_error(f"{name[:200]!r} hides nothing that could be there")
            self._remove_lower(parent / hidden)

    def _remove_lower(self, place: Path) -> None:
        """Remove what lower layers have put at a place, and below it."""
        if place.is_symlink() or not place.is_dir():
            if place not in self.placed:
                place.unlink(missing_ok=True)
            return
        for child in list(place.iterdir()):
            self._remove_lower(child)
        if place not in self.placed:
            with contextlib.suppress(OSError):  # it holds what this layer has put there
                place.rmdir()

    def _add_folder(self, place: Path, entry: tarfile.TarInfo) -> None:
        if place.is_symlink() or not place.is_dir():
            _remove(place)
            place.mkdir()
        # Without these rights an ordinary user could put nothing into it, nor remove it.
        self._finish(place, entry, stat.S_IMODE(entry.mode) & 0o1777 | (0 if self._owned else 0o700))

    def _add_file(self, archive: tarfile.TarFile, place: Path, entry: tarfile.TarInfo) -> None:
        source = self._find_link_target(entry, place) if entry.islnk() else None
        if source == place:
            return
        _remove(place)
        if source:
            with _refusing(source):
                os.link(source, place, follow_symlinks=False)
            self.placed.add(place)
        elif entry.issym():
            with _refusing(place):
                place.symlink_to(entry.linkname)
            self._finish(place, entry, None)
        else:
            _write_file(archive, place, entry)
            self._finish(place, entry, entry.mode & 0o777 | (0 if self._owned else 0o400))

    def _find_link_target(self, entry: tarfile.TarInfo, place: Path) -> Path:
        """Return the file that a hard link names: one in the folder."""
        source = resolve_in_root(self.root, "/".join(_split_name(entry.linkname)), last=False)
        if not source.is_symlink() and not source.is_file():
            raise _make_error(f"{entry.name[:200]!r} is a link to {entry.linkname[:200]!r}, which is no file of it")
        return source

    def _finish(self, place: Path, entry: tarfile.TarInfo, mode: int | None) -> None:
        """Give what was placed its owner, mode and time; ``mode`` is None for a link."""
        self.placed.add(place)
        if self._owned and entry.uid in range(_IDS) and entry.gid in range(_IDS):
            _give(place, entry.uid, entry.gid)
        if mode is not None:
            place.chmod(mode)
        with contextlib.suppress(OverflowError, ValueError):  # a time that cannot be is left out
            # Python compares the time of a module's source with the one that its compiled form names.
            os.utime(place, (entry.mtime, entry.mtime), follow_symlinks=False)


def _unpack_layer(stream: LayerStream, tree: _Tree) -> None:
    tree.placed.clear()
    with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r:", encoding="utf-8") as archive:
        while entry := archive.next():
            tree.add(archive, entry)
            archive.members = []  # type: ignore[attr-defined] # it would keep all of them
        if not stream.ended:
            raise tarfile.ReadError("what follows its last file is no header")


@contextlib.contextmanager
def _refusing_archive() -> Iterator[None]:
    """Turn what ``tarfile`` raises for bytes that are no archive into an error of the image."""
    try:
        yield
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise _make_error(f"a layer is no archive: {flatten_words(error, 200)}") from None


def _split_name(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise _make_error(f"a file's name leads out of it: {name[:200]!r}")
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise _make_error(f"a file's name is too long: {name[:200]!r}")
    return parts


def _write_file(archive: tarfile.TarFile, place: Path, entry: tarfile.TarInfo) -> None:
    if entry.issparse():
        raise _make_error(f"{entry.name[:200]!r} is a sparse file, which no layer should have")
    content = archive.extractfile(entry)
    assert content
    with place.open("xb") as target:
        shutil.copyfileobj(content, target, _CHUNK)


def _remove(place: Path) -> None:
    """Remove what an entry takes the place of."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _give(place: Path, user: int, group: int) -> None:
    """Give a file to its owner; root of a container may have no such user, and keeps it."""
    try:
        os.lchown(place, user, group)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL):
            raise


@contextlib.contextmanager
def _refusing(place: Path) -> Iterator[None]:
    """Turn what the image is to blame for into an error about it: a file that is used as a folder, an odd link."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, FileNotFoundError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _make_error(f"{place.name[:200]!r} cannot be made: {reason}") from None


def _make_error(why: str) -> EngineError:
    return EngineError(f"the image cannot be unpacked: {why}", "set `image.base` to another image, or fetch it again")
