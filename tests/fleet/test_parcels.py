"""Parcels: what is sent is what arrives, content travels once, and nothing is written that is not what was sent."""

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError
from onnxpack.fleet.parcels import SMALL, Packed, PackedFile, Parcel, Parcels, list_tree
from onnxpack.worker.codec import encode


class SharedFolder:
    """A store that two others share: entries by their name, each the bytes of one file."""

    def __init__(self) -> None:
        self.entries: dict[str, Path] = {}
        self.given: list[str] = []

    writes = True

    def fetch(self, name: str, folder: Path) -> bool:
        if name in self.entries:
            for made, path in list_tree(self.entries[name]):
                if path.is_file():
                    (folder / made).parent.mkdir(parents=True, exist_ok=True)
                    (folder / made).write_bytes(path.read_bytes())
        return name in self.entries

    def refuse(self, name: str, why: str) -> None:
        raise AssertionError(f"{name}: {why}")

    def give(self, name: str, entry: Path) -> None:
        self.given.append(name)
        self.entries[name] = entry

    def put(self, name: str, entry: Path) -> bool:
        self.give(name, entry)
        return True

    def list_traces(self, name: str, base: str) -> list[bytes]:
        return []

    def give_trace(self, name: str, base: str, trace: bytes) -> None:
        raise AssertionError(name)

    def finish(self) -> None:
        return


def make_tree(folder: Path) -> list[tuple[str, Path]]:
    """Make a tree of small and large files, a program and an empty folder."""
    (folder / "deep/empty").mkdir(parents=True)
    (folder / "small.txt").write_text("small")
    (folder / "deep/large.bin").write_bytes(os.urandom(SMALL + 5))
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    os.utime(folder / "deep/empty", (315532800, 315532800))
    return list_tree(folder)


def describe_tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        name: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for name, path in list_tree(folder)
    }


@pytest.mark.parametrize("shared", [None, SharedFolder()], ids=["within", "shared"])
def test_a_tree_arrives_with_its_modes_and_times(tmp_path: Path, shared: SharedFolder | None) -> None:
    files = make_tree(tmp_path / "tree")
    sent = Parcels(Store(tmp_path / "one", shared=shared)).pack(files)
    Parcels(Store(tmp_path / "other", shared=shared)).unpack(sent, tmp_path / "arrived")
    assert describe_tree(tmp_path / "arrived") == describe_tree(tmp_path / "tree")
    assert (len(encode(sent)) < SMALL) is (shared is not None)


def test_content_that_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    shared = SharedFolder()
    files = make_tree(tmp_path / "tree")
    parcels = Parcels(Store(tmp_path / "one", shared=shared))
    first = parcels.pack(files)
    count = len(shared.given)
    assert parcels.pack(reversed(files)) == first
    assert len(shared.given) == count == 1


def test_an_archive_is_cut_at_its_large_members(tmp_path: Path) -> None:
    layer = os.urandom(SMALL + 1)
    shared = SharedFolder()
    for number in range(2):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as archive:
            for name, data in (("config", bytes([number])), ("layer", layer), ("end", b"")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    parcels = Parcels(Store(tmp_path / "one", shared=shared))
    sent = [parcels.pack([(f"{number}.tar", tmp_path / f"{number}.tar")]) for number in range(2)]
    assert len(shared.given) == 1
    for parcel in sent:
        Parcels(Store(tmp_path / "other", shared=shared)).unpack(parcel, tmp_path / "arrived")
    for number in range(2):
        assert (tmp_path / f"arrived/{number}.tar").read_bytes() == (tmp_path / f"{number}.tar").read_bytes()


def test_content_that_is_missing_or_another_is_refused(tmp_path: Path) -> None:
    shared = SharedFolder()
    sent = Parcels(Store(tmp_path / "one", shared=shared)).pack(make_tree(tmp_path / "tree"))
    with pytest.raises(EngineError, match="did not arrive"):
        Parcels(Store(tmp_path / "alone")).unpack(sent, tmp_path / "arrived")
    with pytest.raises(EngineError, match="arrived as something else"):
        Parcels(Store(tmp_path / "alone")).unpack(replace(sent, data=b"else"), tmp_path / "again")
    name, entry = next(iter(shared.entries.items()))
    wrong = Store(tmp_path / "wrong")
    with wrong.making(*name.split("/")) as folder:  # whole as an entry, under the name of other content
        (folder / "content").write_bytes(b"other")
    with pytest.raises(EngineError, match="arrived as something else"):
        Parcels(wrong).unpack(sent, tmp_path / "poisoned")
    assert entry.is_dir()


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "", "a\0b"])
def test_no_file_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    parcels = Parcels(Store(tmp_path / "store"))
    data = Parcel("0" * 64, 0, b"")
    packed = encode(Packed((PackedFile(name, 0o644, 0, (data,)),)))
    (tmp_path / "packed").write_bytes(packed)
    sent = parcels.pack([("x", tmp_path / "packed")])
    assert sent.data
    inner = Parcel(*_digest(packed), packed)
    with pytest.raises(EngineError, match="would be written to"):
        parcels.unpack(inner, tmp_path / "arrived")
    assert not (tmp_path / "out").exists()


def test_what_is_no_list_of_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        Parcels(Store(tmp_path / "store")).unpack(Parcel(*_digest(b"junk"), b"junk"), tmp_path / "arrived")


def test_too_much_does_not_go_through_the_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpack.fleet.parcels.MOST_WITHIN", SMALL)
    with pytest.raises(EngineError, match="do not travel through the scheduler") as caught:
        Parcels(Store(tmp_path / "store")).pack(make_tree(tmp_path / "tree"))
    assert "ONNXPACK_REMOTE_CACHE" in caught.value.problems[0].hint


def _digest(data: bytes) -> tuple[str, int]:
    import hashlib

    return hashlib.sha256(data).hexdigest(), len(data)
