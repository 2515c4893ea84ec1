"""A file is told from another one by a look at its state, or by its content where times say too little."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnxpack.cache import known
from onnxpack.cache.changes import file_state
from onnxpack.cache.known import (
    digest_entries,
    find_difference,
    is_behind_clock,
    know_file,
    know_state,
    list_entries,
)
from onnxpack.cache.trace import digest_content


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("first")
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all files have changed long ago."""
    monkeypatch.setattr("onnxpack.cache.remembered._SETTLED_NS", -(10**18))


def test_a_file_that_changed_a_moment_ago_is_read_each_time(file: Path) -> None:
    noted = know_file(file, digest_content(file))
    assert noted
    assert (noted.state, noted.is_same(), noted.is_stated()) == (None, True, False)
    before = file.stat()
    file.write_text("other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as another change in the same tick would leave it
    assert not noted.is_same()


@pytest.mark.usefixtures("settled")
def test_a_file_whose_state_is_as_it_was_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = know_file(file, digest_content(file))
    assert noted
    monkeypatch.setattr(known, "digest_content", lambda path: pytest.fail("it is read"))
    assert noted.is_same()
    assert noted.renew() is noted


@pytest.mark.usefixtures("settled")
def test_a_file_with_another_state_is_the_same_by_its_content(file: Path) -> None:
    noted = know_file(file, digest_content(file))
    assert noted
    file.unlink()
    file.write_text("first")
    assert (noted.is_stated(), noted.is_same()) == (False, True)
    renewed = noted.renew()
    assert renewed
    assert renewed.is_stated()
    file.write_text("second")
    assert not noted.is_same()
    assert noted.renew() is None


def test_a_file_of_another_digest_is_not_known(file: Path) -> None:
    assert know_file(file, "0" * 64) is None


def test_what_is_not_there_must_stay_away(tmp_path: Path) -> None:
    noted = know_file(tmp_path / "none", "absent")
    assert noted
    assert noted.is_same()
    (tmp_path / "none").touch()
    assert not noted.is_same()


@pytest.mark.usefixtures("settled")
def test_links_count_where_they_were_noted(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    with_links, without = (know_file(link, digest_content(link), with_links=links) for links in (True, False))
    assert with_links
    assert without
    file.rename(tmp_path / "moved")
    link.unlink()
    link.symlink_to(tmp_path / "moved")
    assert without.is_same()  # the very same file, reached by another way
    assert not with_links.is_same()


def test_a_file_that_is_known_by_its_state_is_not_read_once_it_is_old(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = file_state(str(file))
    assert state
    young = know_state(file, state)
    assert young
    assert young.digest
    monkeypatch.setattr("onnxpack.cache.remembered._SETTLED_NS", -(10**18))
    old = know_state(file, state)
    assert old
    assert (old.digest, old.state, old.is_same()) == ("", state, True)
    file.write_text("first")
    assert know_state(file, state) is None
    assert not old.is_same()
    assert not replace(old, state=None).is_same()


def add_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "a/one").write_text("1"), "a/one changed"),
        (lambda folder: (folder / "a/one").unlink(), "a/one is missing"),
        (lambda folder: (folder / "a/two").touch(), "a/two was added"),
        (add_folder, "empty was added"),
        (lambda folder: (folder / "a").chmod(0o700), "a changed"),
        (lambda folder: ((folder / "link").unlink(), (folder / "link").symlink_to("b")), "link changed"),
    ],
)
def test_entries_tell_what_changed_in_a_folder(tmp_path: Path, change: Callable[[Path], Any], words: str) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    (tmp_path / "a/one").write_text("0")
    (tmp_path / "link").symlink_to("a")
    before = list_entries(tmp_path)
    assert is_behind_clock(tmp_path.parent, [entry.facts[-1] for entry in before])
    assert list_entries(tmp_path) == before
    assert find_difference(before, list_entries(tmp_path)) is None
    change(tmp_path)
    now = list_entries(tmp_path)
    assert digest_entries(now) != digest_entries(before)
    assert find_difference(before, now) == words


def test_a_clock_that_does_not_pass_a_time_is_not_waited_for_long(tmp_path: Path) -> None:
    assert is_behind_clock(tmp_path, [])
    assert not is_behind_clock(tmp_path, [2**62])
    assert list(tmp_path.iterdir()) == []
