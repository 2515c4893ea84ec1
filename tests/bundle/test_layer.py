"""The list of a layer's files: what is written is read, and what somebody changed is told as that."""

from pathlib import Path

import pytest

from onnxpack.bundle.layer import LayerFile, Why, read_files, write_files
from onnxpack.core.errors import SpecError

FILES = (
    LayerFile("numpy/a.py", "numpy", 12, True, Why("imported by", "app/inference.py")),
    LayerFile("numpy/b.py", "numpy", 3, False, Why("no module that an image loads imports it")),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_files(tmp_path / "files.json", FILES)
    assert read_files(tmp_path / "files.json") == FILES


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"onnxpack_files": 2, "files": []}', '{"onnxpack_files": 1, "files": [{"path": 3}]}', "["]
)
def test_another_document_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "files.json").write_text(text)
    with pytest.raises(SpecError, match="it is not a list of files of this onnxpack version"):
        read_files(tmp_path / "files.json")


def test_a_list_that_is_missing_names_its_cure(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read the list") as refused:
        read_files(tmp_path / "files.json")
    assert "build the spec again" in refused.value.problems[0].hint
