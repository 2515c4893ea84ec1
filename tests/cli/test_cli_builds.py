"""What a build of many specs prints, writes and returns; a stand-in does the work of its processes."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import SMALL, Ended

Build = Callable[..., Ended]


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project, which is the working folder."""
    monkeypatch.setattr("onnxpack.fleet.process._MODULE", "fleet_stub")
    helpers = Path(__file__).parents[1] / "helpers"
    monkeypatch.setenv("PYTHONPATH", f"{helpers}{os.pathsep}{helpers.parents[1]}")
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"a spec's checks read no graph")
    monkeypatch.chdir(folder)
    return folder


def write_spec(folder: Path, name: str, *targets: str) -> None:
    text = SMALL.replace("name: small", f"name: {name}")
    (folder / f"{name}.yaml").write_text(text + "targets:\n" + "".join(f"  {one}: {{}}\n" for one in targets))


@pytest.fixture
def build(onnxpack: Callable[..., Ended], specs: Path) -> Build:
    return lambda *arguments: onnxpack("build", ".", "--engine", "none", "--jobs", "2", *arguments)


def test_a_log_has_a_line_or_two_for_each_target_a_table_and_a_count(specs: Path, build: Build) -> None:
    for name, target in (("a", "pass"), ("b", "fail"), ("c", "pass")):
        write_spec(specs, name, target)
    ended = build()
    assert ended.code == 4
    assert ended.out == "a:pass\nc:pass\n"
    lines = ended.err.splitlines()
    begun = [line for line in lines if line.endswith(" …")]
    assert sorted(begun) == ["a/pass …", "b/fail …", "c/pass …"]
    told = [re.sub(r"[0-9.]+ s", "N s", line) for line in lines if line.startswith("[")]
    assert [line[:5] for line in told] == ["[1/3]", "[2/3]", "[3/3]"]
    assert sorted(line[6:] for line in told)[1] == "b/fail: failed: it is wrong"
    end = lines[len(begun) + len(told) :]
    assert end[:5] == ["", "b/fail", "error: it is wrong", "  → mend it", ""]
    assert end[-1] == "3 specs: 0 unchanged, 2 built, 1 failed"
    assert [line.split()[:3] for line in end[5:-2]] == [
        ["spec", "target", "outcome"], ["a.yaml", "pass", "built"], ["b.yaml", "fail", "failed:"],
        ["c.yaml", "pass", "built"],
    ]  # fmt: skip


def test_results_and_reports_are_in_the_order_of_the_specs(specs: Path, build: Build) -> None:
    write_spec(specs, "a", "meet")
    write_spec(specs, "b", "fail", "pass")
    write_spec(specs, "c", "meet")
    (specs / "d.yaml").write_text("onnxpack: 1\nname: d\nmodle: {}\n")
    assert build().out == "a:meet\nb:pass\nc:meet\n"
    ended = build("--json")
    documents = json.loads(ended.out)
    assert [one["status"] if "status" in one else one["stage"] for one in documents] == [
        "passed", "verify", "passed", "passed", "failed",
    ]  # fmt: skip
    assert (documents[4]["stage"], documents[4]["exit_code"], ended.code) == ("spec", 2, 4)
    assert "d.yaml:3:1: there is no field 'modle'" in ended.err.replace("\n", "") or "modle" in ended.err


def test_after_a_failure_with_fail_fast_nothing_begins(specs: Path, build: Build) -> None:
    write_spec(specs, "a", "fail")
    write_spec(specs, "b", "hang")
    write_spec(specs, "c", "pass")
    ended = build("--fail-fast")
    assert ended.code == 4
    assert ended.err.splitlines()[-1] == "3 specs: 0 unchanged, 0 built, 1 failed, 2 not built"
    (specs / "a.yaml").write_text("onnxpack: 1\n")
    ended = build("--fail-fast")
    assert (ended.code, ended.err.splitlines()[-1]) == (
        2, "3 specs: 0 unchanged, 0 built, 1 failed, 2 not built",
    )  # fmt: skip
    assert "…" not in ended.err


def test_two_specs_of_one_name_are_told_before_anything_starts(specs: Path, build: Build) -> None:
    write_spec(specs, "a", "pass")
    write_spec(specs, "b", "pass", "fail")
    (specs / "b.yaml").write_text((specs / "b.yaml").read_text().replace("name: b", "name: a"))
    ended = build()
    assert ended.code == 2
    lines = ended.err.splitlines()
    assert lines[0].startswith("[1/3] a/pass: failed: b.yaml:2:7: 'a.yaml' in ")
    assert lines[1].endswith(" …")
    assert ended.out == "a:pass\n"


