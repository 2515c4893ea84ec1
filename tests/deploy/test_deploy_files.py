"""Files are written whole, once, and never over what a person changed."""

from pathlib import Path

import pytest
from deploying import DIGEST, OTHER_DIGEST

from onnxpack.core.errors import EngineError, SpecError
from onnxpack.deploy.files import is_unchanged, replace_contents, sign, write_manifests
from onnxpack.deploy.formats import Manifests

TEXT = f"a: 1\nimage: x@{DIGEST}\n"


def make(folder: str = "iris", **texts: str) -> Manifests:
    return Manifests(folder, {f"{name}.yaml": text for name, text in texts.items()} or {"a.yaml": TEXT}, {})


def test_a_signed_text_knows_whether_it_was_changed() -> None:
    signed = sign(TEXT)
    assert is_unchanged(signed)
    assert is_unchanged(signed.replace(DIGEST, OTHER_DIGEST)), "digests of images are brought up to date by --update"
    assert not is_unchanged(signed.replace("a: 1", "a: 2"))
    assert not is_unchanged(f"{signed}# mine\n")
    assert not is_unchanged(TEXT)


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    assert write_manifests(tmp_path, [make()], force=False) == [tmp_path / "iris/a.yaml"]
    before = (tmp_path / "iris/a.yaml").stat()
    assert write_manifests(tmp_path, [make()], force=False) == []
    after = (tmp_path / "iris/a.yaml").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert [path.name for path in (tmp_path / "iris").iterdir()] == ["a.yaml"]


def test_what_people_changed_stays_and_nothing_else_is_written(tmp_path: Path) -> None:
    write_manifests(tmp_path, [make(a="a: 1\n", b="b: 1\n")], force=False)
    mine = (tmp_path / "iris/b.yaml").read_text() + "# mine\n"
    (tmp_path / "iris/b.yaml").write_text(mine)
    with pytest.raises(SpecError, match="changed by hand") as caught:
        write_manifests(tmp_path, [make(a="a: 2\n", b="b: 2\n")], force=False)
    assert [str(problem.where) for problem in caught.value.problems] == [str(tmp_path / "iris/b.yaml")]
    assert (tmp_path / "iris/b.yaml").read_text() == mine
    assert (tmp_path / "iris/a.yaml").read_text() == sign("a: 1\n")
    assert len(write_manifests(tmp_path, [make(a="a: 2\n", b="b: 2\n")], force=True)) == 2
    assert (tmp_path / "iris/b.yaml").read_text() == sign("b: 2\n")


@pytest.mark.parametrize("content", [b"somebody's\n", b"\xff\xfe", b""])
def test_somebody_elses_file_stays(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris/a.yaml").write_bytes(content)
    with pytest.raises(SpecError, match="is not onnxpack's"):
        write_manifests(tmp_path, [make()], force=False)
    assert (tmp_path / "iris/a.yaml").read_bytes() == content


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "theirs").write_text(sign(TEXT))
    (tmp_path / "iris/a.yaml").symlink_to(tmp_path / "theirs")
    with pytest.raises(SpecError):
        write_manifests(tmp_path, [make(a="other: 1\n")], force=False)
    assert (tmp_path / "theirs").read_text() == sign(TEXT)


def test_two_builds_cannot_have_one_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="two builds would make this file"):
        write_manifests(tmp_path / "out", [make(), make()], force=True)
    assert not (tmp_path / "out").exists()


def test_copies_are_made_once_and_whole(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(bytes(3 * 2**20))
    made = Manifests("iris", {}, {"1/model.onnx": source})
    assert write_manifests(tmp_path / "out", [made], force=False) == [tmp_path / "out/iris/1/model.onnx"]
    assert write_manifests(tmp_path / "out", [made], force=False) == []
    source.write_bytes(b"another")
    write_manifests(tmp_path / "out", [made], force=False)
    assert (tmp_path / "out/iris/1/model.onnx").read_bytes() == b"another"


def test_a_folder_in_the_place_of_a_file_is_told_and_a_files_mode_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(EngineError, match="a folder is there"):
        replace_contents(tmp_path / "folder", [b""])
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    replace_contents(path, [b"new", b"er"])
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("newer", 0o640)
