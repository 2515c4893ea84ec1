"""A bundle has the same bytes wherever it is made, and appears whole or not at all."""

import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from told import Told
from vendoring import Outside

from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.oci.sources import open_source
from onnxpack.vendor.collect import Chosen, Collection, collect
from onnxpack.vendor.write import require_free, write_bundle


def test_another_store_gives_the_same_bytes(
    bundle: Path, chosen: list[Chosen], outside: Outside, tmp_path: Path
) -> None:
    again = collect(chosen[::-1], Store(tmp_path / "cache"), Told())
    size = write_bundle(again, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()
    assert size == bundle.stat().st_size


def test_a_bundle_is_an_image_layout_too(bundle: Path, collection: Collection) -> None:
    with open_source(bundle) as source:
        assert source.entry.digest == collection.index.bases[0].digest
        assert source.names == (collection.index.bases[0].reference,)


def test_all_members_have_one_time_owner_and_mode(bundle: Path) -> None:
    with tarfile.open(bundle) as archive:
        members = archive.getmembers()
    assert {(one.mtime, one.uid, one.gid, one.mode, one.uname) for one in members} == {(315532800, 0, 0, 0o644, "")}
    assert [one.name for one in members][:3] == ["oci-layout", "vendor.json", "index.json"]
    assert len({one.name for one in members}) == len(members)
    listed = subprocess.run(["tar", "-tf", bundle], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [one.name for one in members]


def test_a_blob_that_changes_meanwhile_leaves_no_bundle(collection: Collection, tmp_path: Path) -> None:
    digest, path = next((digest, path) for digest, path in collection.blobs.items() if path.suffix == ".whl")
    (tmp_path / "changed").write_bytes(path.read_bytes()[:-1] + b"x")
    changed = replace(collection, blobs=collection.blobs | {digest: tmp_path / "changed"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "bundle.tar").write_bytes(b"the old one")
    with pytest.raises(EngineError, match=f"no longer {digest}"):
        write_bundle(changed, out / "bundle.tar")
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("bundle.tar", b"the old one")]


def test_only_a_bundle_is_written_over(bundle: Path, tmp_path: Path) -> None:
    require_free(bundle)
    require_free(tmp_path / "new.tar")
    (tmp_path / "cut.tar").write_bytes(bundle.read_bytes()[:-20000])
    require_free(tmp_path / "cut.tar")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SpecError, match="is there, and is no bundle"):
        require_free(tmp_path / "notes.txt")
    with pytest.raises(SpecError, match="is a folder"):
        require_free(tmp_path)
