"""A file that a process uses is left alone by whoever makes room; one that nobody uses is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnxpack.core import holds
from onnxpack.core.holds import Holds, unheld


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_text("{}")
    os.utime(path, (1, 1))
    return path


def is_unheld(path: Path) -> bool:
    with unheld(path) as free:
        return free


def test_a_held_file_is_not_free_until_it_is_released(file: Path) -> None:
    mine = Holds()
    assert is_unheld(file)
    assert mine.hold(file)
    assert mine.hold(file)
    assert not is_unheld(file)
    other = Holds()
    assert other.hold(file)  # several may use it
    mine.release()
    assert not is_unheld(file)
    del other
    assert is_unheld(file)


def test_use_is_noted(file: Path) -> None:
    assert Holds().hold(file)
    assert file.stat().st_mtime > 1


def test_what_is_being_removed_cannot_be_held(file: Path) -> None:
    mine = Holds()
    with unheld(file) as free:
        assert free
        assert not mine.hold(file)
    assert mine.hold(file)


def test_a_file_that_was_replaced_is_held_anew(file: Path) -> None:
    mine = Holds()
    assert mine.hold(file)
    file.unlink()
    assert not mine.hold(file)
    file.write_text("{}")
    assert mine.hold(file)
    assert not is_unheld(file)


def test_what_is_no_file_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("folder")
    assert [Holds().hold(tmp_path / name) for name in ("folder", "pipe", "link", "none", "none/below")] == [False] * 5


def test_a_hold_ends_with_its_process(file: Path) -> None:
    code = "import sys; from pathlib import Path; from onnxpack.core.holds import Holds\n"
    code += "mine = Holds(); print(mine.hold(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "True\n"
        assert not is_unheld(file)
        process.kill()
    assert is_unheld(file)


def test_the_latest_files_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "_MOST", 2)
    mine, files = Holds(), [tmp_path / str(number) for number in range(3)]
    for path in (*files[:2], files[0], files[2]):
        path.touch()
        assert mine.hold(path)
    assert [is_unheld(path) for path in files] == [False, True, False]
