"""Images go with what no other one has, and stay while a process uses them."""

import os
from pathlib import Path

import pytest

from onnxpack.cache.room import Limits, make_room
from onnxpack.core.holds import Holds
from onnxpack.oci.kept import KeptImages
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import CONFIG, LAYER, MANIFEST, Descriptor, Manifest, write_document

SHARED = b"a layer that all have" * 10


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


def add_image(layout: Layout, name: str, used: float) -> Descriptor:
    """Add an image of a shared and a layer of its own, which was used at that time."""
    layers = (layout.add(SHARED, LAYER), layout.add(f"layer of {name}".encode(), LAYER))
    image = layout.add(write_document(Manifest(layout.add(name.encode(), CONFIG), layers)), MANIFEST)
    layout.name(f"{name}:1.0", image)
    layout.name(f"{name}:content", image)
    os.utime(layout.path(image.digest), (used, used))
    return image


def count_blobs(layout: Layout) -> int:
    return len(list((layout.root / "blobs/sha256").iterdir()))


def test_the_image_that_was_used_longest_ago_goes_with_its_names_and_layers(layout: Layout) -> None:
    old, new = add_image(layout, "old", 1.0), add_image(layout, "new", 2.0)
    keeper = KeptImages(layout)
    sizes = {item.name: item.size for item in keeper.list_items()}
    assert sizes.keys() == {old.digest, new.digest}
    assert sizes[new.digest] > len(SHARED) > sizes[old.digest] - old.size  # the shared layer counts once
    gone = make_room([keeper], Limits(sizes[new.digest]))
    assert [item.name for item in gone] == [old.digest]
    assert layout.list_names().keys() == {"new:1.0", "new:content"}
    assert count_blobs(layout) == 4
    assert len(make_room([keeper], Limits(0))) == 1
    assert count_blobs(layout) == 0
    assert layout.list_names() == {}


def test_an_image_in_use_stays(layout: Layout) -> None:
    image = add_image(layout, "one", 1.0)
    user = Layout(layout.root, Holds())
    manifest = user.read_manifest(image)
    assert make_room([KeptImages(layout)], Limits(0)) == []
    assert layout.has(manifest.layers[0].digest)
    assert len(layout.list_names()) == 2


def test_what_a_build_has_put_there_stays_before_it_has_a_name(layout: Layout) -> None:
    builder = Layout(layout.root, Holds())
    builder.add(b"layer", LAYER)
    assert make_room([KeptImages(layout)], Limits(0)) == []
    del builder
    assert len(make_room([KeptImages(layout)], Limits(0))) == 1  # as a killed build leaves it


def test_a_blob_that_two_builds_put_there_stays_for_the_one_that_goes_on(layout: Layout) -> None:
    first, second = Layout(layout.root, Holds()), Layout(layout.root, Holds())
    blob = first.add(b"layer", LAYER)
    assert second.add(b"layer", LAYER) == blob
    del second
    assert make_room([KeptImages(layout)], Limits(0)) == []
    assert first.read(blob.digest) == b"layer"


def test_a_layer_that_a_build_has_found_stays_when_its_image_goes(layout: Layout) -> None:
    image = add_image(layout, "one", 1.0)
    layer = layout.read_manifest(image).layers[0].digest
    builder = Layout(layout.root, Holds())
    assert builder.has(layer)
    make_room([KeptImages(layout)], Limits(0))
    assert layout.path(layer).exists()
    assert count_blobs(layout) == 1


def test_notes_about_layers_go_too(layout: Layout) -> None:
    (layout.root / "layers").mkdir(parents=True)
    (layout.root / "layers/note").write_text("{}")
    assert [item.name for item in make_room([KeptImages(layout)], Limits(0))] == ["layers/note"]
    assert not list((layout.root / "layers").iterdir())


def test_a_layout_that_is_not_there_has_nothing(layout: Layout) -> None:
    keeper = KeptImages(layout)
    assert keeper.list_items() == []
    assert make_room([keeper], Limits(0)) == []
    assert not layout.root.exists()


@pytest.mark.case("B8")
def test_damaged_blobs_are_found_and_go(layout: Layout) -> None:
    image = add_image(layout, "one", 1.0)
    layout.path(image.digest).write_bytes(b"{}")
    found = {item.name: whole for item, whole in KeptImages(Layout(layout.root)).remove_damaged()}
    assert len(found) == 4
    assert [name for name, whole in found.items() if not whole] == [image.digest]
    assert not layout.path(image.digest).exists()
