"""Layers: a folder as a tar whose bytes depend on the names and contents of its files alone."""

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from onnxpack.core.errors import EngineError, flatten_words
from onnxpack.core.regular import read_regular
from onnxpack.core.scratch import replace_file, working_folder
from onnxpack.oci.compression import decompress, describe, make_compressor
from onnxpack.oci.layout import BlobSource, Layout
from onnxpack.oci.manifests import EPOCH, LAYER, Descriptor, compute_digest
from onnxpack.oci.streams import open_layer

MEMORY = "layers"
"""The folder of a layout that keeps what was found out about layers, so that it is not computed again."""
_LIMIT = 4096


@dataclass(frozen=True)
class Layer:
    """A layer in a layout: its blob, the digest of its uncompressed tar, and the bytes of its files."""

    blob: Descriptor
    diff_id: str
    size: int


class _Tee:
    """A stream that writes on, and digests what passes."""

    def __init__(self, streams: Iterable[Any]) -> None:
        self._streams = tuple(streams)
        self._hash = hashlib.sha256()
        self._position = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._position += len(data)
        for stream in self._streams:
            stream.write(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def write_tar(folder: Path, target: Any) -> int:
    """Write a folder as a layer's tar, sorted, owned by root, with one time; return the bytes of its files.

    The modes are those of the files: a context's are normalised.

    Raises:
        EngineError: there is something else than files, folders and links in it.
    """
    total = 0
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in _walk(folder):
            entry = _describe_file(path, path.relative_to(folder).as_posix())
            total += entry.size
            if entry.isreg():
                with path.open("rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
    return total


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what is below a folder in the order of the names' bytes, folders before what is in them."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in found:
        yield Path(entry)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry))


def _describe_file(path: Path, name: str) -> tarfile.TarInfo:
    status = path.lstat()
    entry = tarfile.TarInfo(name)
    entry.mode = stat.S_IMODE(status.st_mode)
    entry.mtime = EPOCH
    if stat.S_ISREG(status.st_mode):
        entry.size = status.st_size
    elif stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
    else:
        raise EngineError(f"'{path}' is no file, folder or link", "remove it from the context")
    return entry


def add_layer(layout: Layout, folder: Path, compression: str) -> Layer:
    """Put a folder into a layout as a layer; one that was compressed before is not compressed again."""
    if not has_memory(layout):
        return _compress_folder(layout, folder, compression)
    tee = _Tee(())
    size = write_tar(folder, tee)
    known = _recall(layout, f"{tee.digest}.{describe(compression)}")
    if known and layout.has(known["digest"]):
        return Layer(Descriptor(known["media_type"], known["digest"], known["size"]), tee.digest, size)
    return _compress_folder(layout, folder, compression)


def has_memory(layout: Layout) -> bool:
    """Return whether a layout knows any layer: of an empty one nothing needs to be asked."""
    return (layout.root / MEMORY).is_dir()


def _compress_folder(layout: Layout, folder: Path, compression: str) -> Layer:
    with layout.writing() as writer:
        compressor = make_compressor(compression, writer.write)
        tee = _Tee((compressor,))
        size = write_tar(folder, tee)
        compressor.finish()
        blob = writer.commit(f"{LAYER}+{compression}")
    return _remember_layer(layout, Layer(blob, tee.digest, size), compression)


def add_tar(layout: Layout, tar: BinaryIO, diff_id: str, compression: str) -> Layer:
    """Put a layer's tar into a layout, such as an engine gives it.

    Raises:
        EngineError: it has another digest than ``diff_id``, or is no tar.
    """
    known = _recall(layout, f"{diff_id}.{describe(compression)}")
    if known and layout.has(known["digest"]):
        blob = Descriptor(known["media_type"], known["digest"], known["size"])
        return measure_layer(layout, layout, blob, diff_id)
    with layout.writing() as writer:
        compressor = make_compressor(compression, writer.write)
        tee = _Tee((compressor,))
        for chunk in decompress(tar):
            tee.write(chunk)
        compressor.finish()
        if tee.digest != diff_id:
            raise EngineError(
                f"a layer has the digest {tee.digest}, and its image says {diff_id}", "save the image again"
            )
        blob = writer.commit(f"{LAYER}+{compression}")
    layer = measure_layer(layout, layout, blob, diff_id)
    return _remember_layer(layout, layer, compression)


def measure_layer(layout: Layout, source: BlobSource, blob: Descriptor, diff_id: str) -> Layer:
    """Return the facts of a layer that another tool made, which are read from it once.

    Raises:
        EngineError: it is no tar, or is not what its digests say.
    """
    name = f"{blob.digest}.{diff_id.removeprefix('sha256:')}"
    known = _recall(layout, name)
    if known:
        return Layer(blob, diff_id, known["size"])
    with open_layer(source, blob, diff_id) as content:
        try:
            with tarfile.open(fileobj=cast(BinaryIO, content), mode="r|") as archive:
                total = sum(entry.size for entry in archive if entry.isreg())
        except (tarfile.TarError, ValueError) as error:
            raise EngineError(f"a layer is no tar: {flatten_words(error, 200)}", "use another base image") from None
    _remember(layout, name, {"size": total})
    return Layer(blob, diff_id, total)


def _remember_layer(layout: Layout, layer: Layer, compression: str) -> Layer:
    blob = {key: value for key, value in asdict(layer.blob).items() if key in ("media_type", "digest", "size")}
    _remember(layout, f"{layer.diff_id}.{describe(compression)}", blob)
    _remember(layout, f"{layer.blob.digest}.{layer.diff_id.removeprefix('sha256:')}", {"size": layer.size})
    return layer


def _remember(layout: Layout, name: str, values: dict[str, Any]) -> None:
    place = layout.root / MEMORY / name.replace(":", "-")
    place.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(values)
    with working_folder(layout.root) as work:
        (work / "values").write_text(f"{_seal(name, text)}\n{text}")
        replace_file(work / "values", place)


def _recall(layout: Layout, name: str) -> dict[str, Any] | None:
    """Return what was found out; what was damaged or belongs to another name is found out again.

    Sizes and digests from here go into manifests, so one bit that flips on the disk would give another image.
    """
    with suppress(OSError, ValueError, RecursionError):
        data = read_regular(layout.root / MEMORY / name.replace(":", "-"), _LIMIT)
        seal, _, text = data.decode().partition("\n")
        if seal == _seal(name, text):
            return cast(dict[str, Any], json.loads(text))
    return None


def _seal(name: str, text: str) -> str:
    """Return the digest of what was found out and of the name that it was found out for."""
    return compute_digest(f"{name}\n{text}".encode())
