"""``onnxpack manifests``: what it writes, prints and refuses, and what it changes in files that are there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended
from deploying import DIGEST, OTHER_DIGEST, REPOSITORY, write_build

Run = Callable[..., Ended]
IMAGE = f"{REPOSITORY}@{OTHER_DIGEST}"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_build(tmp_path / "dist")


def test_files_are_written_once_and_named_on_stdout(onnxpack: Run, bundle: Path, tmp_path: Path) -> None:
    asked = ("manifests", bundle, "--format", "kustomize", "--output", tmp_path / "deploy")
    first, second = onnxpack(*asked), onnxpack(*asked)
    written = set((tmp_path / "deploy/iris-cpu").iterdir())
    assert (first.code, first.err) == (0, "")
    assert set(map(Path, first.out.splitlines())) == written
    assert len(written) == 7
    assert (second.code, second.out, second.err) == (0, "", f"{tmp_path / 'deploy'}: unchanged\n")


def test_several_forms_have_folders_of_their_own(onnxpack: Run, bundle: Path, tmp_path: Path) -> None:
    ended = onnxpack(
        "manifests", bundle, *("--format", "triton", "--format", "kserve"), "--output", tmp_path / "deploy"
    )
    assert [Path(line).relative_to(tmp_path / "deploy").as_posix() for line in ended.out.splitlines()] == [
        "triton/iris/config.pbtxt",
        "triton/iris/1/model.onnx",
        "kserve/iris-cpu/inferenceservice.yaml",
    ]


def test_a_form_of_one_file_goes_to_stdout(onnxpack: Run, bundle: Path, tmp_path: Path) -> None:
    ended = onnxpack("manifests", bundle, "--format", "helm-values")
    onnxpack("manifests", bundle, "--format", "helm-values", "--output", tmp_path)
    assert ended.code == 0
    assert ended.out == (tmp_path / "iris-cpu/values.yaml").read_text()
    for form in ("kustomize", "triton"):
        ended = onnxpack("manifests", bundle, "--format", form)
        assert (ended.code, ended.out) == (2, "")
        assert "these are several files: say where to by --output DIR" in ended.err


def test_goals_size_the_deployment(onnxpack: Run, bundle: Path) -> None:
    ended = onnxpack("manifests", bundle, "--format", "kserve", "--rate", "50000", "--p99", "500us")
    assert "minReplicas: 9\n" in ended.out
    ended = onnxpack("manifests", bundle, "--format", "kserve", "--p99", "10us")
    assert ended.code == 2
    assert "iris, target cpu: a p99 of 10.0 µs cannot be kept" in ended.err


def test_a_specs_builds_are_found_below_dist(onnxpack: Run, project: Path, tmp_path: Path) -> None:
    for target in ("cpu", "arm"):
        write_build(tmp_path / "builds", name="small", target=target)
    spec = project / "spec.yaml"
    spec.write_text(f"{spec.read_text()}targets: {{cpu: {{}}, arm: {{}}, third: {{}}}}\n")
    asked = ("manifests", spec, "--builds", tmp_path / "builds", "--format", "compose", "--output", tmp_path / "out")
    ended = onnxpack(*asked)
    assert ended.code == 2
    assert f"{tmp_path / 'builds/small/third/report.json'}: there is no report of a build here" in ended.err
    ended = onnxpack(*asked, "--target", "cpu", "--target", "arm")
    assert (ended.code, len(ended.out.splitlines())) == (0, 2)
    ended = onnxpack(*asked, "--target", "gpu")
    assert (ended.code, "there is no target 'gpu'" in ended.err) == (2, True)


def test_an_image_that_was_pushed_by_other_means_is_named(onnxpack: Run, tmp_path: Path) -> None:
    bundle = write_build(tmp_path / "dist", image=None)
    other = write_build(tmp_path / "more")
    ended = onnxpack("manifests", bundle, "--format", "compose")
    assert (ended.code, "was not pushed by its build" in ended.err) == (2, True)
    assert IMAGE in onnxpack("manifests", bundle, "--format", "compose", "--image", IMAGE).out
    ended = onnxpack("manifests", bundle, "--format", "compose", "--image", REPOSITORY)
    assert (ended.code, "has no digest" in ended.err) == (2, True)
    ended = onnxpack("manifests", bundle, other, "--format", "compose", "--image", IMAGE)
    assert (ended.code, "--image is for one build, and 2 are named" in ended.err) == (2, True)


def test_files_that_people_changed_stay_unless_forced(onnxpack: Run, bundle: Path, tmp_path: Path) -> None:
    asked = ("manifests", bundle, "--format", "compose", "--output", tmp_path / "deploy")
    onnxpack(*asked)
    file = tmp_path / "deploy/iris-cpu/compose.yaml"
    file.write_text(mine := file.read_text().replace("8080:8080", "80:8080"))
    ended = onnxpack(*asked, "--image", IMAGE)
    assert (ended.code, ended.out, file.read_text()) == (2, "", mine)
    assert f"{file}: it was changed by hand" in ended.err
    assert onnxpack(*asked, "--force").code == 0
    assert '"8080:8080"' in file.read_text()


def test_update_changes_digests_and_says_which(onnxpack: Run, bundle: Path, tmp_path: Path) -> None:
    onnxpack("manifests", bundle, "--format", "kustomize", "--output", tmp_path / "deploy")
    file = tmp_path / "deploy/iris-cpu/kustomization.yaml"
    before = file.read_text()
    update = ("manifests", bundle, "--image", IMAGE, "--update", tmp_path / "deploy")
    ended = onnxpack(*update, "--check")
    assert (ended.code, ended.out, file.read_text()) == (2, "", before)
    line = before.splitlines().index(f"    digest: {DIGEST}") + 1
    assert f"{file}:{line}:1: here is {DIGEST}, built was {OTHER_DIGEST}" in ended.err
    ended = onnxpack(*update)
    assert (ended.code, ended.out) == (0, f"{file}\n")
    assert ended.err == f"{file}:{line}: {DIGEST} → {OTHER_DIGEST}\n"
    assert file.read_text() == before.replace(DIGEST, OTHER_DIGEST)
    for more in ((), ("--check",)):
        ended = onnxpack(*update, *more)
        assert (ended.code, ended.out, ended.err) == (0, "", "unchanged: all digests are those of the builds\n")
    again = onnxpack("manifests", bundle, "--format", "kustomize", "--output", tmp_path / "deploy")
    assert (again.code, again.out) == (0, f"{file}\n"), "an updated file is not one that a person changed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "choose a form by --format: compose, helm-values, kserve, kustomize, triton; or change files by --update"),
        (("--check", "--format", "compose"), "--check is for --update"),
        (("--update", ".", "--format", "compose"), "--update changes digests alone"),
        (("--update", ".", "--rate", "1"), "--update changes digests alone"),
        (("--format", "compose", "--rate", "0"), "0.0 is not in the range x>0"),
        (("--format", "compose", "--p99", "20"), "'20' is no duration: write 20ms or 0.5s"),
        (("--format", "compose", "--p99", "0ms"), "'0ms' is no duration"),
        (("--format", "nomad"), "'nomad' is not one of"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    onnxpack: Run, bundle: Path, options: tuple[str, ...], words: str
) -> None:
    ended = onnxpack("manifests", bundle, *options)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


def test_notes_tell_what_was_left_out(onnxpack: Run, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"image: {REPOSITORY}:1\n")
    (tmp_path / "b.yaml").write_text(f"{{{{ template }}}}\nimage: {REPOSITORY}:1\n")
    ended = onnxpack("manifests", bundle, "--update", tmp_path / "a.yaml", "--update", tmp_path / "b.yaml")
    assert ended.code == 0
    assert f"note: {tmp_path / 'b.yaml'} is left as it is: it is not YAML\n" in ended.err
