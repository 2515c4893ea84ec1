"""The one boundary: errors become words and exit codes, bugs keep their traceback in a file."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from command_line import Ended

from onnxpack.cli import failure, validate
from onnxpack.core.errors import BY_EXIT_CODE, Location, OnnxpackError, Problem

Run = Callable[..., Ended]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], None]:
    """Make the verb raise, and bug reports land in the test's own folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def plant(error: BaseException) -> None:
        def load(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(validate, "load", load)

    return plant


def reports(folder: Path) -> list[Path]:
    return list(folder.glob("onnxpack-bug-*"))


@pytest.mark.parametrize("error", [ZeroDivisionError("by none"), EOFError("too early"), RecursionError("too deep")])
def test_a_bug_keeps_its_traceback_in_a_file(
    error: Exception, raising: Callable, onnxpack: Run, tmp_path: Path
) -> None:
    raising(error)
    ended = onnxpack("validate", "spec.yaml")
    assert (ended.code, ended.out) == (1, "")
    assert f"error: unexpected {type(error).__name__}: {error}" in ended.err
    assert "Traceback" not in ended.err
    (report,) = reports(tmp_path)
    assert str(report) in ended.err
    text = report.read_text()
    assert text.startswith("onnxpack ")
    assert "Traceback (most recent call last)" in text
    assert text.rstrip().endswith(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyboardInterrupt("SIGTERM")])
def test_an_interruption_is_no_bug(error: BaseException, raising: Callable, onnxpack: Run, tmp_path: Path) -> None:
    raising(error)
    ended = onnxpack("validate", "spec.yaml")
    assert (ended.code, ended.out, ended.err.strip()) == (130, "", "interrupted")
    assert not reports(tmp_path)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device", "/full/model.onnx"), "No space left on device '/full/model.onnx'"),
        (PermissionError(13, "Permission denied", "/locked"), "Permission denied '/locked'"),
        (OSError("of no number"), "of no number"),
    ],
)
def test_failures_of_the_machine_are_not_reported_as_bugs(
    error: OSError, told: str, raising: Callable, onnxpack: Run, tmp_path: Path
) -> None:
    raising(error)
    ended = onnxpack("validate", "spec.yaml")
    assert (ended.code, ended.out) == (5, "")
    hint = "choose a place that can be written" if isinstance(error, PermissionError) else "free disk space"
    assert ended.err.startswith(f"error: {told}\n  → {hint}")
    assert not reports(tmp_path)


def test_each_kind_of_error_has_its_code(raising: Callable, onnxpack: Run) -> None:
    assert sorted(BY_EXIT_CODE) == [2, 3, 4, 5]
    for code, kind in BY_EXIT_CODE.items():
        if code != 2:  # a spec's own problems are tested with specs
            raising(kind("it did not", "do this"))
            assert onnxpack("validate", "spec.yaml") == Ended(code, "", "error: it did not\n  → do this\n")


def test_control_characters_of_an_error_are_replaced() -> None:
    wicked = "\x1b]0;title\a\x9b31m\u202e\r"
    text = click.unstyle(failure.describe(Problem(wicked, wicked, Location(wicked, 1, 1), f"{wicked}\tb\nc")))
    assert text.translate({ord("\n"): None, ord("\t"): None}).isprintable()
    assert text.endswith("\tb\n  c")


def test_all_of_a_problem_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("name: a\n\tb: c\n" + "x" * 200 + "\n")
    problems = [
        Problem("first", "mend it", Location(str(path), 1, 7), "a table\nof two lines\n"),
        Problem("after a tab", "", Location(str(path), 2, 2)),
        Problem("too long to show", "", Location(str(path), 3, 1)),
        Problem("past the end", "", Location(str(path), 9, 1)),
        Problem("in a file that is gone", "", Location(str(tmp_path / "gone"), 1, 1)),
        Problem("nowhere"),
    ]
    assert failure.tell(OnnxpackError(problems)) == 1
    assert capsys.readouterr().err == (
        f"error: {path}:1:7: first\n    1 | name: a\n      |       ^\n  → mend it\n  a table\n  of two lines\n"
        f"error: {path}:2:2: after a tab\n    2 |  b: c\n      |  ^\n"
        f"error: {path}:3:1: too long to show\n"
        f"error: {path}:9:1: past the end\n"
        f"error: {tmp_path}/gone:1:1: in a file that is gone\n"
        "error: nowhere\n"
    )
