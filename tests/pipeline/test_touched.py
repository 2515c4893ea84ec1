"""By Git alone: which specs the changes since a revision touch, and by which file."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxpack.cache.known import KnownFile
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.pipeline.receipts import Asked, Receipt
from onnxpack.pipeline.touched import Changes
from onnxpack.spec.load import load

Git = Callable[..., str]


@pytest.fixture
def git(project: Path) -> Git:
    def run(*arguments: str, folder: Path = project) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always")
        return subprocess.run(
            ["git", *names, *arguments], cwd=folder, check=True, capture_output=True, text=True
        ).stdout

    (project / "common.yaml").write_text("version: 1.0.0\n")
    (project / "spec.yaml").write_text((project / "spec.yaml").read_text() + "extends: common.yaml\n")
    run("init", "-q", "-b", "main")
    run("add", "-A")
    run("commit", "-qm", "one")
    return run


def find(project: Path, revision: str = "HEAD", receipt: Receipt | None = None) -> tuple[str, ...]:
    return Changes(revision, project).find(load(project / "spec.yaml"), receipt)


@pytest.mark.parametrize("name", ["spec.yaml", "common.yaml", "model.onnx", "spec.lock"])
def test_a_file_that_a_spec_names_touches_it(project: Path, git: Git, name: str) -> None:
    assert find(project) == ()
    (project / name).write_text(((project / name).read_text() if (project / name).exists() else "") + "\n")
    assert find(project) == (name,)  # neither committed nor added
    git("add", "-A")
    assert find(project) == (name,)
    git("commit", "-qm", "two")
    assert find(project) == ()
    assert find(project, "HEAD~1") == (name,)


def test_other_files_touch_nothing_unless_a_build_has_read_them(project: Path, git: Git) -> None:
    (project / "helper.py").write_text("A = 1\n")
    (project / "pieces").mkdir()
    (project / "pieces/one").touch()
    assert find(project) == ()
    read = Receipt(
        "key", "here", Asked("spec.yaml", "dist"), "small", "cpu", str(project), "dist", "small:1",
        (KnownFile(str(project / "helper.py"), "0"),), {"pieces": "0"}, {}, "0", {}, {},
    )  # fmt: skip
    assert find(project, receipt=read) == ("helper.py", "pieces/one")


def test_a_shallow_clone_says_what_to_fetch(project: Path, git: Git, tmp_path: Path) -> None:
    git("commit", "-qm", "two", "--allow-empty")
    git("clone", "-q", "--depth=1", f"file://{project}", str(tmp_path / "clone"))
    with pytest.raises(SpecError, match="there is no revision 'HEAD~1' in this clone") as raised:
        Changes("HEAD~1", tmp_path / "clone")
    assert "git fetch --depth=1 origin HEAD~1" in raised.value.problems[0].hint
    with pytest.raises(SpecError, match="no revision 'none'") as raised:
        Changes("none", project)
    assert "git branch -a" in raised.value.problems[0].hint


@pytest.mark.parametrize("revision", ["--output=x", "-h", "", "HEAD:spec.yaml"])
def test_what_is_no_revision_is_refused(project: Path, git: Git, revision: str) -> None:
    with pytest.raises(SpecError, match="there is no revision"):
        Changes(revision, project)
    assert not (project / "x").exists()


def test_a_folder_without_git_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="Git cannot say what changed"):
        Changes("HEAD", tmp_path)


def test_a_spec_that_cannot_be_read_is_touched_by_its_own_file(project: Path, git: Git) -> None:
    (project / "spec.yaml").write_text(json.dumps({"onnxpack": 9}))
    assert Changes("HEAD", project).find_file(project / "spec.yaml") == ("spec.yaml",)
    assert Changes("HEAD", project).find_file(project / "other.yaml") == ()
