"""``onnxpack validate`` and what it shares with other verbs: exit codes, words, folders."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import SMALL, Ended

from onnxpack.cli import VERBS

Run = Callable[..., Ended]
BAD = SMALL + "opsett: 17\n"


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def test_a_valid_spec(onnxpack: Run) -> None:
    assert onnxpack("validate", "spec.yaml") == Ended(0, "", "spec.yaml: valid\n")


def test_a_bad_spec_says_where_what_and_what_to_do(onnxpack: Run) -> None:
    Path("bad.yaml").write_text(BAD)
    assert onnxpack("validate", "bad.yaml") == Ended(
        2,
        "",
        "error: bad.yaml:10:1: unknown field 'opsett'\n   10 | opsett: 17\n      | ^\n  → did you mean 'opset'?\n",
    )


def test_the_others_are_still_checked(onnxpack: Run) -> None:
    Path("bad.yaml").write_text(BAD)
    ended = onnxpack("validate", "bad.yaml", "missing.yaml", "spec.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "error: bad.yaml:10:1:" in ended.err
    assert "error: missing.yaml: cannot read it: No such file or directory\n  → correct the path\n" in ended.err
    assert ended.err.endswith("spec.yaml: valid\n")


def test_a_spec_named_twice_is_checked_once(onnxpack: Run) -> None:
    assert onnxpack("validate", "spec.yaml", "./spec.yaml", ".").err.count("valid") == 1


def test_a_folder_is_walked(onnxpack: Run, project: Path) -> None:
    for name in ("a/spec.yml", "a/deep/er/spec.yaml", "b/with mark.yaml"):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            SMALL.replace("path: model.onnx", f"path: {os.path.relpath(project / 'model.onnx', path.parent)}")
        )
    (project / ".git").mkdir()
    (project / "b/with mark.yaml").write_bytes(b"\xef\xbb\xbf" + BAD.replace("model.onnx", "../model.onnx").encode())
    for name in ("dist/spec.yaml", ".hidden/spec.yaml", "a/node_modules/spec.yaml", "a/notes.txt", "a/other.yaml"):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("services: {}\n" if name.endswith("other.yaml") else "onnxpack: 1\n")
    os.mkfifo(project / "a/fifo.yaml")
    ended = onnxpack("validate", ".")
    assert (ended.code, ended.out) == (2, "")
    assert [line for line in ended.err.splitlines() if "valid" in line or "error" in line] == [
        "a/deep/er/spec.yaml: valid",
        "a/spec.yml: valid",
        "error: b/with mark.yaml:10:1: unknown field 'opsett'",
        "spec.yaml: valid",
    ]


def test_a_folder_without_a_spec_is_an_error(onnxpack: Run, project: Path) -> None:
    (project / "empty").mkdir()
    ended = onnxpack("validate", "empty")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: empty: there is no spec in this folder\n  → ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["validat"], "no command 'validat'; did you mean 'validate'?"),
        (["xyzzy"], f"no command 'xyzzy'; known: {', '.join(VERBS)}"),
        (["validate"], "Missing argument 'SPEC…'"),
        (["validate", "--jsno", "spec.yaml"], "--json"),
        (["--wrong"], "No such option"),
    ],
    ids=["slip", "unknown", "nothing", "option of a verb", "option"],
)
def test_wrong_usage(arguments: list[str], told: str, onnxpack: Run) -> None:
    ended = onnxpack(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert ended.err.startswith("Usage: onnxpack")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["validate", "--help"]], ids=" ".join)
def test_help(arguments: list[str], onnxpack: Run) -> None:
    ended = onnxpack(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Usage: onnxpack")


def test_help_names_every_verb_and_every_verb_is_there(onnxpack: Run) -> None:
    listed = onnxpack("--help").out
    for verb, meaning in VERBS.items():
        assert f"  {verb} " in listed
        assert meaning in " ".join(listed.split())
        assert onnxpack(verb, "--help").code == 0


def test_the_caret_stands_below_its_column(onnxpack: Run) -> None:
    for old, new, at in (("x: {dtype: float32", "ü: {dtype: float33", "float33"), ("onnxpack: 1", "onnxpack: 2", "2")):
        for mark in (b"", b"\xef\xbb\xbf"):
            Path("bad.yaml").write_bytes(mark + SMALL.replace(old, new).encode())
            _, line, caret, *_ = onnxpack("validate", "bad.yaml").err.splitlines()
            assert line[caret.index("^") :].startswith(at)


def test_no_control_character_of_a_spec_reaches_the_terminal(onnxpack: Run) -> None:
    wicked = '"\\e[31m\\b\\x9b"'
    fields = (f"name: {wicked}", f"version: {wicked}", f"outputs: [{wicked}]", f"{wicked}: 1", f"opset: {wicked}")
    labels = f"image: {{labels: {{{wicked}: a}}, base: {wicked}, python: {wicked}}}\nextends: {wicked}"
    for more in (*fields, labels):
        Path("bad.yaml").write_text(SMALL.replace("model.onnx", wicked) + more + "\n")
        ended = onnxpack("validate", "bad.yaml")
        assert ended.code == 2
        assert ended.err.replace("\n", "").isprintable(), ended.err


def test_set_over_several_specs_that_is_wrong_names_the_spec(onnxpack: Run) -> None:
    Path("second.yaml").write_text(SMALL)
    ended = onnxpack("validate", "spec.yaml", "second.yaml", "--set", "opset=high")
    assert ended.code == 2
    assert "error: spec.yaml: --set opset=high: opset: 'high' is not a whole number" in ended.err
    assert "error: second.yaml: --set opset=high: opset: 'high' is not a whole number" in ended.err
