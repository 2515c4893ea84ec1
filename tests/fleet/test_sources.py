"""Which files go along with a job to another machine."""

import subprocess
from pathlib import Path

import pytest

from onnxpack.core.errors import SpecError
from onnxpack.fleet import sources
from onnxpack.fleet.sources import list_sources
from onnxpack.spec.load import load

ONNX = "onnxpack: 1\nextends: ../common.yaml\nname: a\nmodel: {framework: onnx, path: model.onnx}\n"
TORCH = "onnxpack: 1\nname: b\nmodel: {framework: torch, factory: net.py:Net, weights: none}\n"
INPUTS = "inputs: {x: {dtype: float32, shape: [4]}}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A work tree with two specs: one of a file, one of code."""
    files = {
        "common.yaml": "opset: 17\n",
        "a/spec.yaml": ONNX + INPUTS,
        "a/spec.lock": "{}",
        "a/model.onnx": "graph",
        "a/model.onnx.data": "external",
        "a/.hidden": "",
        "b/spec.yaml": TORCH + INPUTS,
        "b/net.py": "import common_code",
        "b/table.csv": "read by the factory",
        "b/secret.env": "ignored",
        "b/dist/b/cpu/report.json": "{}",
        "lib/common_code.py": "",
        "lib/data.bin": "of nobody",
        ".gitignore": "*.env\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def list_names(tree: Path, name: str) -> list[str]:
    return [found for found, _ in list_sources(load(tree / name / "spec.yaml"), tree / "b/dist")]


@pytest.fixture
def repository(tree: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tree)], check=True)
    return tree


def test_a_spec_of_a_file_brings_what_it_names_and_what_lies_beside_the_file(repository: Path) -> None:
    expected = ["a/model.onnx", "a/model.onnx.data", "a/spec.lock", "a/spec.yaml", "common.yaml"]
    assert list_names(repository, "a") == expected


def test_a_spec_of_code_brings_its_folder_and_the_modules_that_git_knows(repository: Path) -> None:
    assert list_names(repository, "b") == ["b/net.py", "b/spec.yaml", "b/table.csv", "lib/common_code.py"]


def test_without_git_the_folder_is_the_work_tree(tree: Path) -> None:
    assert list_names(tree, "b") == ["net.py", "secret.env", "spec.yaml", "table.csv"]


def test_too_many_files_are_refused_with_their_number(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_FILES", 4)
    with pytest.raises(SpecError, match=r"5 files with .* would be sent with this spec"):
        list_names(repository, "a")
