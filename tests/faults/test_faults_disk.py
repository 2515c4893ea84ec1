"""Full and read-only disks, real ones: exit 5 and the place that has no room, nothing partial, and a sound store."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import pytest
from command_line import Ended
from disk_tasks import Fill, MeetFullDisk
from disk_tools import TESTS, Project, SmallDisk, make_project, shipped, small_disk
from exporting import Here
from told import Told

from onnxpack.bundle import lock
from onnxpack.cache.store import Store
from onnxpack.core.digests import digest_tree
from onnxpack.core.output import replacing
from onnxpack.pipeline.runner import Runner
from onnxpack.timing.bench import Bench
from onnxpack.timing.picture import write_picture
from onnxpack.worker.call import Setting, call

pytestmark = pytest.mark.case("B2")
FULL = os.strerror(errno.ENOSPC)
READ_ONLY = os.strerror(errno.EROFS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose own store has built it."""
    made = make_project(tmp_path_factory.mktemp("disk"))
    ended = made.build(made.around / "dist")
    assert ended.code == 0, ended.err
    return made


def refused(ended: Ended, words: str, place: Path) -> None:
    """The words stand in one message, with the place, and no traceback."""
    assert ended.code == 5, ended.err
    (message,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert words in message
    assert f"'{place}" in message
    assert "Traceback" not in ended.err
    assert ".onnxpack-" not in message, "a folder that is gone when it is read"


def require_full(error: OSError) -> None:
    assert error.errno == errno.ENOSPC


def fill(disk: SmallDisk) -> None:
    """Leave no room on a disk."""
    with pytest.raises(OSError, match=FULL):
        (disk.seen / "filler").write_bytes(bytes(10**6))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sizes(count: int, low: int, high: int) -> Iterator[int]:
    """Sizes of disks, the same each time."""
    chance = random.Random(low)
    return (chance.randrange(low, high) for _ in range(count))


# ------------------------------------------------------------------------------------------------- whole builds


@pytest.mark.parametrize("options", ["size=8k", "size=330k", "nr_inodes=60"])
def test_build_in_a_cache_without_room_fails_whole_and_goes_on_when_there_is_some(
    project: Project, tmp_path: Path, options: str, count_attacks: Callable[[int], None]
) -> None:
    expected = shipped(project.around / "dist")
    with small_disk(tmp_path / "small", options) as disk:
        cache = disk.place / "cache"
        ended = project.build(tmp_path / "dist", prefix=disk.prefix, ONNXPACK_CACHE=cache)
        refused(ended, FULL, disk.place)
        assert shipped(tmp_path / "dist") == {}
        assert json.loads((tmp_path / "dist/small/cpu/report.json").read_text())["status"] == "failed"
        assert disk.left_over() == []
        assert all(Store(disk.seen / "cache").get(*name) for name in entries(disk.seen / "cache"))
        disk.mount_again("size=50m,nr_inodes=9999")
        ended = project.build(tmp_path / "dist", prefix=disk.prefix, ONNXPACK_CACHE=cache)
        assert ended.code == 0, ended.err
        assert shipped(tmp_path / "dist") == expected
    count_attacks(1)


def entries(root: Path) -> list[tuple[str, str]]:
    """Return stage and key of all entries of a store."""
    return [(path.parent.parent.name, path.parent.name) for path in root.glob("*/*/manifest.json")]


def test_build_into_an_output_without_room_leaves_what_stood_there(
    project: Project, tmp_path: Path, factor: int, count_attacks: Callable[[int], None]
) -> None:
    expected = shipped(project.around / "dist")
    attacks = 3 * factor
    for size in (8_000, *sizes(attacks - 2, 20_000, 130_000), 140_000):
        with small_disk(tmp_path / str(size), f"size={size}") as disk:
            output = disk.place / "dist"
            refused(project.build(output, prefix=disk.prefix), FULL, disk.place)
            assert shipped(disk.seen / "dist") == {}
            assert disk.left_over() == []
    with small_disk(tmp_path / "one", "size=240k") as disk:  # room for one
        assert project.build(disk.place / "dist", prefix=disk.prefix).code == 0
        assert shipped(disk.seen / "dist") == expected
    count_attacks(attacks)


def test_build_into_an_output_with_room_for_one_keeps_the_last_until_the_next_is_whole(
    project: Project, tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    with small_disk(tmp_path / "small", "size=240k") as disk:
        output = disk.place / "dist"
        assert project.build(output, prefix=disk.prefix).code == 0
        before = digest_tree(disk.seen / "dist")
        # Another version: nothing of the last context can be linked.
        refused(project.build(output, "--set", "version=two", prefix=disk.prefix), FULL, disk.place)
        report = json.loads((disk.seen / "dist/small/cpu/report.json").read_text())
        assert report["status"] == "failed" or digest_tree(disk.seen / "dist") == before
        assert disk.left_over() == []
    count_attacks(1)


COMMANDS = {
    "init": ("init", "model.onnx", "--output", "drafted.yaml", "--force"),
    "inspect": ("inspect", "model.onnx"),
    "verify": ("verify", "spec.yaml"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_without_room_for_temporary_files_names_their_folder(
    project: Project, tmp_path: Path, command: str, count_attacks: Callable[[int], None]
) -> None:
    variables = {"ONNXPACK_CACHE": tmp_path / "cache"}
    with small_disk(tmp_path / "small", "size=8k") as disk:
        # One page for Python, which looks for a folder that it can write into.
        variables |= {"ONNXPACK_CACHE": disk.place} if command == "verify" else {"TMPDIR": disk.place}
        refused(project.run(*COMMANDS[command], prefix=disk.prefix, **variables), FULL, disk.place)
        assert disk.left_over() == []
    assert not (project.folder / "drafted.yaml").exists()
    count_attacks(1)


@pytest.mark.parametrize("options", ["size=8k", "size=16k", "ro"])
def test_lock_without_room_for_what_uv_unpacks_names_its_cache(
    project: Project, tmp_path: Path, options: str, count_attacks: Callable[[int], None]
) -> None:
    before = (project.folder / "spec.lock").read_bytes()
    with small_disk(tmp_path / "small", options) as disk:
        ended = project.run("lock", "spec.yaml", prefix=disk.prefix, UV_CACHE_DIR=disk.place)
        refused(ended, READ_ONLY if options == "ro" else FULL, disk.place)
    assert (project.folder / "spec.lock").read_bytes() == before
    count_attacks(1)


@pytest.mark.parametrize("options", ["size=200k", "ro"])
def test_spec_and_lock_in_a_project_without_room_are_written_whole_or_not_at_all(
    project: Project, tmp_path: Path, options: str, count_attacks: Callable[[int], None]
) -> None:
    words = READ_ONLY if options == "ro" else FULL
    with small_disk(tmp_path / "small", "size=200k") as disk:
        there = Project(disk.place / "project", project.around)
        shutil.copytree(project.folder, disk.seen / "project", ignore=shutil.ignore_patterns("*.lock"))
        shutil.copy(project.folder / "spec.lock", disk.seen / "project")
        (disk.seen / "project/spec.lock").write_text("old")
        if options == "ro":
            disk.mount_again("ro")
        else:
            fill(disk)
        before = digest_tree(disk.seen / "project")
        refused(
            there.run("init", "model.onnx", "--output", "draft.yaml", prefix=disk.prefix), words, Path("draft.yaml")
        )
        refused(there.run("lock", "spec.yaml", prefix=disk.prefix), words, Path("spec.lock"))
        assert there.run("validate", "spec.yaml", prefix=disk.prefix).code == 0
        assert digest_tree(disk.seen / "project") == before
    count_attacks(2)


# ------------------------------------------------------------------------------------------------- read-only places


@pytest.mark.parametrize("which", ["cache", "output"])
def test_build_into_a_read_only_place_names_it(
    project: Project, tmp_path: Path, which: str, count_attacks: Callable[[int], None]
) -> None:
    with small_disk(tmp_path / "small", "ro") as disk:
        place = disk.place / "new"
        output, cache = (place, project.store) if which == "output" else (tmp_path / "dist", place)
        ended = project.build(output, prefix=disk.prefix, ONNXPACK_CACHE=cache)
        refused(ended, READ_ONLY, disk.place)
        assert "choose a place that can be written" in ended.err
        assert shipped(tmp_path / "dist") == {}
    count_attacks(1)


def test_build_that_a_read_only_cache_holds_needs_no_other(
    project: Project, tmp_path: Path, count_attacks: Callable[[int], None]
) -> None:
    with small_disk(tmp_path / "small", "size=20m") as disk:
        shutil.copytree(project.store, disk.seen / "cache")
        disk.mount_again("ro")
        ended = project.build(tmp_path / "dist", prefix=disk.prefix, ONNXPACK_CACHE=disk.place / "cache")
        assert ended.code == 0, ended.err
        assert shipped(tmp_path / "dist") == shipped(project.around / "dist")
    count_attacks(1)


@pytest.mark.parametrize("which", ["cache", "output", "project"])
def test_build_into_a_folder_that_may_not_be_written_names_it(
    project: Project, tmp_path: Path, which: str, count_attacks: Callable[[int], None]
) -> None:
    # Without its rights over files root is the owner alone, as every other user is here.
    prefix = ("unshare", "--user") if os.geteuid() == 0 else ()
    if prefix and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("root can be kept from writing in a user namespace alone, and there is none here")
    closed = tmp_path / "closed"
    closed.mkdir()
    there = project
    if which == "project":
        there = Project(Path(shutil.copytree(project.folder, closed / "project")), project.around)
        closed = closed / "project"
        (closed / "spec.lock").write_text("old")
    closed.chmod(0o555)
    try:
        if which == "project":
            ended = there.run("lock", "spec.yaml", prefix=prefix)
            closed = Path("spec.lock")
        else:
            output, cache = (closed, project.store) if which == "output" else (tmp_path / "dist", closed)
            ended = there.build(output, prefix=prefix, ONNXPACK_CACHE=cache)
    finally:
        for path in (tmp_path / "closed", tmp_path / "closed/project"):
            if path.exists():
                path.chmod(0o755)
    refused(ended, os.strerror(errno.EACCES), closed)
    assert "choose a place that can be written" in ended.err
    count_attacks(1)


# --------------------------------------------------------------------------------------------- the store by itself


def test_store_on_disks_of_all_sizes_holds_whole_entries_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: int, count_attacks: Callable[[int], None]
) -> None:
    monkeypatch.setattr("onnxpack.pipeline.runner.call", Here())
    limits = [*range(4_000, 84_000, 4_000), *sizes(20 * (factor - 1), 4_000, 90_000)]
    failed = 0
    with small_disk(tmp_path / "small", "size=90k") as disk:
        for number, size in enumerate(limits):
            disk.mount_again(f"size={size}")
            store = Store(disk.seen / str(number))
            for wanted in (3_000, 9_000, 30_000):
                try:
                    made = Runner(store, Told(), tmp_path).run(Fill(wanted))
                    assert made.path.stat().st_size == wanted
                except OSError as error:
                    require_full(error)
                    failed += 1
            assert all(store.get(*name) for name in entries(store.root))
            assert disk.left_over() == []
            disk.mount_again("size=1m")
            for wanted in (3_000, 9_000, 30_000):
                assert Runner(store, Told(), tmp_path).run(Fill(wanted)).path.stat().st_size == wanted
            shutil.rmtree(store.root)
            del store  # it keeps files open that it used, which take room until then
    assert len(limits) < failed < 3 * len(limits)
    count_attacks(failed)


def test_output_and_lock_on_disks_of_all_sizes_are_old_or_new(
    tmp_path: Path, project: Project, factor: int, count_attacks: Callable[[int], None]
) -> None:
    targets = lock.read(project.folder / "spec.lock")
    packages = [replace(one, name=f"{one.name}-{number}") for one in targets["cpu"].packages for number in range(50)]
    failed = 0
    limits = [*range(8_000, 60_000, 4_000), *sizes(10 * (factor - 1), 8_000, 64_000)]
    with small_disk(tmp_path / "small", "size=90k") as disk:
        for size in limits:
            disk.mount_again("size=1m")
            output, path = disk.seen / "dist/cpu", disk.seen / "spec.lock"
            with replacing(output) as folder:
                (folder / "old").write_bytes(b"x" * 4000)
            path.write_text("old")
            disk.mount_again(f"size={size}")
            try:
                with replacing(output) as folder:
                    (folder / "new").write_bytes(b"x" * 20_000)
                assert names_in(output) == ["new"]
            except OSError as error:
                require_full(error)
                assert names_in(output) == ["old"]
                failed += 1
            long = lock.TargetLock("3.11", "linux/amd64", (), tuple(packages))
            try:
                lock.write(path, {"cpu": long})
                assert path.read_text().endswith("}\n")
            except OSError as error:
                require_full(error)
                assert path.read_text() == "old"
                failed += 1
            assert names_in(disk.seen) == ["dist", "spec.lock"]
            assert disk.left_over() == []
            shutil.rmtree(disk.seen / "dist")
    assert failed >= 10
    count_attacks(failed)


@pytest.mark.parametrize("options", ["size=12k", "ro"])
def test_picture_without_room_leaves_the_old_one_and_nothing_beside(
    tmp_path: Path, options: str, monkeypatch: pytest.MonkeyPatch, count_attacks: Callable[[int], None]
) -> None:
    monkeypatch.setattr("onnxpack.timing.picture.draw_picture", lambda bench: "x" * 5000)
    with small_disk(tmp_path / "small", "size=12k") as disk:
        path = disk.seen / "bench.svg"
        path.write_text("old")
        fill(disk)
        disk.mount_again(options)
        with pytest.raises(OSError, match=READ_ONLY if options == "ro" else FULL) as failed:
            write_picture(cast(Bench, None), path)
        assert failed.value.filename == str(path)
        assert path.read_text() == "old"
        assert names_in(disk.seen) == ["bench.svg", "filler"]
    count_attacks(1)


# ---------------------------------------------------------------------------------------------- a full disk in a child


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    path = [str(Path(__file__).parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize(
    "how",
    ["plainly", "by words of native code", "by another exception", "by an exception that hides it", "by a typed error"],
)
def test_full_disk_in_a_child_is_told_whatever_a_library_makes_of_it(
    tmp_path: Path, how: str, count_attacks: Callable[[int], None]
) -> None:
    with pytest.raises(OSError, match=FULL) as failed:
        call(MeetFullDisk(how), Setting(tmp_path))
    assert failed.value.filename == str(tmp_path)
    if how != "by words of native code":
        with pytest.raises(OSError, match=FULL) as failed:
            call(MeetFullDisk(how, "/elsewhere/file"), Setting(tmp_path))
        assert failed.value.filename == "/elsewhere/file"
    count_attacks(2)


@pytest.mark.usefixtures("importable")
def test_failed_gate_in_a_child_behind_a_full_disk_is_the_disks(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=FULL):
        call(MeetFullDisk("by another gate"), Setting(tmp_path))


# ------------------------------------------------------------------------------------------------ no room for words

WORDS = {
    "result": (("schema",), "stdout", 5),
    "result for programs": (("validate", "spec.yaml", "--json"), "stdout", 5),
    "help": (("--help",), "stdout", 5),
    "progress": (("validate", "spec.yaml"), "stderr", 5),
    "error": (("validate", "missing.yaml"), "stderr", 5),
    "usage": (("unknown",), "stderr", 2),
}


@pytest.mark.parametrize("which", WORDS)
def test_output_that_cannot_be_written_is_an_error_of_the_disk(
    project: Project, which: str, count_attacks: Callable[[int], None]
) -> None:
    arguments, stream, code = WORDS[which]
    with Path("/dev/full").open("w") as full:
        streams: dict[str, int | IO[str]] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: full}
        ended = subprocess.run(
            [sys.executable, "-m", "onnxpack", *arguments], cwd=project.folder, text=True, check=False, timeout=60,
            **streams,
        )  # fmt: skip
    assert ended.returncode == code
    assert "Traceback" not in (ended.stderr or "")
    count_attacks(1)


def test_output_whose_reader_has_gone_is_no_bug(project: Project, count_attacks: Callable[[int], None]) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "onnxpack", "schema"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert ended.returncode == 5
    assert "Traceback" not in ended.stderr
    count_attacks(1)
