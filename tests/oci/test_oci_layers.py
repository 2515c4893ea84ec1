"""A layer's bytes depend on the names and contents of its files alone."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.oci import COMPRESSIONS, GZIP, ZSTD
from onnxpack.oci.layers import add_layer, add_tar, measure_layer, write_tar
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import EPOCH, LAYER, compute_digest


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "folder", ["b.py", "a/ä.txt", "a/" + "long" * 40])


def make_folder(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
        (root / name).chmod(0o644)
    (root / "link").symlink_to("b.py")
    for path in (root, *root.rglob("*/")):
        path.chmod(0o755)
    return root


def make_tar(folder: Path) -> bytes:
    buffer = io.BytesIO()
    write_tar(folder, buffer)
    return buffer.getvalue()


def test_a_tar_is_sorted_owned_by_root_and_of_one_time(folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(make_tar(folder))) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == ["a", "a/" + "long" * 40, "a/ä.txt", "b.py", "link"]
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members} == {(0, 0, "", "", EPOCH)}
    assert [oct(member.mode) for member in members if not member.issym()] == ["0o755", "0o644", "0o644", "0o644"]


@pytest.mark.case("R2")
@pytest.mark.parametrize("variables", [{"TZ": "Asia/Tokyo", "LC_ALL": "C"}, {"TZ": "UTC", "PYTHONHASHSEED": "1"}])
def test_a_tar_is_the_same_on_every_machine(folder: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    other = make_folder(tmp_path / "elsewhere/deeper", ["a/" + "long" * 40, "b.py", "a/ä.txt"])
    os.utime(other / "b.py", (1, 1))
    code = (
        "import io, os, sys; os.umask(0o77); from pathlib import Path; from onnxpack.oci.layers import write_tar;"
        "tar = io.BytesIO(); write_tar(Path(sys.argv[1]), tar); sys.stdout.buffer.write(tar.getvalue())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(other)], env={**os.environ, **variables}, capture_output=True, check=True
    )
    assert ended.stdout == make_tar(folder)


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_a_layer_names_its_tar_and_its_blob(layout: Layout, folder: Path, kind: str) -> None:
    layer = add_layer(layout, folder, kind)
    assert layer.diff_id == compute_digest(make_tar(folder))
    assert layer.blob.media_type == f"{LAYER}+{kind}"
    assert layout.has(layer.blob.digest)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert layer.size == sum(path.stat().st_size for path in files)


def test_a_layer_is_compressed_once(layout: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {kind: add_layer(layout, folder, kind) for kind in COMPRESSIONS}
    monkeypatch.setattr("onnxpack.oci.layers.make_compressor", None)
    assert {kind: add_layer(layout, folder, kind) for kind in COMPRESSIONS} == first
    with layout.open(first[GZIP].blob.digest) as stream:
        assert add_tar(layout, stream, first[GZIP].diff_id, ZSTD) == first[ZSTD]


@pytest.mark.case("B8")
def test_a_layer_whose_blob_was_damaged_is_made_again(layout: Layout, folder: Path) -> None:
    layer = add_layer(layout, folder, GZIP)
    layout.path(layer.blob.digest).write_bytes(b"")
    assert add_layer(Layout(layout.root), folder, GZIP) == layer
    assert layout.path(layer.blob.digest).stat().st_size == layer.blob.size


@pytest.mark.parametrize("text", ["", "{", '{"size": "a"}', "[]"])
def test_what_was_found_out_is_found_out_again_if_it_is_damaged(layout: Layout, folder: Path, text: str) -> None:
    layer = add_layer(layout, folder, GZIP)
    for path in (layout.root / "layers").iterdir():
        path.write_text(text)
    assert add_layer(layout, folder, GZIP) == layer
    assert measure_layer(layout, layout, layer.blob, layer.diff_id) == layer


@pytest.mark.case("B8")
def test_one_changed_character_in_what_was_found_out_changes_no_layer(layout: Layout, folder: Path) -> None:
    """A size of 7 instead of 5 is a number too, and would give another manifest."""
    layer = add_layer(layout, folder, GZIP)
    known = {path: path.read_text() for path in (layout.root / "layers").iterdir()}
    assert len(known) == 2
    for path, text in known.items():
        for place in (number for number, letter in enumerate(text) if letter.isdigit()):
            path.write_text(f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}")
            assert add_layer(Layout(layout.root), folder, GZIP) == layer
            assert measure_layer(layout, layout, layer.blob, layer.diff_id) == layer


@pytest.mark.case("B8")
def test_what_was_found_out_of_one_layer_is_not_taken_for_another(layout: Layout, folder: Path) -> None:
    first = add_layer(layout, folder, GZIP)
    (folder / "more").write_text("more")
    second = add_layer(layout, folder, GZIP)
    one, other = (
        next((layout.root / "layers").glob(f"{found.diff_id.replace(':', '-')}.*")) for found in (first, second)
    )
    other.write_bytes(one.read_bytes())
    assert add_layer(layout, folder, GZIP) == second


def test_a_tar_of_another_digest_or_none_is_refused(layout: Layout, folder: Path) -> None:
    with pytest.raises(EngineError, match="and its image says sha256:00"):
        add_tar(layout, io.BytesIO(make_tar(folder)), "sha256:" + "0" * 64, GZIP)
    noise = b"no tar at all" * 100
    with pytest.raises(EngineError, match="a layer is no tar"):
        add_tar(layout, io.BytesIO(noise), compute_digest(noise), GZIP)


def test_what_stands_behind_an_archive_counts_for_its_digest(layout: Layout, folder: Path) -> None:
    tar = make_tar(folder) + b"\0" * 7 + b"tail"
    layer = add_tar(layout, io.BytesIO(tar), f"sha256:{hashlib.sha256(tar).hexdigest()}", GZIP)
    assert layer.size == add_layer(layout, folder, GZIP).size


def test_what_is_neither_file_nor_folder_nor_link_is_refused(folder: Path, layout: Layout) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(EngineError, match="pipe' is no file, folder or link"):
        add_layer(layout, folder, GZIP)
