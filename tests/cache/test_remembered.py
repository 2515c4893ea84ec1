"""A large file is read once as long as it stays as it is, and never believed to be what it is not."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import onnxpack.cache.remembered
from onnxpack.cache.remembered import digest_large_file

NOW = time.time_ns


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.setattr(onnxpack.cache.remembered, "_LARGE", 1000)
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path: Path, later: Callable[[float], None]) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"a" * 1000)
    later(60)
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock of the module to so many seconds from now: a change time cannot be set back."""

    def set_clock(seconds: float) -> None:
        now = NOW()
        monkeypatch.setattr("onnxpack.cache.remembered.time.time_ns", lambda: now + int(seconds * 1e9))

    return set_clock


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def remembered(store: Path) -> list[Path]:
    return sorted((store / "digests").iterdir()) if (store / "digests").exists() else []


def plant(store: Path) -> str:
    """Write another digest into what is remembered, which tells whether it is believed."""
    (place,) = remembered(store)
    known = f"{place.read_text().rsplit(' ', 2)[0]} {'0' * 64}"
    place.write_text(f"{known} {sha256(known.encode())}\n")
    return "0" * 64


def test_digest_of_a_file_that_stays_is_remembered(store: Path, file: Path) -> None:
    assert digest_large_file(file) == sha256(b"a" * 1000)
    planted = plant(store)
    assert digest_large_file(file) == planted


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"b" * 1000),
        lambda path: (path.write_bytes(b"b" * 1000), os.utime(path, (1, 1))),
        lambda path: os.utime(path, (path.stat().st_atime, path.stat().st_mtime)),
        lambda path: path.write_bytes(b"a" * 1001),
        lambda path: path.with_name("new").write_bytes(b"b" * 1000) and path.with_name("new").replace(path),
    ],
    ids=["content", "content and time set back", "time of change alone", "size", "another file in its place"],
)
def test_digest_of_a_file_that_changed_is_computed_anew(
    store: Path, file: Path, change: Callable[[Path], object]
) -> None:
    digest_large_file(file)
    plant(store)
    change(file)
    assert digest_large_file(file) == sha256(file.read_bytes())


def test_digest_of_a_file_that_was_just_changed_is_neither_kept_nor_believed(
    store: Path, file: Path, later: Callable[[float], None]
) -> None:
    later(1)
    digest_large_file(file)
    assert remembered(store) == []
    later(60)
    digest_large_file(file)
    plant(store)
    later(1)
    assert digest_large_file(file) == sha256(b"a" * 1000)


def test_digest_of_a_small_file_is_not_remembered(store: Path, file: Path, later: Callable[[float], None]) -> None:
    file.write_bytes(b"a" * 999)
    later(60)
    digest_large_file(file)
    assert remembered(store) == []


@pytest.mark.parametrize("kind", ["broken", "binary", "pipe", "link"])
def test_remembered_digest_that_is_no_line_is_not_believed(store: Path, file: Path, kind: str) -> None:
    digest_large_file(file)
    (place,) = remembered(store)
    if kind == "broken":
        place.write_text("1000")
    elif kind == "binary":
        place.write_bytes(b"\xff" * 5000)
    else:
        place.unlink()
        os.mkfifo(place) if kind == "pipe" else place.symlink_to("nowhere")
    assert digest_large_file(file) == sha256(b"a" * 1000)
    planted = plant(store)
    assert digest_large_file(file) == planted, "it was written anew"


def test_digest_where_the_store_cannot_be_written_is_computed(store: Path, file: Path) -> None:
    store.write_text("a file in the store's place")
    assert digest_large_file(file) == sha256(b"a" * 1000)