def test_one_file_named_twice_is_built_once(specs: Path, onnxpack: Build) -> None:
    write_spec(specs, "a", "pass")
    write_spec(specs, "b", "pass")
    (specs / "link.yaml").symlink_to("a.yaml")
    again = specs / "a.yaml"
    ended = onnxpack("build", "a.yaml", again, "link.yaml", "b.yaml", "--engine", "none", "--jobs", "2")
    assert (ended.code, ended.out) == (0, "a:pass\nb:pass\n")


def test_a_process_that_dies_is_told_with_its_last_words(specs: Path, build: Build) -> None:
    write_spec(specs, "a", "die")
    write_spec(specs, "b", "pass")
    ended = build()
    assert (ended.code, ended.out) == (5, "b:pass\n")
    assert "the process that built 'a', target 'die', died: killed by SIGKILL" in ended.err
    assert "  the last words\n" in ended.err


def test_files_for_ci_are_written_also_where_builds_fail(specs: Path, build: Build, tmp_path: Path) -> None:
    write_spec(specs, "a", "pass")
    write_spec(specs, "b", "fail")
    place = tmp_path / "new/folder"
    assert build("--junit", place / "junit.xml", "--code-quality", place / "quality.json").code == 4
    assert 'failures="1"' in (place / "junit.xml").read_text()
    assert [one["location"]["path"] for one in json.loads((place / "quality.json").read_text())] == ["b.yaml"]
    assert sorted(path.name for path in place.iterdir()) == ["junit.xml", "quality.json"]


def test_a_file_that_cannot_be_written_is_told_and_the_others_are(specs: Path, build: Build, tmp_path: Path) -> None:
    write_spec(specs, "a", "pass")
    write_spec(specs, "b", "pass")
    (tmp_path / "file").touch()
    ended = build("--junit", tmp_path / "file/junit.xml", "--code-quality", tmp_path / "quality.json")
    assert (ended.code, ended.out) == (5, "a:pass\nb:pass\n")
    assert json.loads((tmp_path / "quality.json").read_text()) == []


def test_github_is_told_by_itself_and_obeys_nothing_else(
    specs: Path, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec(specs, "a", "pass")
    write_spec(specs, "b", "fail")
    places = {"GITHUB_OUTPUT": tmp_path / "output", "GITHUB_STEP_SUMMARY": tmp_path / "summary"}
    for name, place in places.items():
        place.write_text("earlier\n")
        monkeypatch.setenv(name, str(place))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    lines = build().err.splitlines()
    first = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", lines[0])
    assert first
    end = lines.index(f"::{first[1]}::")
    assert [line for line in lines[end + 1 :] if line.startswith("::")] == [
        "::error file=b.yaml,line=1,col=1,title=onnxpack%3A b/fail::it is wrong%0Amend it"
    ]
    assert "error: it is wrong" in lines[:end]
    assert places["GITHUB_OUTPUT"].read_text().startswith("earlier\nimages<<")
    assert places["GITHUB_STEP_SUMMARY"].read_text().startswith("earlier\n### 2 specs")


def test_shards_build_every_spec_once(specs: Path, build: Build) -> None:
    for number in range(5):
        write_spec(specs, f"m{number}", "pass")
    printed = [build("--shard", f"{number}/2").out.split() for number in (1, 2)]
    assert sorted(printed[0] + printed[1]) == [f"m{number}:pass" for number in range(5)]
    assert sorted(map(len, printed)) == [2, 3]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "-1/2", "1/0", "1/2/3"])
def test_a_shard_that_is_none_is_refused(build: Build, specs: Path, shard: str) -> None:
    write_spec(specs, "a", "pass")
    ended = build("--shard", shard)
    assert ended.code == 2
    assert "such as 2/5" in ended.err


def test_a_shard_without_specs_is_done(specs: Path, build: Build) -> None:
    (specs / "a.yaml").write_text("onnxpack: 1\n")
    found = [build("--shard", f"{number}/2", "--json") for number in (1, 2)]
    assert sorted((ended.code, len(json.loads(ended.out))) for ended in found) == [(0, 0), (2, 1)]
