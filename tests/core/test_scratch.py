"""What is in use is never swept, and what is not goes."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.core.scratch import is_working_name, locked, locked_if_free, sweep, working_folder


def test_working_folder_is_empty_and_goes_with_what_is_in_it(tmp_path: Path) -> None:
    with working_folder(tmp_path / "a/b") as folder:
        assert is_working_name(folder.name)
        assert list(folder.iterdir()) == []
        (folder / "file").touch()
    assert list((tmp_path / "a/b").iterdir()) == []


def test_sweep_of_abandoned_folders_leaves_those_in_use_and_all_others(tmp_path: Path) -> None:
    (tmp_path / ".onnxpack-abandone/deep").mkdir(parents=True)
    others = [".onnxpack-short", ".onnxpack-notes-of-mine", ".cpu-abcdefgh", "onnxpack-abcdefgh", ".ONNXPACK-abcdefgh"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".onnxpack-is_files").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / ".onnxpack-is_links").symlink_to("outside")
    with working_folder(tmp_path) as folder:
        sweep(tmp_path)
        stays = {*others, folder.name, ".onnxpack-is_files", ".onnxpack-is_links", "outside"}
        assert {path.name for path in tmp_path.iterdir()} == stays


def test_working_folders_made_and_swept_at_once_all_live_to_their_end(tmp_path: Path) -> None:
    def work(number: int) -> bool:
        with working_folder(tmp_path) as folder:
            (folder / "file").write_text(str(number))
            sweep(tmp_path)
            return (folder / "file").read_text() == str(number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400)))
    assert list(tmp_path.iterdir()) == []


def test_lock_held_elsewhere_makes_the_second_wait(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with locked(tmp_path / "lock", waits.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path / "lock"):
        with locked_if_free(tmp_path / "lock") as free:
            assert not free
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


COUNT = """
import sys
from pathlib import Path
from onnxpack.core.scratch import locked
for _ in range(300):
    with locked(Path("lock")):
        value = int(Path("count").read_text())
        Path("count").write_text(str(value + 1))
"""


def test_lock_file_that_goes_each_time_still_lets_one_in_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT], cwd=tmp_path) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "900"


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    hold = "import os, sys\nfrom pathlib import Path\nfrom onnxpack.core.scratch import locked\n"
    hold += "with locked(Path('lock')): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", hold], cwd=tmp_path, check=False)
    assert (tmp_path / "lock").exists()
    with locked_if_free(tmp_path / "lock") as free:
        assert free


@pytest.mark.parametrize("kind", ["folder", "dangling link", "pipe"])
def test_lock_in_whose_place_something_else_is_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lock"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    with pytest.raises(EngineError, match="something else is there"), locked(path):
        pass
    assert os.path.lexists(path)
