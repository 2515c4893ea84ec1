"""Images are copied into a layout from archives, layouts and what `docker save` gives, whole or not at all."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError, SpecError
from onnxpack.oci import GZIP
from onnxpack.oci.archive import write_archive
from onnxpack.oci.copies import import_image, import_saved
from onnxpack.oci.layers import add_layer, write_tar
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import (
    CONFIG,
    INDEX,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
    compute_digest,
    write_document,
)


@pytest.fixture
def source(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "target")


def make_folder(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    (root / "file").write_text("text")
    return root


def make_config(diff_id: str, architecture: str) -> bytes:
    return json.dumps({"architecture": architecture, "os": "linux", "rootfs": {"diff_ids": [diff_id]}}).encode()


def add_image(layout: Layout, architecture: str = "amd64") -> Descriptor:
    layer = add_layer(layout, make_folder(layout.root.parent / "folder"), GZIP)
    config = layout.add(make_config(layer.diff_id, architecture), CONFIG)
    return layout.add(write_document(Manifest(config, (layer.blob,))), MANIFEST)


def test_an_image_keeps_its_digest_from_an_archive_and_from_a_layout(
    source: Layout, target: Layout, tmp_path: Path
) -> None:
    entry = add_image(source)
    source.name("iris:1", entry)
    write_archive(source, entry, source.read_manifest(entry), ["iris:1", "iris:2"], tmp_path / "image.tar")
    assert import_image(target, tmp_path / "image.tar", "linux/amd64") == entry
    assert import_image(Layout(tmp_path / "third"), source.root, "linux/amd64") == entry
    assert all(target.has(blob.digest) for blob in target.read_manifest(entry).layers)


def test_of_several_platforms_the_one_that_is_asked_for_is_taken(source: Layout, target: Layout) -> None:
    found = {kind: add_image(source, kind) for kind in ("amd64", "arm64")}
    entries = tuple(replace(entry, platform=Platform("linux", kind)) for kind, entry in found.items())
    source.name("iris:1", source.add(write_document(Index(entries)), INDEX))
    assert import_image(target, source.root, "linux/arm64").digest == found["arm64"].digest
    with pytest.raises(SpecError, match=r"holds no image for linux/riscv64"):
        import_image(target, source.root, "linux/riscv64")


def test_an_image_of_another_platform_or_one_of_several_is_refused(source: Layout, target: Layout) -> None:
    source.name("iris:1", add_image(source, "arm64"))
    with pytest.raises(SpecError, match="holds no image for linux/amd64"):
        import_image(target, source.root, "linux/amd64")
    (source.root.parent / "folder/other").write_text("")
    source.name("iris:2", add_image(source, "arm64"))
    with pytest.raises(SpecError, match="holds several images for linux/arm64: iris:1, iris:2"):
        import_image(target, source.root, "linux/arm64")


@pytest.mark.case("B8")
def test_a_damaged_blob_is_not_copied(source: Layout, target: Layout) -> None:
    entry = add_image(source)
    source.name("iris:1", entry)
    layer = source.read_manifest(entry).layers[0]
    source.path(layer.digest).write_bytes(b"other")
    with pytest.raises(EngineError, match="was asked for"):
        import_image(target, source.root, "linux/amd64")
    source.path(layer.digest).unlink()
    with pytest.raises(EngineError, match="lacks the blob"):
        import_image(target, source.root, "linux/amd64")


def save(folder: Path, path: Path, *, linked: bool = False, config: bytes | None = None) -> Path:
    """Write what `docker save` of an engine before 25 gives: tars in folders, of two equal ones a link."""
    tar = io.BytesIO()
    write_tar(folder, tar)
    diff_id = compute_digest(tar.getvalue())
    values = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [diff_id] * (1 + linked)}}
    text = config or json.dumps(values).encode()
    layers = ["a/layer.tar", *(["b/layer.tar"] if linked else [])]
    manifest = json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": layers}]).encode()
    with tarfile.open(path, "w") as archive:
        for name, data in (("a/layer.tar", tar.getvalue()), ("c.json", text), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if linked:
            member = tarfile.TarInfo("b/layer.tar")
            member.type, member.linkname = tarfile.SYMTYPE, "../a/layer.tar"
            archive.addfile(member)
    return path


def test_a_saved_image_of_another_platform_is_refused(source: Layout, tmp_path: Path) -> None:
    path = save(make_folder(tmp_path / "folder"), tmp_path / "a.tar")
    with pytest.raises(SpecError, match="an image for linux/amd64, and the target is for linux/arm64"):
        import_image(source, path, "linux/arm64")


@pytest.mark.parametrize("linked", [False, True])
def test_saved_layers_are_compressed_as_ours_are(source: Layout, tmp_path: Path, *, linked: bool) -> None:
    folder = make_folder(tmp_path / "folder")
    manifest = source.read_manifest(import_saved(source, save(folder, tmp_path / "a.tar", linked=linked), GZIP))
    assert manifest.layers == (add_layer(source, folder, GZIP).blob,) * (1 + linked)


@pytest.mark.parametrize(
    "config", [b"{}", b"[]", b'{"rootfs": {"diff_ids": []}}', make_config("sha256:" + "0" * 64, "amd64")]
)
def test_what_does_not_fit_its_configuration_is_refused(source: Layout, tmp_path: Path, config: bytes) -> None:
    path = save(make_folder(tmp_path / "folder"), tmp_path / "a.tar", config=config)
    with pytest.raises(EngineError):
        import_saved(source, path, GZIP)
    assert not (source.root / "index.json").exists()


@pytest.mark.parametrize("text", [b"", b"[]", b"[{}, {}]", b"{}", b'[{"Config": 1}]', b"[" * 50_000])
def test_an_archive_of_no_image_or_of_several_is_refused(source: Layout, tmp_path: Path, text: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    with pytest.raises(SpecError, match="cannot be used"):
        import_saved(source, tmp_path / "a.tar", GZIP)
