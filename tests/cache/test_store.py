"""The store gives only what is whole, and keeps only what was finished."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import onnxpack.cache.store
from onnxpack.cache.store import Store, find_default_root
from onnxpack.core.digests import digest, digest_tree
from onnxpack.core.errors import EngineError

KEY = digest("a key")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def make(store: Store, text: str = "weights") -> Path:
    with store.making("export", KEY) as folder:
        (folder / "sub").mkdir()
        (folder / "model.onnx").write_text(text)
        (folder / "sub/facts.json").write_text("{}")
    return store.path("export", KEY)


def left_beside(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "export").iterdir())


def test_what_was_made_is_taken(store: Store) -> None:
    assert store.get("export", KEY) is None
    entry = make(store)
    assert store.get("export", KEY) == entry
    assert digest_tree(entry).keys() == {"model.onnx", "sub/facts.json"}
    assert store.get("verify", KEY) is None
    assert store.get("export", digest("another key")) is None


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped bit": lambda data: (data / "model.onnx").write_bytes(b"weighus"),
    "truncated": lambda data: (data / "model.onnx").write_bytes(b"weight"),
    "missing file": lambda data: (data / "sub/facts.json").unlink(),
    "extra file": lambda data: (data / "sub/more").touch(),
    "extra folder": lambda data: (data / "more").mkdir(),
    "extra link": lambda data: (data / "link").symlink_to("model.onnx"),
    "extra link to a folder": lambda data: (data / "link").symlink_to("/"),
    "renamed": lambda data: (data / "model.onnx").rename(data / "model2.onnx"),
    "no manifest": lambda data: (data.parent / "manifest.json").unlink(),
    "broken manifest": lambda data: (data.parent / "manifest.json").write_text("{"),
    "binary manifest": lambda data: (data.parent / "manifest.json").write_bytes(b"\xff"),
    "other manifest": lambda data: (data.parent / "manifest.json").write_text(json.dumps([1])),
    "deep manifest": lambda data: (data.parent / "manifest.json").write_text("[" * 100_000),
    "pipe as manifest": lambda data: replace_by(data.parent / "manifest.json", os.mkfifo),
    "dangling link as manifest": lambda data: replace_by(data.parent / "manifest.json", dangle),
    "folder as manifest": lambda data: replace_by(data.parent / "manifest.json", os.mkdir),
    "extra pipe": lambda data: os.mkfifo(data / "pipe"),
    "pipe as file": lambda data: replace_by(data / "model.onnx", os.mkfifo),
    "file as data": lambda data: replace_by(data, Path.touch),
    "link as data": lambda data: data.rename(data.with_name("real")).parent.joinpath("data").symlink_to("real"),
    "file as entry": lambda data: replace_by(data.parent, Path.touch),
    "pipe as entry": lambda data: replace_by(data.parent, os.mkfifo),
    "dangling link as entry": lambda data: replace_by(data.parent, dangle),
}


def dangle(path: Path) -> None:
    path.symlink_to("nowhere")


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_a_miss_and_is_made_again(store: Store, damage: str) -> None:
    DAMAGE[damage](make(store))
    assert store.get("export", KEY) is None
    assert left_beside(store) == []
    entry = make(store)
    assert store.get("export", KEY) == entry
    assert (entry / "model.onnx").read_text() == "weights"


@pytest.mark.parametrize("make_other", [Path.touch, os.mkfifo, dangle])
def test_making_where_something_else_stands_replaces_it(store: Store, make_other: Callable[[Path], object]) -> None:
    (store.root / "export").mkdir(parents=True)
    make_other(store.root / "export" / KEY)
    entry = make(store)
    assert store.get("export", KEY) == entry


def test_making_of_a_pipe_is_refused(store: Store) -> None:
    with pytest.raises(OSError, match="not a regular file"), store.making("export", KEY) as folder:
        os.mkfifo(folder / "pipe")
    assert left_beside(store) == []


def test_writing_where_a_folder_stands_replaces_it(store: Store) -> None:
    place = store.root / "traces/one"
    place.mkdir(parents=True)
    store.write(place, b"data")
    assert place.read_bytes() == b"data"


def test_sweep_removes_locks_and_folders_that_nobody_holds_and_leaves_all_else(store: Store) -> None:
    store.sweep()  # of a store that is not there yet
    (store.root / ".onnxpack-abandone").mkdir(parents=True)
    locks = store.root / "locks"
    (locks / "folder").mkdir(parents=True)
    (locks / "export-left").touch()
    with store.alone("export", "held"), store.scratch() as work:
        store.sweep()
        assert sorted(path.name for path in locks.iterdir()) == ["export-held", "folder"]
        assert sorted(path.name for path in store.root.iterdir()) == [work.name, "locks"]


def test_partial_download_of_last_week_is_swept_unless_it_is_locked(store: Store) -> None:
    for key in ("new", "old", "held"):
        store.partial(key).touch()
    for key in ("old", "held"):
        os.utime(store.partial(key), (1, 1))
    with store.alone("download", "held"):
        store.sweep()
        assert sorted(path.name for path in store.partial("x").parent.iterdir()) == ["held", "new"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_nothing(store: Store, stop: type[BaseException]) -> None:
    def fail() -> None:
        with store.making("export", KEY) as folder:
            (folder / "half").touch()
            raise stop

    with pytest.raises(stop):
        fail()
    assert store.get("export", KEY) is None
    assert left_beside(store) == []


def test_a_fresh_store_takes_nothing_and_replaces(store: Store) -> None:
    make(store, "old")
    fresh = Store(store.root, fresh=True)
    assert fresh.get("export", KEY) is None
    entry = make(fresh, "new")
    assert (entry / "model.onnx").read_text() == "new"
    assert store.get("export", KEY) == entry
    assert left_beside(store) == [KEY]


def _race(root: Path, barrier: "multiprocessing.synchronize.Barrier") -> None:
    store = Store(root)
    for step in range(20):
        key = digest(step)
        with store.making("export", key) as folder:
            (folder / "file").write_text(str(step))
            barrier.wait(60)  # or else, where one fails, the others would wait for ever
        entry = store.get("export", key)
        assert entry
        assert (entry / "file").read_text() == str(step)


def test_processes_that_make_the_same_entry_all_succeed(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_race, args=(store.root, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(left_beside(store)) == 20


def test_a_process_that_was_second_takes_the_firsts_entry(store: Store) -> None:
    with store.making("export", KEY) as mine:
        make(store, "theirs")
        (mine / "model.onnx").write_text("mine")
    assert (store.path("export", KEY) / "model.onnx").read_text() == "theirs"
    assert left_beside(store) == [KEY]


def test_getting_an_entry_that_appears_meanwhile_takes_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was missing at the first look is looked at again before it is discarded."""
    judge = Store._take
    looks: list[Path] = []

    def appear(self: Store, entry: Path) -> bool:
        known = judge(self, entry)
        looks.append(entry)
        if len(looks) == 1:
            make(store)
        return known

    monkeypatch.setattr(Store, "_take", appear)
    assert store.get("export", KEY) == store.path("export", KEY)


