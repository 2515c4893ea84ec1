"""The cores and the memory that a process may use, in either version of control groups."""

import os
from pathlib import Path

import pytest

from onnxpack.fleet.machine import count_cores, find_free_memory

_GIB = 2**30


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def make_own(tmp_path: Path, text: str) -> Path:
    own = tmp_path / "own"
    own.write_text(text)
    return own


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1)])
def test_cores_are_those_of_the_tightest_group_of_version_two(tmp_path: Path, quota: str, cores: int) -> None:
    groups = tmp_path / "cgroup"
    write(groups / "pod", cpu__max=quota)
    write(groups / "pod/box", cpu__max="max 100000")
    assert count_cores(make_own(tmp_path, "0::/pod/box\n"), groups) == cores


def test_cores_are_those_of_the_group_of_version_one(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    write(groups / "cpu,cpuacct/box", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    write(groups / "cpu,cpuacct", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    own = make_own(tmp_path, "4:cpu,cpuacct:/box\n2:cpuset:/\n0::/\n")
    assert count_cores(own, groups) == 3


def test_in_a_container_its_own_group_stands_at_the_root(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    write(groups, cpu__max="200000 100000")
    assert count_cores(make_own(tmp_path, "0::/host/path/of/pod\n"), groups) == 2


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    assert count_cores(tmp_path / "none", tmp_path / "nowhere") == 8
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 9 kB\nMemAvailable:    2097152 kB\n")
    assert find_free_memory(tmp_path / "none", tmp_path / "nowhere", memory) == 2 * _GIB
    assert find_free_memory(tmp_path / "none", tmp_path / "nowhere", tmp_path / "none") > 0


@pytest.mark.parametrize(
    ("files", "own"),
    [
        ({"memory__max": str(_GIB), "memory__current": str(_GIB // 2)}, "0::/box\n"),
        ({"memory__limit_in_bytes": str(_GIB), "memory__usage_in_bytes": str(_GIB // 2)}, "3:memory:/box\n"),
    ],
)
def test_free_memory_is_what_the_group_leaves_and_its_cache_is_free(
    tmp_path: Path, files: dict[str, str], own: str
) -> None:
    groups = tmp_path / "cgroup"
    box = groups / ("memory/box" if "memory:" in own else "box")
    stat = f"anon 5\ninactive_file {_GIB // 4}\n"
    write(box, memory__stat=stat, **files)
    memory = tmp_path / "meminfo"
    memory.write_text(f"MemAvailable: {8 * 1024 * 1024} kB\n")
    assert find_free_memory(make_own(tmp_path, own), groups, memory) == _GIB // 2 + _GIB // 4


def test_a_group_without_a_limit_and_garbage_count_for_nothing(tmp_path: Path) -> None:
    groups = tmp_path / "cgroup"
    write(groups / "a", memory__max="max", memory__current="5")
    write(groups / "memory/b", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="5")
    memory = tmp_path / "meminfo"
    memory.write_text("MemAvailable: 1024 kB\n")
    assert find_free_memory(make_own(tmp_path, "0::/a\n3:memory:/b\nnonsense\n"), groups, memory) == 2**20
