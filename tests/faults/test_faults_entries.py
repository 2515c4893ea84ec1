"""Whatever happens to a file or folder of the store: it is noticed, made again, and the bytes are the same.

The files are those that a real build left, so a new kind of entry is attacked by itself.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from disk_tasks import Fill
from disk_tools import Project, make_project, shipped
from exporting import Here
from told import Told
from uv import find_uv_bin
from wheels import make_wheel

import onnxpack.cache.remembered
from onnxpack.cache.remembered import digest_large_file
from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError
from onnxpack.download.local import Bounds
from onnxpack.download.resolve import RemoteFile, get_file
from onnxpack.image.docker import DockerEngine
from onnxpack.oci.manifests import EPOCH
from onnxpack.pipeline.attempt import Wanted, build
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.run import Build
from onnxpack.pipeline.runner import Runner
from onnxpack.spec.load import load
from onnxpack.spec.model import Model, Spec
from onnxpack.worker.environments import provide_environment

pytestmark = pytest.mark.case("B8")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_first(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 0x80
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        remove(path)
        make(path)

    return damage


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 300 * 2**20)


def link_elsewhere(path: Path) -> None:
    """Lead to a copy of the same content."""
    moved = path.rename(path.with_name("moved"))
    path.symlink_to(moved)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped bit": flip,
    "flipped first bit": flip_first,
    "truncated": truncate,
    "missing": remove,
    "empty": lambda path: os.truncate(path, 0),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "folder": instead(Path.mkdir),
    "pipe": instead(os.mkfifo),
    "dangling link": instead(lambda path: path.symlink_to("nowhere")),
    "link to the same content": link_elsewhere,
    "link to a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "deeply nested JSON": instead(lambda path: path.write_text("[" * 100_000)),
    "deeply nested message": instead(lambda path: path.write_bytes(b"\x91" * 100_000)),
    "300 MB of nothing": instead(make_sparse),
}
OF_FOLDERS = ("missing", "pipe", "dangling link")


@dataclass(frozen=True)
class Known:
    """A project with a store that has built it, and what that shipped."""

    project: Project
    shipped: dict[str, str]

    def paths(self) -> list[str]:
        """Return all files and folders of the store, those of a kind one after another."""
        root = self.project.store
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    project = make_project(tmp_path_factory.mktemp("entries"))
    ended = project.build(project.around / "dist")
    assert ended.code == 0, ended.err
    return Known(project, shipped(project.around / "dist"))


@pytest.fixture
def here(known: Known, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], dict[str, str]]:
    """Build in this process."""
    monkeypatch.setenv("UV_CONFIG_FILE", str(known.project.around / "uv.toml"))
    monkeypatch.setenv("UV_CACHE_DIR", str(known.project.around / "uv"))
    monkeypatch.setattr("onnxpack.pipeline.runner.call", Here())

    def run(store: Path, output: Path) -> dict[str, str]:
        plan = Plan(load(known.project.folder / "spec.yaml"), "cpu", output / "small/cpu")
        attempt = build(Build(plan, Store(store), DockerEngine(), Told()), Wanted("bundle"))
        assert attempt.passed, attempt.error
        return shipped(output)

    return run


def is_whole(store: Path, name: str) -> bool:
    stage, key, *_ = name.split("/")
    return Store(store).get(stage, key) is not None


def copy(known: Known, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(known.project.store, place, symlinks=True))


def test_every_damage_to_every_file_of_an_entry_is_noticed(
    known: Known, tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    attacks = 0
    files = [name for name in known.paths() if (known.project.store / name).is_file() and name.count("/") >= 2]
    entries = [name for name in files if not name.startswith("traces/")]
    assert {"export", "verify", "bundle"} <= {name.split("/")[0] for name in entries}
    assert all(is_whole(known.project.store, name) for name in entries)
    of_kinds = set(kinds(known))  # what takes long is done to one file of each kind
    for name in entries:
        for kind in DAMAGE:
            if kind == "300 MB of nothing" and (name, kind) not in of_kinds:
                continue
            stage, key, *_ = name.split("/")
            store = tmp_path / "store"
            shutil.rmtree(store, ignore_errors=True)
            shutil.copytree(known.project.store / stage / key, store / stage / key)
            DAMAGE[kind](store / name)
            assert not is_whole(store, name), f"{name}: {kind}"
            assert not (store / stage / key).exists()
            attacks += 1
    assert attacks > 300
    count_attacks(attacks)


def kinds(known: Known) -> Iterator[tuple[str, str]]:
    """Yield a file or folder of each kind, with each damage to it."""
    seen = set()
    for name in known.paths():
        path = known.project.store / name
        parts = name.split("/")
        inner = parts[1:2] if parts[0] == "traces" else parts[2:4]
        kind = (parts[0], *inner, path.is_dir(), path.suffix)
        if kind not in seen:
            seen.add(kind)
            for damage in DAMAGE if path.is_file() else OF_FOLDERS:
                yield name, damage


def test_build_behind_any_damage_gives_the_same_bytes(
    known: Known,
    here: Callable[[Path, Path], dict[str, str]],
    tmp_path: Path,
    factor: int,
    count_attacks: Callable[[int], None],
) -> None:
    chance = random.Random(8)
    possible = list(kinds(known))
    chosen = chance.sample(possible, min(20 * factor, len(possible)))
    for name, kind in chosen:
        store = copy(known, tmp_path / "store")
        DAMAGE[kind](store / name)
        assert here(store, tmp_path / "dist") == known.shipped, f"{name}: {kind}"
        assert here(store, tmp_path / "dist") == known.shipped, f"{name}: {kind}, again"
    count_attacks(len(chosen))


COMMANDED = [
    ("export/*/manifest.json", "deeply nested JSON"),
    ("export/*/data/result", "pipe"),
    ("bundle/*/data/files/numpy.py", "flipped bit"),
    ("traces/verify/*", "300 MB of nothing"),
]


@pytest.mark.parametrize(("pattern", "kind"), COMMANDED)
def test_command_behind_a_damage_builds_the_same_without_a_word_of_it(
    known: Known, tmp_path: Path, pattern: str, kind: str, count_attacks: Callable[[int], None]
) -> None:
    store = copy(known, tmp_path / "store")
    (path,) = store.glob(pattern)
    DAMAGE[kind](path)
    ended = known.project.build(tmp_path / "dist", ONNXPACK_CACHE=store)
    assert ended.code == 0, ended.err
    assert "error" not in ended.err
    assert shipped(tmp_path / "dist") == known.shipped
    stage = path.relative_to(store).parts[0].replace("traces", "verify")
    assert re.search(rf"{stage}[^\n]* …", ended.err), "it was made again"
    count_attacks(1)


@pytest.mark.parametrize("kind", ["flipped bit", "flipped first bit", "truncated", "missing", "pipe", "folder"])
@pytest.mark.parametrize("name", ["runtime/opt/onnxpack/lib/numpy.py", "model/opt/onnxpack/app/model.onnx"])
def test_damage_to_the_last_output_gets_into_no_new_one(
    known: Known,
    here: Callable[[Path, Path], dict[str, str]],
    tmp_path: Path,
    kind: str,
    name: str,
    count_attacks: Callable[[int], None],
) -> None:
    store = copy(known, tmp_path / "store")
    here(store, tmp_path / "dist")
    place = tmp_path / "dist/small/cpu/context/rootfs" / name
    DAMAGE[kind](place)
    if place.exists():
        os.utime(place, (EPOCH, EPOCH))  # as a disk flips bits
    assert here(store, tmp_path / "dist") == known.shipped
    count_attacks(1)


# ------------------------------------------------------------------------------------------ entries at another place

SIZES = (3_000, 5_000)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], int]:
    """Run the task that writes so many bytes; return how many its result has."""
    monkeypatch.setattr("onnxpack.pipeline.runner.call", Here())
    return lambda size: Runner(Store(tmp_path / "store"), Told(), tmp_path).run(Fill(size)).path.stat().st_size


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_name("third"))
    other.rename(one)
    one.with_name("third").rename(other)


def copy_over(one: Path, other: Path) -> None:
    remove(other)
    shutil.copytree(one, other) if one.is_dir() else shutil.copyfile(one, other)


def move_over(one: Path, other: Path) -> None:
    remove(other)
    one.rename(other)


def link_over(one: Path, other: Path) -> None:
    remove(other)
    other.symlink_to(one)


@pytest.mark.parametrize("what", ["fill", "traces/fill"])
@pytest.mark.parametrize("move", [swap, copy_over, move_over, link_over])
def test_entry_at_the_place_of_another_is_a_miss(
    run: Callable[[int], int],
    tmp_path: Path,
    what: str,
    move: Callable[[Path, Path], None],
    count_attacks: Callable[[int], None],
) -> None:
    for turn in (False, True):
        assert [run(size) for size in SIZES] == list(SIZES)
        one, other = sorted((tmp_path / "store" / what).iterdir(), reverse=turn)
        move(one, other)
        assert [run(size) for size in SIZES] == list(SIZES)
    count_attacks(2)


def test_entry_at_the_place_of_another_stage_is_a_miss(
    run: Callable[[int], int], tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    run(SIZES[0])
    (entry,) = (tmp_path / "store/fill").iterdir()
    shutil.copytree(entry, tmp_path / "store/other" / entry.name)
    store = Store(tmp_path / "store")
    assert store.get("other", entry.name) is None
    assert store.get("fill", entry.name) is not None
    count_attacks(1)


# ------------------------------------------------------------------------------- what is no entry: digests, downloads


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose digest is remembered."""
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.setattr(onnxpack.cache.remembered, "_LARGE", 1)
    monkeypatch.setattr(onnxpack.cache.remembered, "_SETTLED_NS", -(10**18))
    path = tmp_path / "weights"
    path.write_bytes(b"weights")
    digest_large_file(path)
    return path


