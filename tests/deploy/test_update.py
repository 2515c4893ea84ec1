"""Digests go to the manifests of the builds that they are of, and to no others."""

from pathlib import Path
from typing import Any

import pytest
from deploying import DIGEST, OTHER_DIGEST, REPOSITORY, make_build

from onnxpack.core.errors import SpecError
from onnxpack.deploy.update import Released, find_updates, write_updates
from onnxpack.oci.reference import parse_reference

OLD = f"sha256:{'0' * 64}"


def release(dist: Path, digest: str = DIGEST, repository: str = REPOSITORY, **changes: Any) -> Released:
    return Released(make_build(dist, **changes), parse_reference(f"{repository}@{digest}"))


def two_targets(tmp_path: Path) -> list[Released]:
    return [
        release(tmp_path / "dist", DIGEST, serving={"other_targets": ["cuda"]}),
        release(tmp_path / "dist", OTHER_DIGEST, target="cuda", serving={"other_targets": ["cpu"]}),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "deploy"
    found.mkdir()
    return found


def test_files_of_a_folder_are_changed_and_others_are_not_touched(tmp_path: Path, folder: Path) -> None:
    for name in ("a.yaml", "in/b.yml", ".git/c.yaml", "d.txt", "template.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"image: {REPOSITORY}@{OLD}\n")
    (folder / "template.yaml").write_text(f"image: {{{{ .Values.x }}}}{REPOSITORY}\n")
    (folder / "other.yaml").write_bytes(b"image: registry.example.com/else:1\n")
    (folder / "link.yaml").symlink_to(folder / "a.yaml")
    update = find_updates([folder], [release(tmp_path / "dist")])
    assert [file.path.relative_to(folder).as_posix() for file in update.files] == ["a.yaml", "in/b.yml"]
    assert update.notes == [f"{folder / 'template.yaml'} is left as it is: it is not YAML"]
    assert OLD in (folder / "a.yaml").read_text(), "it is only looked at so far"
    write_updates(update)
    assert (folder / "a.yaml").read_text() == f"image: {REPOSITORY}@{DIGEST}\n"
    assert OLD in (folder / ".git/c.yaml").read_text() + (folder / "d.txt").read_text()
    assert find_updates([folder, folder / "a.yaml"], [release(tmp_path / "again")]).files == []


def test_a_file_is_changed_whatever_it_is_called(tmp_path: Path, folder: Path) -> None:
    (folder / "manifest").write_text(f"image: {REPOSITORY}:1\n")
    (file,) = find_updates([folder / "manifest"], [release(tmp_path / "dist")]).files
    assert [(edit.line, edit.old, edit.shown) for edit in file.edits] == [
        (1, f"{REPOSITORY}:1", f"{REPOSITORY}@{DIGEST}")
    ]


def test_several_specs_are_told_apart_by_their_repositories(tmp_path: Path, folder: Path) -> None:
    second = "registry.example.com/risk/scans"
    (folder / "all.yaml").write_text(f"image: {REPOSITORY}:1\n---\nimage: {second}:1\n")
    builds = [release(tmp_path / "dist"), release(tmp_path / "dist", OTHER_DIGEST, second, name="scans")]
    (file,) = find_updates([folder], builds).files
    assert file.text == f"image: {REPOSITORY}@{DIGEST}\n---\nimage: {second}@{OTHER_DIGEST}\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("metadata: {name: iris-cpu}\nimage: R@OLD\n", DIGEST),
        ("metadata: {name: iris-cuda}\nimage: R@OLD\n", OTHER_DIGEST),
        ("image: R:1.0-cuda\n", OTHER_DIGEST),
        ("images:\n- {name: iris-cpu, newName: R, digest: OLD}\n", DIGEST),
        ("services: {iris-cuda: {image: R@OLD}}\n", OTHER_DIGEST),
    ],
)
def test_targets_of_one_repository_are_told_apart_by_names_and_tags(
    tmp_path: Path, folder: Path, text: str, wanted: str
) -> None:
    text = text.replace("OLD", OLD).replace("R", REPOSITORY)
    (folder / "it.yaml").write_text(text)
    (folder / "rest.yaml").write_text(f"- image: {REPOSITORY}:x-cpu\n- image: {REPOSITORY}:x-cuda\n")
    files = {file.path.name: file.text for file in find_updates([folder], two_targets(tmp_path)).files}
    assert wanted in files["it.yaml"]
    assert files["rest.yaml"] == f"- image: {REPOSITORY}@{DIGEST}\n- image: {REPOSITORY}@{OTHER_DIGEST}\n"


def test_the_folder_decides_where_the_file_does_not_say(tmp_path: Path, folder: Path) -> None:
    for name in ("iris-cpu", "iris-cuda"):
        (folder / name).mkdir()
        (folder / name / "x.yaml").write_text(f"image: {REPOSITORY}@{OLD}\n")
    (folder / "iris-cpu/cuda.yaml").write_text(f"image: {REPOSITORY}:1-cuda\n")
    files = {
        file.path.relative_to(folder).as_posix(): file.text
        for file in find_updates([folder], two_targets(tmp_path)).files
    }
    assert DIGEST in files["iris-cpu/x.yaml"]
    assert OTHER_DIGEST in files["iris-cuda/x.yaml"]
    assert OTHER_DIGEST in files["iris-cpu/cuda.yaml"]


def test_another_targets_image_is_left_alone(tmp_path: Path, folder: Path) -> None:
    (folder / "a.yaml").write_text(f"- image: {REPOSITORY}:1-cpu\n- image: {REPOSITORY}:1-cuda\n")
    (file,) = find_updates([folder], two_targets(tmp_path)[:1]).files
    assert file.text == f"- image: {REPOSITORY}@{DIGEST}\n- image: {REPOSITORY}:1-cuda\n"


def test_an_image_that_could_be_of_several_targets_is_told(tmp_path: Path, folder: Path) -> None:
    (folder / "a.yaml").write_text(f"# x\nimage: {REPOSITORY}@{OLD}\n")
    with pytest.raises(SpecError, match="of several targets") as caught:
        find_updates([folder], two_targets(tmp_path)[:1])
    assert str(caught.value.problems[0].where) == f"{folder / 'a.yaml'}:2:1"
    assert caught.value.problems[0].hint.endswith("iris-cpu")


def test_a_build_that_nothing_names_is_told(tmp_path: Path, folder: Path) -> None:
    (folder / "a.yaml").write_text("image: registry.example.com/risk/iris-of-others:1\n")
    with pytest.raises(
        SpecError, match=r"iris, target cpu: nothing in .*deploy names registry\.example\.com/risk/iris"
    ):
        find_updates([folder], [release(tmp_path / "dist")])


def test_what_cannot_be_read_is_told(tmp_path: Path, folder: Path) -> None:
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not text in UTF-8"):
        find_updates([folder / "binary"], [release(tmp_path / "dist")])
    with pytest.raises(SpecError, match="cannot read it: No such file"):
        find_updates([folder / "none"], [release(tmp_path / "more")])
