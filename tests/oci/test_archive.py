"""An archive is an OCI layout and what `docker load` takes, and its bytes follow from the image and its names."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError, SpecError
from onnxpack.oci import GZIP
from onnxpack.oci.archive import open_archive, write_archive
from onnxpack.oci.layers import add_layer
from onnxpack.oci.layout import NAME, Layout
from onnxpack.oci.manifests import CONFIG, MANIFEST, Descriptor, Index, Manifest, read_document, write_document

CONFIGURATION = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": ["sha256:" + "0" * 64]}}
).encode()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


@pytest.fixture
def entry(layout: Layout, tmp_path: Path) -> Descriptor:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("text")
    layer = add_layer(layout, tmp_path / "folder", GZIP)
    return layout.add(write_document(Manifest(layout.add(CONFIGURATION, CONFIG), (layer.blob,))), MANIFEST)


def write(layout: Layout, entry: Descriptor, path: Path, *names: str) -> Path:
    write_archive(layout, entry, layout.read_manifest(entry), names, path)
    return path


def test_an_archive_has_every_blob_by_its_digest(layout: Layout, entry: Descriptor, tmp_path: Path) -> None:
    with open_archive(write(layout, entry, tmp_path / "image.tar", "iris:1", "iris:2")) as archive:
        assert archive.is_layout
        index = read_document(archive.read_file("index.json"))
        assert isinstance(index, Index)
        assert [(one.digest, one.annotations[NAME]) for one in index.manifests] == [
            (entry.digest, "iris:1"),
            (entry.digest, "iris:2"),
        ]
        manifest = layout.read_manifest(entry)
        for blob in (entry, manifest.config, *manifest.layers):
            assert archive.has(blob.digest)
            with archive.open(blob.digest) as stream, layout.open(blob.digest) as known:
                assert stream.read() == known.read()


def test_an_archive_tells_docker_where_its_parts_are(layout: Layout, entry: Descriptor, tmp_path: Path) -> None:
    with open_archive(write(layout, entry, tmp_path / "image.tar", "iris:1")) as archive:
        (docker,) = json.loads(archive.read_file("manifest.json"))
        assert docker["RepoTags"] == ["iris:1"]
        for place in (docker["Config"], *docker["Layers"]):
            with archive.open_file(place) as stream:
                assert stream.read()


@pytest.mark.case("R1")
def test_the_same_image_gives_the_same_archive(layout: Layout, entry: Descriptor, tmp_path: Path) -> None:
    first = write(layout, entry, tmp_path / "one.tar", "iris:1").read_bytes()
    assert write(layout, entry, tmp_path / "two.tar", "iris:1").read_bytes() == first
    assert write(layout, entry, tmp_path / "three.tar").read_bytes() != first


def make_tar(path: Path, **files: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_what_is_no_archive_of_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text" * 1000)
    for path in (tmp_path / "text", make_tar(tmp_path / "a.tar", file=b"")):
        with pytest.raises(SpecError, match=r"is not an uncompressed tar|holds no image"), open_archive(path):
            pass


def test_what_is_missing_or_too_large_is_told(layout: Layout, entry: Descriptor, tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", manifest__json=b" " * (5 * 2**20))
    with open_archive(path) as archive:
        assert not archive.is_layout
        assert not archive.has(entry.digest)
        with pytest.raises(EngineError, match="lacks the file blobs/sha256/"):
            archive.open(entry.digest)
        with pytest.raises(EngineError, match="has more than"):
            archive.read_file("manifest.json")


def test_an_archive_that_is_cut_short_is_refused(layout: Layout, entry: Descriptor, tmp_path: Path) -> None:
    whole = write(layout, entry, tmp_path / "image.tar", "iris:1").read_bytes()
    for size in (100, 700, len(whole) // 2, len(whole) - 10_000):
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        try:
            with open_archive(tmp_path / "cut.tar") as archive, archive.open(entry.digest) as stream:
                assert len(stream.read()) <= entry.size
        except (SpecError, EngineError):
            continue
