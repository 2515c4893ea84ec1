"""A spec is read from a revision of Git, with what it extends and its lock, and nothing else of it."""

import subprocess
from pathlib import Path

import pytest
from command_line import SMALL

from onnxpack.bundle.lock import Package, TargetLock, write
from onnxpack.comparison.revision import read_committed, split_revision
from onnxpack.core.errors import EngineError, SpecError


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose first commit has the small spec with a lock, and whose second changes both."""
    folder = tmp_path / "repository"
    specs = folder / "specs"
    specs.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (specs / "small.yaml").write_text(SMALL)
    write(
        specs / "small.lock", {"cpu": TargetLock("3.11", "linux/amd64", (), (Package("numpy", "2.4.6", ("a" * 64,)),))}
    )
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    (specs / "small.yaml").write_text("extends: ../base.yaml\n" + SMALL.replace("max: 64", "max: 32"))
    (folder / "base.yaml").write_text("opset: 17\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "two")
    (specs / "small.yaml").write_text("this is not committed")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("HEAD~1:specs/small.yaml", ("HEAD~1", "specs/small.yaml")),
        ("v1.0:a.yml", ("v1.0", "a.yml")),
        ("origin/main:./a.yaml", ("origin/main", "./a.yaml")),
        ("HEAD@{1}:a.yaml", ("HEAD@{1}", "a.yaml")),
        ("iris:1.0.0-cpu", None),
        ("localhost:5000/iris:1", None),
        ("specs/small.yaml", None),
        ("-x:a.yaml", None),
        (":a.yaml", None),
    ],
)
def test_a_revision_is_told_from_an_image_and_a_path(argument: str, parts: tuple[str, str] | None) -> None:
    assert split_revision(argument) == parts


def test_a_file_of_such_a_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "HEAD:a.yaml").touch()
    assert split_revision("HEAD:a.yaml") is None


@pytest.mark.usefixtures("repository")
def test_a_spec_is_read_as_it_was() -> None:
    old, new = read_committed("HEAD~1", "specs/small.yaml"), read_committed("HEAD", "specs/small.yaml")
    assert [one.spec.dynamic_axes["batch"].max for one in (old, new)] == [64, 32]
    assert [one.spec.opset for one in (old, new)] == [None, 17]
    assert old.lock
    assert [package.version for package in old.lock.targets["cpu"].packages] == ["2.4.6"]
    assert old.notes == ()


def test_a_path_may_begin_at_the_working_folder(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository / "specs")
    assert read_committed("HEAD", "./small.yaml").spec.name == "small"
    assert read_committed("HEAD", "specs/small.yaml").spec.name == "small"
    assert read_committed("HEAD", "../specs/small.yaml").spec.name == "small"


def test_a_revision_works_where_nothing_is_checked_out(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    monkeypatch.chdir(tmp_path / "bare.git")
    assert read_committed("main~1", "specs/small.yaml").spec.name == "small"


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("revision", "path", "words"),
    [
        ("HEAD~9", "specs/small.yaml", "no revision 'HEAD~9'"),
        ("nowhere", "specs/small.yaml", "no revision 'nowhere'"),
        ("--help", "specs/small.yaml", "no revision '--help'"),
        ("HEAD", "specs/other.yaml", "no file 'specs/other.yaml'"),
        ("HEAD", "../../etc/a.yaml", "no file"),
        ("HEAD", "specs/*.yaml", "no file"),
    ],
)
def test_what_is_not_there_is_told(revision: str, path: str, words: str) -> None:
    with pytest.raises(SpecError) as error:
        read_committed(revision, path)
    assert words in str(error.value)


def test_a_folder_outside_any_repository_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SpecError, match="cannot look for the revision"):
        read_committed("HEAD", "a.yaml")


def test_a_problem_has_its_place_in_the_revision(repository: Path) -> None:
    for name, text in (
        ("specs/small.yaml", "onnxpack: 1\nname: []\n"),
        ("c.yaml", "extends: c.yaml\n"),
        ("o.yaml", "extends: ../x.yaml\n"),
    ):
        (repository / name).write_text(text)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "three")
    with pytest.raises(SpecError) as error:
        read_committed("HEAD", "specs/small.yaml")
    assert "HEAD:specs/small.yaml:2:" in str(error.value)
    with pytest.raises(SpecError, match="extends this file again"):
        read_committed("HEAD", "c.yaml")
    with pytest.raises(SpecError, match="outside the repository"):
        read_committed("HEAD", "o.yaml")


def test_a_lock_that_cannot_be_read_is_said_and_not_compared(repository: Path) -> None:
    (repository / "specs/small.yaml").write_text(SMALL)
    for text, words in (("{}", "a lock of another version"), (None, "has no specs/small.lock")):
        if text is None:
            (repository / "specs/small.lock").unlink()
        else:
            (repository / "specs/small.lock").write_text(text)
        git(repository, "add", "-A")
        git(repository, "commit", "-qm", "lock")
        found = read_committed("HEAD", "specs/small.yaml")
        assert found.lock is None
        assert words in found.notes[0]


def test_a_link_is_not_followed(repository: Path) -> None:
    (repository / "link.yaml").symlink_to("/etc/passwd")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "link")
    with pytest.raises(SpecError, match=r"no file 'link\.yaml'"):
        read_committed("HEAD", "link.yaml")


@pytest.mark.usefixtures("repository")
def test_without_git_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError, match="not installed"):
        read_committed("HEAD", "specs/small.yaml")
