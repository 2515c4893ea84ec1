"""``onnxpack cache``: what it shows, removes and checks."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended

from onnxpack.cache.store import Store
from onnxpack.core.digests import digest

Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ONNXPACK_REMOTE_CACHE", "ONNXPACK_REMOTE_CACHE_MODE", "ONNXPACK_CACHE_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "store"


def fill(root: Path, name: str, size: int, days: float) -> str:
    """Make an entry that was used so many days ago; return its name."""
    with Store(root).making("export", digest(name)) as folder:
        (folder / "file").write_bytes(bytes(size))
    used = time.time() - days * 86400
    os.utime(root / "export" / digest(name) / "manifest.json", (used, used))
    return f"export/{digest(name)}"


def test_info_of_no_store(onnxpack: Run, root: Path) -> None:
    ended = onnxpack("cache", "info")
    assert ended == Ended(
        0,
        f"place   {root}\nsize    0 B, of 20.0 GB that may stay\nshared  none: ONNXPACK_REMOTE_CACHE names one\n",
        "",
    )
    assert not root.exists()


def test_info_shows_stages_the_bound_and_the_shared_store_without_its_login(
    onnxpack: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root, "a", 5000, 1)
    (root / "traces/export").mkdir(parents=True)
    (root / "traces/export/one").write_text("ten bytes.")
    monkeypatch.setenv("ONNXPACK_REMOTE_CACHE", "s3://me:private@bucket/team?token=private")
    monkeypatch.setenv("ONNXPACK_REMOTE_CACHE_MODE", "read")
    monkeypatch.setenv("ONNXPACK_CACHE_SIZE", "50GB")
    ended = onnxpack("cache", "info")
    assert ended.code == 0
    assert ended.out.splitlines()[1:] == [
        "size    5.2 kB, of 50.0 GB that may stay",
        "shared  s3://bucket/team, read",
        "",
        "stage   parts    size",
        "export      1  5.2 kB",
        "traces      1    10 B",
    ]
    found = json.loads(onnxpack("cache", "info", "--json").out)
    assert found["bound_bytes"] == 50 * 10**9
    assert found["shared"] == {"url": "s3://bucket/team", "mode": "read"}
    assert [one["stage"] for one in found["stages"]] == ["export", "traces"]
    assert "private" not in ended.out + ended.err + json.dumps(found)


def test_prune_goes_down_to_the_bound(onnxpack: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = fill(root, "old", 5000, 2), fill(root, "new", 5000, 1)
    assert onnxpack("cache", "prune").err == "0 parts removed, 0 B; 10.3 kB stay\n"
    ended = onnxpack("cache", "prune", "--size", "6kB", "--dry-run")
    assert ended == Ended(0, f"{old}  5.2 kB\n", "1 part would go, 5.2 kB; 5.2 kB stay\n")
    assert (root / old).exists()
    monkeypatch.setenv("ONNXPACK_CACHE_SIZE", "6kB")
    assert onnxpack("cache", "prune") == Ended(0, "", "1 part removed, 5.2 kB; 5.2 kB stay\n")
    assert [(root / name).exists() for name in (old, new)] == [False, True]


def test_prune_by_age(onnxpack: Run, root: Path) -> None:
    old, new = fill(root, "old", 5000, 40), fill(root, "new", 5000, 20)
    found = json.loads(onnxpack("cache", "prune", "--older-than", "30d", "--json").out)
    assert [item["name"] for item in found["removed"]] == [old]
    assert (root / new).exists()
    assert onnxpack("cache", "prune", "--older-than", "2w").err == "1 part removed, 5.2 kB; 0 B stay\n"


def test_clear_removes_all_that_is_not_in_use(onnxpack: Run, root: Path) -> None:
    used, free = fill(root, "used", 10, 2), fill(root, "free", 10, 1)
    user = Store(root)
    assert user.get(*used.split("/"))
    ended = onnxpack("cache", "clear")
    assert ended.code == 0
    assert ended.err.startswith("1 part removed, ")
    assert [(root / name).exists() for name in (used, free)] == [True, False]


@pytest.mark.case("B8")
def test_verify_names_what_is_damaged_and_removes_it(onnxpack: Run, root: Path) -> None:
    whole, damaged = fill(root, "whole", 10, 2), fill(root, "damaged", 10, 1)
    assert onnxpack("cache", "verify") == Ended(0, "", "2 parts read, 0 of them damaged\n")
    (root / damaged / "data/file").write_bytes(b"123456789x")
    ended = onnxpack("cache", "verify")
    assert ended.code == 5
    assert ended.err.startswith(f"damaged, and removed: {damaged}  ")
    assert ended.err.endswith("2 parts read, 1 of them damaged\n")
    assert not (root / damaged).exists()
    assert json.loads(onnxpack("cache", "verify", "--json").out) == {"checked": 1, "damaged": []}
    assert (root / whole).exists()


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("prune", "--size", "much"), {}, "'much' is not a size: write it as 10GB"),
        (("prune", "--older-than", "30"), {}, "'30' is not an age: write it as 30d, 2w or 12h"),
        (("info",), {"ONNXPACK_CACHE_SIZE": "much"}, "ONNXPACK_CACHE_SIZE must be a size, not 'much'"),
        (
            ("info",),
            {"ONNXPACK_REMOTE_CACHE": "s3://b", "ONNXPACK_REMOTE_CACHE_MODE": "both"},
            "ONNXPACK_REMOTE_CACHE_MODE must be read or write, not 'both'",
        ),
        (("frob",), {}, "No such command 'frob'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    onnxpack: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ended = onnxpack("cache", *arguments)
    assert ended.code == 2
    assert words in ended.err
