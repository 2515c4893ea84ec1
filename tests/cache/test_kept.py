"""All that a store has is counted, goes whole or not at all, and stays while a build uses it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxpack.cache import kept
from onnxpack.cache.kept import KeptEntries
from onnxpack.cache.room import Limits, make_room
from onnxpack.cache.store import Store
from onnxpack.core.digests import digest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def fill(store: Store, name: str, used: float, size: int = 100) -> Path:
    """Make an entry with a file of so many bytes, which was used at that time."""
    with store.making("export", digest(name)) as folder:
        (folder / "file").write_bytes(bytes(size))
    entry = store.path("export", digest(name)).parent
    os.utime(entry / "manifest.json", (used, used))
    return entry


def other(store: Store) -> KeptEntries:
    """The store as another process has it."""
    return KeptEntries(Store(store.root))


def test_all_kinds_are_listed_and_go(store: Store) -> None:
    fill(Store(store.root), "a", 5.0)
    for name in (
        "traces/export/t",
        "digests/1-2",
        "partial/p",
        f"last/{'0' * 64}/report.json",
        "receipts/one",
        "loose",
    ):
        path = store.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ten bytes.")
    (store.root / ".onnxpack-abcdefgh").mkdir()
    (store.root / "images").mkdir()
    (store.root / "images/blob").touch()
    with store.alone("export", "held"):
        keeper = KeptEntries(Store(store.root), frozenset({"images"}))
        items = {item.name: item for item in keeper.list_items()}
        assert {item.kind for item in items.values()} == {
            "export", "traces", "digests", "partial", "last", "receipts", "loose",
        }  # fmt: skip
        entry = items[f"export/{digest('a')}"]
        assert entry.used == 5.0
        assert entry.size > 100  # its manifest counts
        assert items[f"last/{'0' * 64}"].size == 10
        assert len(make_room([keeper], Limits(0))) == len(items)
        assert sorted(path.name for path in store.root.rglob("*") if path.is_file()) == [
            "blob", "export-held", "sizes.json",
        ]  # fmt: skip


def test_an_entry_that_is_used_stays_until_its_user_ends(store: Store) -> None:
    entry = fill(Store(store.root), "a", 1.0)
    user = Store(store.root)
    assert user.get("export", entry.name)
    assert make_room([other(store)], Limits(0)) == []
    del user
    assert [item.name for item in make_room([other(store)], Limits(0))] == [f"export/{entry.name}"]
    assert not entry.exists()


def test_an_entry_that_was_just_made_stays(store: Store) -> None:
    entry = fill(store, "a", 1.0)
    assert make_room([other(store)], Limits(0)) == []
    assert entry.is_dir()


def test_taking_an_entry_makes_it_the_newest(store: Store) -> None:
    first, second = fill(Store(store.root), "a", 1.0), fill(Store(store.root), "b", 2.0)
    assert Store(store.root).get("export", first.name)
    make_room([other(store)], Limits(300))
    assert first.exists()
    assert not second.exists()


def test_what_was_used_since_it_was_listed_stays(store: Store) -> None:
    entry = fill(Store(store.root), "a", 1.0)
    keeper = other(store)
    items = keeper.list_items()
    assert Store(store.root).get("export", entry.name)
    assert keeper.remove(items) == []


def test_a_download_that_goes_on_stays(store: Store) -> None:
    store.partial("key").write_text("half")
    with store.alone("download", "key"):
        assert make_room([other(store)], Limits(0)) == []
    assert len(make_room([other(store)], Limits(0))) == 1


def test_sizes_of_folders_are_counted_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = fill(Store(store.root), "a", 1.0)
    counted: list[Path] = []

    def count(folder: Path) -> int:
        counted.append(folder)
        return 7

    monkeypatch.setattr(kept, "measure_folder", count)
    assert [[item.size for item in other(store).list_items()] for _ in range(2)] == [[7], [7]]
    assert counted == [entry]
    shutil.copytree(entry, store.root / "copy")
    shutil.rmtree(entry)
    (store.root / "copy").rename(entry)  # another folder of this name
    other(store).list_items()
    assert counted == [entry, entry]


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"a": 1}', '{"a": [1]}', "[" * 100_000])
def test_damaged_sizes_are_counted_again(store: Store, text: str) -> None:
    fill(Store(store.root), "a", 1.0)
    (store.root / "sizes.json").write_text(text)
    (item,) = other(store).list_items()
    assert item.size > 100


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": lambda entry: (entry / "data/file").write_bytes(b"\1" + bytes(99)),
    "missing": lambda entry: (entry / "data/file").unlink(),
    "no manifest": lambda entry: (entry / "manifest.json").unlink(),
}


@pytest.mark.case("B8")
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_entries_are_found_and_go(store: Store, damage: str) -> None:
    whole, broken = fill(Store(store.root), "a", 1.0), fill(Store(store.root), "b", 2.0)
    DAMAGE[damage](broken)
    found = {item.name: passed for item, passed in other(store).remove_damaged()}
    assert found == {f"export/{whole.name}": True, f"export/{broken.name}": False}
    assert whole.exists()
    assert not broken.exists()


_BUILD = """
import sys
from pathlib import Path
from onnxpack.cache.store import Store
from onnxpack.core.digests import digest
for turn in range(60):
    store = Store(Path(sys.argv[1]))
    key = digest(turn % 7)
    entry = store.get("export", key)
    if entry is None:
        with store.making("export", key) as folder:
            (folder / "file").write_text(key)
        entry = store.path("export", key)
    for _ in range(20):
        assert (entry / "file").read_text() == key
"""
_PRUNE = """
import sys
from pathlib import Path
from onnxpack.cache.kept import KeptEntries
from onnxpack.cache.room import Limits, make_room
from onnxpack.cache.store import Store
while True:
    make_room([KeptEntries(Store(Path(sys.argv[1])))], Limits(0))
    print("pruned", flush=True)
"""


@pytest.mark.case("B7")
def test_builds_beside_one_that_makes_room_all_the_time(store: Store) -> None:
    def start(code: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE, text=True)

    with start(_PRUNE) as pruner:
        assert pruner.stdout
        assert pruner.stdout.readline()
        builders = [start(_BUILD) for _ in range(4)]
        codes = [builder.wait() for builder in builders]
        pruner.send_signal(signal.SIGKILL)  # also in the middle
        for builder in builders:
            assert builder.stdout
            builder.stdout.close()
    assert codes == [0] * 4
    store.sweep()
    assert all(whole for _, whole in other(store).remove_damaged())
    assert not [path for path in store.root.iterdir() if path.name.startswith(".onnxpack-")]
