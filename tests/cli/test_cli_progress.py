"""What a build prints while it runs: plain lines for logs, one live line on a terminal."""

import io
import re
import sys
import time

import pytest

from onnxpack.cli.progress import LiveProgress, PlainProgress, progress

HOSTILE = "reading \x1b]0;evil\x07the\x9b2J\nnext\tword\x00"
SHOWN = "reading \N{REPLACEMENT CHARACTER}]0;evil\N{REPLACEMENT CHARACTER}the\N{REPLACEMENT CHARACTER}2J next word"


def test_plain_lines_name_the_target_and_their_times_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    shown = PlainProgress("cpu")
    with shown.stage("export"):
        shown.note("a warning")
    with shown.stage("precision int8-dynamic"):
        pass
    shown.skip("bundle", "runtime layer reused")
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"\d\.\d s$", "N s", line) for line in lines] == [
        "cpu: export …",
        "  a warning",
        "cpu: export                      N s",
        "cpu: precision int8-dynamic …",
        "cpu: precision int8-dynamic      N s",
        "cpu: bundle                   runtime layer reused",
    ]


def test_a_plain_stage_that_fails_has_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), PlainProgress().stage("export"):
        raise ValueError("broken")
    assert capsys.readouterr().err == "export …\n"


def test_a_live_line_ends_as_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    shown = LiveProgress("gpu")
    with shown.stage("export"):
        pass
    with pytest.raises(ValueError, match="broken"), shown.stage("verify float32"):
        raise ValueError("broken")
    shown.skip("measure 2 models", "unchanged")
    lines = re.sub(r"\x1b\[[0-9]*[a-zA-Z]", "", capsys.readouterr().err).replace("\r", "").splitlines()
    assert [re.sub(r"\d\.\d s$", "N s", line) for line in lines] == [
        "✓ gpu: export                      N s",
        "✗ gpu: verify float32              N s",
        "✓ gpu: measure 2 models         unchanged",
    ]


def test_progress_is_plain_where_stderr_is_no_terminal() -> None:
    assert isinstance(progress("cpu"), PlainProgress)


def test_note_with_control_characters_is_one_line_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    PlainProgress().note(HOSTILE)
    assert capsys.readouterr().err == f"  {SHOWN}\N{REPLACEMENT CHARACTER}\n"


def test_note_on_a_terminal_with_control_characters_is_painted_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    shown = LiveProgress()
    with shown.stage("export"):
        shown.note(HOSTILE)
        for _ in range(200):  # it is painted ten times a second
            if "next word" in stream.getvalue():
                break
            time.sleep(0.05)
    assert SHOWN in stream.getvalue()
    assert "\x07" not in stream.getvalue()
