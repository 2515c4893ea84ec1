"""The index lists what is there, whole or not at all, whatever lies there and whoever put it there."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from pages import Page, check_policy, list_loads

from onnxpack.reports.index import find_entries, has_index, write_index

GOLDEN = Path(__file__).parents[1] / "golden/report"
FULL: dict[str, Any] = json.loads((GOLDEN / "full.json").read_text())
FAILED: dict[str, Any] = json.loads((GOLDEN / "failed.json").read_text())


def leave(output: Path, name: str, report: Any, target: str = "cpu") -> Path:
    """Leave a report as a build does, or any text in its place."""
    folder = output / name / target
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report if isinstance(report, str) else json.dumps(report))
    (folder / "report.html").touch()
    return folder


def read(output: Path) -> Page:
    text = (output / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.mistakes == []
    assert list_loads(text) == []
    check_policy(page)
    return page


def test_an_index_has_a_line_for_each_target(tmp_path: Path) -> None:
    leave(tmp_path, "scans", FULL)
    leave(tmp_path, "iris", FAILED)
    leave(tmp_path, "scans", FULL | {"version": "2"}, "large")
    assert not has_index(tmp_path)
    assert write_index(tmp_path)
    assert has_index(tmp_path)
    page = read(tmp_path)
    assert page.texts["h1"] == ["3 targets: 2 passed, 1 failed"]
    assert page.texts["h2"] == ["Failed", "All"]
    assert page.list_values("href") == [
        "./iris/cpu/report.html", "./iris/cpu/report.html", "./scans/cpu/report.html", "./scans/large/report.html",
    ]  # fmt: skip
    assert "image/smoke: the image has 93.7 MB, the gate allows 50.0 MB (and 1 more)" in page.texts["span"]
    for words in ("int8-dynamic", "93.7 MB", "55.6 kB", "642 µs", "72.6 MB", "110.7 s"):
        assert words in page.texts["span"]


def test_the_same_reports_give_the_same_index_and_new_ones_another(tmp_path: Path) -> None:
    leave(tmp_path, "scans", FULL)
    assert write_index(tmp_path)
    before = (tmp_path / "index.html").read_bytes()
    assert write_index(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == before
    leave(tmp_path, "iris", FAILED)
    assert write_index(tmp_path)
    assert read(tmp_path).texts["h1"] == ["2 targets: 1 passed, 1 failed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "iris", "scans"]


HOSTILE: list[Any] = [
    "", "[", "[" * 100_000, "null", "[]", "{}", '"passed"',
    {"status": "other"},
    {"status": "passed"},
    {"status": "failed", "problems": 5, "stage": []},
    {"status": "failed", "problems": [5, {"message": "<script>alert(1)</script>"}]},
    {"status": "passed", "model": [], "image": {"size_bytes": "1"}, "smoke": 7, "stages": {"a": 1}, "version": {}},
    {"status": "passed", "model": {"size_bytes": float("nan"), "precision": "<b>"}, "image": {"size_bytes": True}},
    {"status": "passed", "image": {"size_bytes": 10**400}, "stages": [None, {"seconds": -1}, {"seconds": 1e400}]},
]  # fmt: skip


@pytest.mark.parametrize("report", HOSTILE)
def test_what_is_no_report_is_told_and_stops_nothing(report: Any, tmp_path: Path) -> None:
    leave(tmp_path, "bad", report)
    leave(tmp_path, "scans", FULL)
    assert write_index(tmp_path)
    page = read(tmp_path)
    assert page.texts["h1"][0].startswith("2 targets: ")
    assert {"script", "b"} & set(page.texts) == set()
    bad, good = find_entries(tmp_path)
    known = isinstance(report, dict) and report["status"] in ("passed", "failed")
    assert bad.status == (report["status"] if known else "unreadable")
    assert good.passed


def test_a_pipe_a_link_and_a_folder_in_the_place_of_a_report_are_not_read(tmp_path: Path) -> None:
    outside = leave(tmp_path / "outside", "x", FULL)
    output = tmp_path / "dist"
    for name in ("pipe", "link", "folder"):
        (output / name / "cpu").mkdir(parents=True)
    os.mkfifo(output / "pipe/cpu/report.json")
    (output / "link/cpu/report.json").symlink_to(outside / "report.json")
    (output / "folder/cpu/report.json").mkdir()
    (output / "linked").symlink_to(outside.parent)
    (output / "folder/linked").symlink_to(outside)
    assert write_index(output)
    assert [(entry.name, entry.status) for entry in find_entries(output)] == [
        ("folder", "unreadable"), ("link", "unreadable"), ("pipe", "unreadable"),
    ]  # fmt: skip
    assert read(output).list_values("href") == []


@pytest.mark.parametrize("name", ["javascript:alert(1)", "<b>", '"', "a b%2f", "\udcff", "a\u202eb", "#", "?x=1"])
def test_a_name_of_a_folder_leads_into_it_and_nowhere_else(name: str, tmp_path: Path) -> None:
    leave(tmp_path, name, FULL)
    assert write_index(tmp_path)
    page = read(tmp_path)
    (link,) = set(page.list_values("href"))
    assert link.startswith("./")
    assert ":" not in link
    assert (tmp_path / os.fsdecode(unquote_to_bytes(link))).samefile(tmp_path / name / "cpu/report.html")


@pytest.mark.parametrize("there", ["page", "folder", "link", "pipe"])
def test_what_somebody_else_put_there_stays(there: str, tmp_path: Path) -> None:
    leave(tmp_path, "scans", FULL)
    place = tmp_path / "index.html"
    if there == "page":
        place.write_text("<h1>my site</h1>")
    elif there == "folder":
        place.mkdir()
    elif there == "link":
        place.symlink_to("nowhere")
    else:
        os.mkfifo(place)
    before = place.lstat()
    assert not write_index(tmp_path)
    assert place.lstat() == before


def test_an_empty_folder_has_an_empty_index(tmp_path: Path) -> None:
    assert write_index(tmp_path)
    assert read(tmp_path).texts["h1"] == ["0 targets: 0 passed, 0 failed"]