def test_making_an_entry_that_another_makes_meanwhile_leaves_the_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = onnxpack.cache.store.read_contents
    found: list[int] = []

    def make_another() -> None:
        found.append(make(store).stat().st_ino)

    other = threading.Thread(target=make_another)

    def interrupt(entry: Path) -> dict[str, str] | None:
        known = judge(entry)
        if threading.current_thread() is not other and not other.ident:
            other.start()
            other.join(1)  # it waits for the lock, and ends only after this process put its entry there
        return known

    monkeypatch.setattr(onnxpack.cache.store, "read_contents", interrupt)
    entry = make(store)
    other.join()
    assert found == [entry.stat().st_ino]


def test_a_scratch_folder_goes(store: Store) -> None:
    with store.scratch() as folder:
        (folder / "file").touch()
    assert list(store.root.iterdir()) == []


FILL = """
import sys, time
from pathlib import Path
from onnxpack.cache.store import Store
store = Store(Path(sys.argv[1]))
with store.scratch() as scratch, store.making("export", "key") as folder:
    (scratch / "file").touch()
    (folder / "file").touch()
    print("filled", flush=True)
    time.sleep(300)
"""


def test_scratch_of_a_killed_build_is_swept_by_the_next_and_that_in_use_stays(store: Store) -> None:
    command = [sys.executable, "-c", FILL, str(store.root)]
    killed, alive = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        for process in (killed, alive):
            assert process.stdout
            assert process.stdout.readline() == "filled\n"
        assert len(list(store.root.rglob("file"))) == 4
        killed.kill()
        killed.communicate()
        with store.scratch():
            assert len(list(store.root.rglob("file"))) == 2
    finally:
        alive.kill()
        alive.communicate()
    make(store)
    assert list(store.root.rglob("file")) == []
    assert [path.name for path in store.root.iterdir() if path.name != "locks"] == ["export"]


def test_the_place_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ONNXPACK_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert find_default_root() == tmp_path / ".cache/onnxpack"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert find_default_root() == Path("/xdg/onnxpack")
    monkeypatch.setenv("ONNXPACK_CACHE", "/own")
    assert find_default_root() == Path("/own")


@pytest.mark.parametrize("name", ["ONNXPACK_CACHE", "XDG_CACHE_HOME"])
def test_place_of_the_cache_relative_is_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Uv runs in a folder of its own, and would have filled another one than the store's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONNXPACK_CACHE", raising=False)
    monkeypatch.setenv(name, "cache")
    assert find_default_root() in (tmp_path / "cache", tmp_path / "cache/onnxpack")
    assert Store(Path("cache")).root == tmp_path / "cache"


def test_making_of_no_files_is_refused(store: Store) -> None:
    with pytest.raises(EngineError, match="stage 'bundle' made no files"), store.making("bundle", KEY) as folder:
        (folder / "empty").mkdir()
    assert store.get("bundle", KEY) is None


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert len({digest(), digest(None), digest([]), digest("1"), digest(1), digest(1, 2), digest(12)}) == 7
