"""What a task says is shown, and nothing of it is obeyed by a terminal."""

import io
import sys
import time

import pytest

from onnxpack.cli.progress import LiveProgress, PlainProgress

HOSTILE = "reading \x1b]0;evil\x07the\x9b2J\nnext\tword\x00"
SHOWN = "reading \N{REPLACEMENT CHARACTER}]0;evil\N{REPLACEMENT CHARACTER}the\N{REPLACEMENT CHARACTER}2J next word"


def test_note_with_control_characters_is_one_line_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    PlainProgress().note(HOSTILE)
    assert capsys.readouterr().err == f"  {SHOWN}\N{REPLACEMENT CHARACTER}\n"


def test_note_on_a_terminal_with_control_characters_is_painted_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    progress = LiveProgress()
    with progress.stage("export"):
        progress.note(HOSTILE)
        for _ in range(200):  # it is painted ten times a second
            if "next word" in stream.getvalue():
                break
            time.sleep(0.05)
    assert SHOWN in stream.getvalue()
    assert "\x07" not in stream.getvalue()
