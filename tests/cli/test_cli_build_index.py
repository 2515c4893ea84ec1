"""Several builds leave an index, and it is kept true by every later one."""

import json
from pathlib import Path

import pytest

from onnxpack.cli.build import refresh_index
from onnxpack.reports.index import has_index


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "dist/iris/cpu"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"status": "passed"}))
    return tmp_path / "dist"


def test_one_build_leaves_no_index_and_several_do(output: Path) -> None:
    assert refresh_index(output, False) == 0
    assert not has_index(output)
    assert refresh_index(output, True) == 0
    assert "1 target: 1 passed, 0 failed" in (output / "index.html").read_text()


def test_one_build_brings_an_index_up_to_date(output: Path) -> None:
    refresh_index(output, True)
    (output / "iris/cpu/report.json").write_text(json.dumps({"status": "failed"}))
    assert refresh_index(output, False) == 0
    assert "1 target: 0 passed, 1 failed" in (output / "index.html").read_text()


def test_a_page_of_somebody_else_stays_and_that_is_said(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (output / "index.html").write_text("mine")
    assert refresh_index(output, True) == 0
    assert (output / "index.html").read_text() == "mine"
    assert "index.html is left as it is: onnxpack did not make it" in capsys.readouterr().err


def test_an_index_that_cannot_be_written_is_told(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", str(output))

    monkeypatch.setattr("onnxpack.reports.index.write_whole", fail)
    assert refresh_index(output, True) == 5
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in output.iterdir()) == ["iris"]


def test_where_nothing_was_built_there_is_no_index(tmp_path: Path) -> None:
    assert refresh_index(tmp_path / "dist", True) == 0
    assert not (tmp_path / "dist").exists()