def test_remembered_digest_with_any_flipped_bit_is_not_believed(
    weights: Path, tmp_path: Path, factor: int, count_attacks: Callable[[int], None]
) -> None:
    expected = hashlib.sha256(b"weights").hexdigest()
    (place,) = (tmp_path / "store/digests").iterdir()
    line = place.read_bytes()
    bits = range(8 * len(line))
    chosen = random.Random(3).sample(bits, min(300 * factor, len(bits)))
    for bit in chosen:
        data = bytearray(line)
        data[bit // 8] ^= 1 << bit % 8
        place.write_bytes(data)
        assert digest_large_file(weights) == expected, bit
        assert place.read_bytes() == line, "it was written anew"
    count_attacks(len(chosen))


@pytest.mark.parametrize("kind", DAMAGE)
def test_remembered_digest_behind_any_damage_is_not_believed(
    weights: Path, tmp_path: Path, kind: str, count_attacks: Callable[[int], None]
) -> None:
    (place,) = (tmp_path / "store/digests").iterdir()
    DAMAGE[kind](place)
    assert digest_large_file(weights) == hashlib.sha256(b"weights").hexdigest()
    count_attacks(1)


def test_remembered_digest_of_another_file_is_not_believed(
    weights: Path, tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"another")
    (mine,) = (tmp_path / "store/digests").iterdir()
    digest_large_file(other)
    (theirs,) = set((tmp_path / "store/digests").iterdir()) - {mine}
    shutil.copyfile(theirs, mine)
    assert digest_large_file(weights) == hashlib.sha256(b"weights").hexdigest()
    count_attacks(1)


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("size", [40_000, 100_000], ids=["half", "whole"])
def test_download_behind_any_damage_to_its_part_is_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, kind: str, count_attacks: Callable[[int], None]
) -> None:
    monkeypatch.setattr("onnxpack.download.resolve.call", Here())
    content = random.Random(1).randbytes(100_000)
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "untouched").write_bytes(b"mine")
    store = Store(tmp_path / "store")
    monkeypatch.setattr(Store, "partial", damaging(Store.partial, content[:size], DAMAGE[kind]))
    sha256 = hashlib.sha256(content).hexdigest()
    url = f"file://{tmp_path}/model.onnx"
    made = get_file(RemoteFile(url, sha256, Bounds((str(tmp_path),), 10**9)), store, Told())
    assert made.read_bytes() == content
    assert not made.is_symlink()
    count_attacks(1)


