"""Outputs appear whole or not at all."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onnxpack.cache.store import Store
from onnxpack.core.output import replacing


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["exchange", "renames"])
def renaming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to swap: the second is for file systems that have no exchange."""
    if request.param == "renames":

        class Library:
            def __init__(self, *arguments: Any, **options: Any) -> None:
                self.renameat2 = lambda *arguments: -1

        monkeypatch.setattr(ctypes, "CDLL", Library)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An output that stands already."""
    folder = tmp_path / "dist/name/cpu"
    (folder / "context").mkdir(parents=True)
    (folder / "model.onnx").write_text("old")
    (folder / "context/Dockerfile").write_text("old")
    return folder


def test_a_new_output_appears_with_its_parents(tmp_path: Path) -> None:
    destination = tmp_path / "a/b"
    with replacing(destination) as folder:
        (folder / "file").write_text("new")
        assert not destination.exists()
    assert contents(tmp_path) == {"a/b/file": "new"}
    assert (destination.stat().st_mode & 0o777) == (tmp_path / "a").stat().st_mode & 0o777


@pytest.mark.usefixtures("renaming")
def test_a_good_end_swaps_the_whole_folder_and_leaves_nothing_beside(old: Path) -> None:
    with replacing(old) as folder:
        (folder / "model.onnx").write_text("new")
        assert contents(old)["model.onnx"] == "old"
    assert contents(old) == {"model.onnx": "new"}
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.usefixtures("renaming")
def test_a_bad_end_keeps_the_old_one_whole_and_leaves_nothing_beside(old: Path, stop: type[BaseException]) -> None:
    before = contents(old)

    def fill() -> None:
        with replacing(old) as folder:
            (folder / "model.onnx").write_text("new")
            raise stop

    with pytest.raises(stop):
        fill()
    assert contents(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_an_output_that_another_build_put_there_meanwhile_is_swapped(tmp_path: Path) -> None:
    destination = tmp_path / "cpu"
    with replacing(destination) as folder:
        (folder / "file").write_text("mine")
        with replacing(destination) as other:
            (other / "file").write_text("theirs")
    assert contents(tmp_path) == {"cpu/file": "mine"}


def test_a_swap_that_fails_halfway_puts_the_old_one_back(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an exchange the old folder is away for a moment; it must not be lost with the working folder."""
    before = contents(old)

    class Library:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.renameat2 = lambda *arguments: -1

    monkeypatch.setattr(ctypes, "CDLL", Library)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(39, "Directory not empty") if target.exists() else OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="No space left"), replacing(old):
        pass
    assert contents(old) == before
    assert list(old.parent.iterdir()) == [old]


FILL = """
import sys, time
from pathlib import Path
from onnxpack.core.output import replacing
with replacing(Path(sys.argv[1])) as folder:
    (folder / "model.onnx").write_text("half")
    print("filled", flush=True)
    time.sleep(300)
"""


def test_output_of_a_killed_build_is_swept_by_the_next_and_a_users_folder_stays(old: Path) -> None:
    (old.parent / ".cpu-mine").mkdir()
    killed = subprocess.Popen([sys.executable, "-c", FILL, str(old)], stdout=subprocess.PIPE, text=True)
    assert killed.stdout
    assert killed.stdout.readline() == "filled\n"
    killed.kill()
    killed.communicate()
    assert contents(old)["model.onnx"] == "old"
    assert len(list(old.parent.iterdir())) == 3
    with replacing(old) as folder:
        (folder / "model.onnx").write_text("new")
    assert contents(old) == {"model.onnx": "new"}
    assert sorted(path.name for path in old.parent.iterdir()) == [".cpu-mine", "cpu"]


@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_output_where_something_else_stands_is_refused_and_it_stays(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "cpu"
    (tmp_path / "real").mkdir()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to("real")
    else:
        place.touch()
    before = place.lstat()
    with pytest.raises(OSError, match="Not a directory"), replacing(place):
        pass
    assert place.lstat().st_ino == before.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu", "real"]


def test_output_that_finds_no_room_names_its_folder_unless_the_store_had_none(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    with pytest.raises(OSError, match="No space left") as failed, replacing(tmp_path / "dist/cpu"):
        Path("/dev/full").write_text("report")
    assert failed.value.filename == str(tmp_path / "dist")
    with pytest.raises(OSError, match="No space left") as failed, replacing(tmp_path / "dist/cpu"), store.scratch():
        Path("/dev/full").write_text("result")
    assert failed.value.filename == str(tmp_path / "cache")
