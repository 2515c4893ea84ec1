"""Images as files: what is in their layers and configurations, read by the standard library and zstandard alone."""

import gzip
import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard
from e2e_tools import Workshop


@dataclass(frozen=True)
class Entry:
    """A file, folder or link of a layer."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    """The numbers of user and group. Docker writes names beside them, which no engine looks at in a container."""
    mtime: float
    digest: str
    """Of a file's bytes."""
    target: str
    """Where a link leads."""
    attributes: tuple[tuple[str, str], ...]
    """The extended ones."""


Layer = dict[str, Entry]


@dataclass(frozen=True)
class Saved:
    """An image that was read from a file."""

    config: dict[str, Any]
    config_digest: str
    manifest_digest: str
    """Empty where the file has no manifest, as that of an older `docker save`."""
    media_types: tuple[str, ...]
    """Of the layers."""
    diff_ids: tuple[str, ...]
    """The digests of the layers' tars, computed."""
    layers: tuple[Layer, ...]

    @property
    def files(self) -> Layer:
        """Return what a container sees; no layer takes anything away."""
        merged: Layer = {}
        for layer in self.layers:
            assert not [name for name in layer if name.rpartition("/")[2].startswith(".wh.")]
            merged |= layer
        return merged


@contextmanager
def open_saved(path: Path) -> Iterator[Callable[[str], bytes]]:
    """Yield a function that reads a file of an archive."""
    with tarfile.open(path) as archive:

        def read(name: str) -> bytes:
            stream = archive.extractfile(name)
            assert stream
            return stream.read()

        yield read


def read_image(path: Path) -> Saved:
    """Read an image.tar, or what `docker save` wrote."""
    with open_saved(path) as read:
        (docker,) = json.loads(read("manifest.json"))
        config = read(docker["Config"])
        manifest, media_types = "", ()
        if docker["Config"].startswith("blobs/"):  # it is an OCI layout as well, which must say the same
            found = {entry["digest"] for entry in json.loads(read("index.json"))["manifests"]}
            (manifest,) = found
            document = json.loads(read(_place(manifest)))
            assert docker["Config"] == _place(document["config"]["digest"])
            assert docker["Layers"] == [_place(layer["digest"]) for layer in document["layers"]]
            media_types = tuple(layer["mediaType"] for layer in document["layers"])
        tars = [_decompress(read(place)) for place in docker["Layers"]]
        diff_ids = tuple(compute_digest(tar) for tar in tars)
        layers = tuple(_read_layer(tar) for tar in tars)
    values = json.loads(config)
    assert tuple(values["rootfs"]["diff_ids"]) == diff_ids
    return Saved(values, compute_digest(config), manifest, media_types, diff_ids, layers)


def compute_digest(data: bytes) -> str:
    """Return the digest of bytes, as images name them."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _place(digest: str) -> str:
    return digest.replace("sha256:", "blobs/sha256/")


def _decompress(data: bytes) -> bytes:
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


def _read_layer(tar: bytes) -> Layer:
    layer: Layer = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            layer[member.name.strip("/")] = Entry(
                kind=member.type,
                mode=stat.S_IMODE(member.mode),  # Docker writes the kind of the file into it as well
                owner=(member.uid, member.gid),
                mtime=member.mtime,
                digest=compute_digest(stream.read()) if stream else "",
                target=member.linkname,
                attributes=tuple(sorted(item for item in member.pax_headers.items() if item[0].startswith("SCHILY"))),
            )
    return layer


def find_damage(layout: Path) -> list[str]:
    """Return what is wrong in a layout: names of what is not whole, and blobs that are not what their digests say."""
    index = layout / "index.json"
    entries = json.loads(index.read_text())["manifests"] if index.exists() else []
    found = [path.name for path in layout.glob("blobs/sha256/*") if not _is_whole(path)]
    for entry in entries:
        manifest = layout / _place(entry["digest"])
        document = json.loads(manifest.read_text()) if manifest.exists() else {"config": entry, "layers": []}
        for blob in (entry, document["config"], *document["layers"]):
            place = layout / _place(blob["digest"])
            if not place.exists() or place.stat().st_size != blob["size"]:
                found.append(f"{entry['annotations']}: {blob['digest']}")
    return found


def _is_whole(blob: Path) -> bool:
    with blob.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == blob.name


def list_names(workshop_cache: Path) -> set[str]:
    """Return the names of the images in a store."""
    entries = json.loads((workshop_cache / "images/index.json").read_text())["manifests"]
    return {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries}


def list_arguments(base: Path) -> tuple[str | Path, ...]:
    """Return the options of a build that needs no daemon."""
    return "--engine", "oci", "--base", base


def save(engine: Any, reference: str, workshop: Workshop) -> Path:
    """Write an engine's image into a file, as `docker save` does."""
    path = workshop.root / f"saved-{compute_digest(reference.encode())[7:19]}.tar"
    with path.open("wb") as stream:
        for chunk in engine.get_image(reference):
            stream.write(chunk)
    return path