def damaging(
    partial: Callable[[Store, str], Path], content: bytes, damage: Callable[[Path], object]
) -> Callable[[Store, str], Path]:
    """Let a part stand where one is asked for, and be damaged."""

    def prepared(store: Store, key: str) -> Path:
        place = partial(store, key)
        place.write_bytes(content)
        damage(place)
        return partial(store, key)

    return prepared


def test_part_that_leads_elsewhere_is_not_written_through(tmp_path: Path, count_attacks: Callable[[int], None]) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "mine").write_text("mine")
    store.partial("key").symlink_to(tmp_path / "mine")
    assert not os.path.lexists(store.partial("key"))
    assert (tmp_path / "mine").read_text() == "mine"
    count_attacks(1)


def test_sweep_of_parts_does_not_follow_a_link_out_of_the_store(
    tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/old").touch()
    os.utime(tmp_path / "mine/old", (1, 1))
    store = Store(tmp_path / "store")
    store.root.mkdir()
    (store.root / "partial").symlink_to(tmp_path / "mine")
    with store.scratch():
        assert (tmp_path / "mine/old").exists()
    count_attacks(1)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_stands_in_the_place_of_a_lock_is_named(
    tmp_path: Path, make: Callable[[Path], object], count_attacks: Callable[[int], None]
) -> None:
    store = Store(tmp_path / "store")
    (store.root / "locks").mkdir(parents=True)
    make(store.root / "locks/fill-key")
    with pytest.raises(EngineError, match="a lock file belongs at"), store.alone("fill", "key"):
        pass
    count_attacks(1)


@pytest.mark.parametrize("kind", ["flipped bit", "one byte more", "missing"])
def test_file_that_changed_in_the_cache_of_uv_gets_into_no_environment(
    tmp_path: Path,
    wheels: Path,
    kind: str,
    count_attacks: Callable[[int], None],
) -> None:
    make_wheel(wheels, "scikit-learn", "2.0", code="VALUE = 1\n")
    model = Spec(1, "m", Model("sklearn", path="m.joblib", requirements=("scikit-learn==2.0",)), {})
    assert provide_environment(model, Store(tmp_path / "first"), Told()) is not None
    (unpacked,) = (tmp_path / "uv").rglob("scikit_learn.py")
    DAMAGE[kind](unpacked)
    store = Store(tmp_path / "second")
    with pytest.raises(EngineError, match=r"scikit.learn"):
        provide_environment(model, store, Told())
    assert not list(store.root.glob("environment/*"))
    subprocess.run([find_uv_bin(), "cache", "clean", "scikit-learn"], check=True, capture_output=True)
    python = provide_environment(model, store, Told())
    assert python is not None
    (installed,) = python.parents[1].rglob("scikit_learn.py")
    assert installed.read_text() == "VALUE = 1\n"
    count_attacks(1)


@pytest.mark.case("B12")
@pytest.mark.parametrize("kind", ["flipped bit", "truncated"])
def test_wheel_that_is_not_the_locked_one_is_refused_and_nothing_is_kept(
    known: Known, tmp_path: Path, kind: str, count_attacks: Callable[[int], None]
) -> None:
    project = make_project(tmp_path / "own")
    (wheel,) = (project.around / "wheels").glob("numpy-*")
    DAMAGE[kind](wheel)
    store = copy(known, project.store)  # of which the export is the same
    shutil.rmtree(store / "bundle")
    ended = project.build(tmp_path / "dist")
    assert ended.code == 5, ended.err
    assert "error: cannot install the image's Python packages" in ended.err
    assert "Traceback" not in ended.err
    assert not list(project.store.glob("bundle/*"))
    assert shipped(tmp_path / "dist") == {}
    count_attacks(1)
