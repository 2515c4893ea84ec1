"""A layout keeps blobs by their digest, and names of images."""

import subprocess
import sys
from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.oci.layout import Layout, read_layout_index
from onnxpack.oci.manifests import CONFIG, MANIFEST, Descriptor, Manifest, compute_digest, write_document


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


def add_image(layout: Layout, text: bytes = b"{}") -> Descriptor:
    return layout.add(write_document(Manifest(layout.add(text, CONFIG), ())), MANIFEST)


def test_a_blob_is_there_whole_or_not_at_all(layout: Layout) -> None:
    with layout.writing() as writer:
        writer.write(b"never committed")
    blob = layout.add(b"text", CONFIG)
    assert blob == Descriptor(CONFIG, compute_digest(b"text"), 4)
    assert layout.has(blob.digest)
    assert layout.read(blob.digest) == b"text"
    assert not layout.has(compute_digest(b"never committed"))
    assert [path.name for path in layout.root.rglob("*") if path.is_file()] == [blob.digest[7:]]


def test_a_blob_with_another_digest_than_expected_is_not_taken(layout: Layout) -> None:
    with layout.writing() as writer:
        writer.write(b"text")
        with pytest.raises(EngineError, match="was asked for"):
            writer.commit(CONFIG, compute_digest(b"other"))
    assert not list((layout.root).rglob("[0-9a-f]*"))


@pytest.mark.case("B8")
@pytest.mark.parametrize("damage", [b"texu", b"tex", b""])
def test_a_damaged_blob_is_none_and_goes(layout: Layout, damage: bytes) -> None:
    digest = layout.add(b"text", CONFIG).digest
    layout.path(digest).chmod(0o644)
    layout.path(digest).write_bytes(damage)
    again = Layout(layout.root)  # another process
    with pytest.raises(EngineError, match="is damaged"):
        again.read(digest)
    assert not again.has(digest)
    assert not layout.path(digest).exists()


def test_what_is_in_the_place_of_a_blob_is_not_followed(layout: Layout, tmp_path: Path) -> None:
    digest = layout.add(b"text", CONFIG).digest
    (tmp_path / "elsewhere").write_bytes(b"text")
    layout.path(digest).unlink()
    layout.path(digest).symlink_to(tmp_path / "elsewhere")
    again = Layout(layout.root)
    assert not again.has(digest)
    with pytest.raises(EngineError, match="cannot be read"):
        again.open(digest)


def test_names_are_given_and_taken(layout: Layout) -> None:
    one, other = add_image(layout), add_image(layout, b"{ }")
    layout.name("iris:1", one)
    layout.name("iris:2", one)
    layout.name("iris:1", other)
    found = layout.find("iris:1")
    assert found
    assert found.digest == other.digest
    layout.unname("iris:1")
    layout.unname("never:given")
    assert set(layout.list_names()) == {"iris:2"}
    assert [entry.digest for entry in read_layout_index(layout.root).manifests] == [one.digest]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"manifests": 7}'])
def test_damaged_names_are_none_and_new_ones_can_be_given(layout: Layout, text: str) -> None:
    entry = add_image(layout)
    layout.name("iris:1", entry)
    (layout.root / "index.json").write_text(text)
    assert layout.list_names() == {}
    layout.name("iris:2", entry)
    assert set(layout.list_names()) == {"iris:2"}


@pytest.mark.case("B7")
def test_four_processes_give_names_at_once_and_none_is_lost(layout: Layout) -> None:
    entry = add_image(layout)
    code = (
        "import sys; from pathlib import Path; from onnxpack.oci.layout import Layout;"
        "from onnxpack.oci.manifests import Descriptor;"
        f"entry = Descriptor({entry.media_type!r}, {entry.digest!r}, {entry.size})\n"
        f"for i in range(20): Layout(Path({str(layout.root)!r})).name(f'image:{{sys.argv[1]}}-{{i}}', entry)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert len(layout.list_names()) == 80


def test_a_folder_that_is_no_layout_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is not an OCI image layout"):
        read_layout_index(tmp_path)
