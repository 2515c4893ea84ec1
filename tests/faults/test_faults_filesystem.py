"""A file system without locks, links, exchange or renames over a file: the build works, and says what is not safe."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import poor_file_system
import pytest
from disk_tools import SPEC, Project, make_project, shipped

from onnxpack.cache.store import Store
from onnxpack.core.scratch import has_locks, locked, replace_file, working_folder

NO_LOCKS = "has no locks: do not run two builds at once over it"
POOR = [
    "locks:ENOLCK",
    "links:EOPNOTSUPP",
    "rename over:EEXIST",
    "exchange,rename over:EPERM",
    "exchange in libc,links,locks:EOPNOTSUPP,rename over:EEXIST",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("filesystem"))
    ended = made.build(made.around / "dist")
    assert ended.code == 0, ended.err
    return made


@pytest.fixture
def poor(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Return the variables that let all processes of a command see a poor file system."""

    def variables(lacks: str) -> dict[str, str]:
        (tmp_path / "sitecustomize.py").write_text("import poor_file_system\n")
        path = [str(tmp_path), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        return {
            poor_file_system.LACKS: lacks,
            "ONNXPACK_PASS_ENV": poor_file_system.LACKS,
            "PYTHONPATH": os.pathsep.join(path),
            "ONNXPACK_CACHE": str(tmp_path / "store"),
        }

    return variables


@pytest.mark.parametrize("lacks", POOR)
def test_build_on_a_poor_file_system_gives_the_same_and_says_once_if_it_is_not_safe(
    project: Project,
    poor: Callable[[str], dict[str, str]],
    tmp_path: Path,
    lacks: str,
    count_attacks: Callable[[int], None],
) -> None:
    if "locks" not in lacks:
        shutil.copytree(project.store, tmp_path / "store")
    for _ in range(2):  # the second takes the place of the first
        ended = project.build(tmp_path / "dist", **poor(lacks))
        assert ended.code == 0, ended.err
        assert shipped(tmp_path / "dist") == shipped(project.around / "dist")
        assert ended.err.count(NO_LOCKS) == ("locks" in lacks)
        assert (f"'{tmp_path}/store'" in ended.err) == ("locks" in lacks)
    assert not list(tmp_path.rglob(".onnxpack-*"))
    count_attacks(2)


def test_lock_and_spec_where_nothing_is_renamed_over_a_file_are_written(
    project: Project, poor: Callable[[str], dict[str, str]], count_attacks: Callable[[int], None]
) -> None:
    (project.folder / "draft.yaml").write_text("old")
    init = project.run("init", "model.onnx", "--output", "draft.yaml", "--force", **poor("rename over:EEXIST"))
    assert init.code == 0, init.err
    assert "onnxpack: 1" in (project.folder / "draft.yaml").read_text()
    before = (project.folder / "spec.lock").read_text()
    ended = project.run("lock", "spec.yaml", **poor("rename over:EEXIST"))
    assert ended.code == 0, ended.err
    assert (project.folder / "spec.lock").read_text() == before
    assert not list(project.folder.glob(".*"))
    count_attacks(2)


def test_builds_at_once_without_locks_are_all_right(
    project: Project,
    poor: Callable[[str], dict[str, str]],
    tmp_path: Path,
    factor: int,
    count_attacks: Callable[[int], None],
) -> None:
    """Also the download that all of them begin at once."""
    there = Project(tmp_path / "project", project.around)
    there.folder.mkdir()
    model = (project.folder / "model.onnx").read_bytes()
    (there.folder / "fetched.onnx").write_bytes(model)
    sha256 = hashlib.sha256(model).hexdigest()
    source = f"{{framework: onnx, path: 'file://{there.folder}/fetched.onnx', sha256: {sha256}}}"
    (there.folder / "spec.yaml").write_text(SPEC.replace("{framework: onnx, path: model.onnx}", source))
    (there.folder / "spec.lock").write_bytes((project.folder / "spec.lock").read_bytes())
    for turn in range(factor):
        variables = poor("locks:ENOLCK") | {"ONNXPACK_CACHE": str(tmp_path / f"store{turn}")}
        with ThreadPoolExecutor(3) as pool:
            places = [tmp_path / name for name in ("one", "one", "two")]
            found = list(pool.map(partial(there.build, **variables), places))
        assert [ended.code for ended in found] == [0, 0, 0], "\n".join(ended.err for ended in found)
        for name in ("one", "two"):
            assert shipped(tmp_path / name) == shipped(project.around / "dist")
        store = Store(tmp_path / f"store{turn}")
        entries = [path.parent for path in store.root.glob("*/*/manifest.json")]
        assert {path.parent.name for path in entries} == {"export", "verify", "bundle", "download"}
        assert all(store.get(path.parent.name, path.name) for path in entries)
    count_attacks(3 * factor)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF])
def test_lock_that_the_file_system_refuses_is_told_not_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, count_attacks: Callable[[int], None]
) -> None:
    with locked(tmp_path / "lock") as held:
        assert held
    assert has_locks(tmp_path)

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    assert not has_locks(tmp_path)
    with locked(tmp_path / "lock") as held:
        assert not held
    with working_folder(tmp_path / "work") as one, working_folder(tmp_path / "work") as other:
        assert one.exists(), "where locks do not work, nothing is swept"
        assert other.exists()
    assert list((tmp_path / "work").iterdir()) == []
    count_attacks(1)


def test_folder_that_takes_no_files_is_not_said_to_have_no_locks(tmp_path: Path) -> None:
    assert has_locks(tmp_path / "missing")


@pytest.mark.parametrize("fails", [False, True])
def test_file_that_cannot_be_renamed_over_is_replaced_or_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool, count_attacks: Callable[[int], None]
) -> None:
    (tmp_path / "fresh").write_text("new")
    (tmp_path / "file").write_text("old")
    rename = os.rename

    def only_to_nothing(source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise OSError(errno.EEXIST, "File exists")
        if fails and Path(source).name == "fresh":
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr("os.rename", only_to_nothing)
    monkeypatch.setattr("os.replace", only_to_nothing)
    if fails:
        with pytest.raises(OSError, match="Input/output error"):
            replace_file(tmp_path / "fresh", tmp_path / "file")
    else:
        replace_file(tmp_path / "fresh", tmp_path / "file")
    assert (tmp_path / "file").read_text() == ("old" if fails else "new")
    assert not (tmp_path / "fresh.old").exists()
    count_attacks(1)
