"""``extends`` and ``--set``: what wins, and where a problem is said to be."""

from pathlib import Path

import pytest

from onnxpack.core.errors import SpecError
from onnxpack.spec.load import load

SPEC = """\
onnxpack: 1
name: tiny
model: {framework: torch, factory: "package.module:Net"}
inputs: {x: {dtype: float32, shape: [batch, 4]}}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A Git work tree with a base at its root and a spec in a folder."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "base.yaml").write_text(
        "dynamic_axes: {batch: {min: 1, max: 64}}\nimage: {labels: {team: risk, tier: gold}}\nruntime: {port: 9000}\n"
    )
    write(tmp_path, "extends: ../base.yaml\n")
    return tmp_path


def write(tree: Path, more: str) -> Path:
    path = tree / "models/spec.yaml"
    path.write_text(SPEC + more)
    return path


def problems(path: Path, *settings: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path, settings)
    return [str(problem) for problem in caught.value.problems]


def test_what_the_spec_lacks_comes_from_its_base(tree: Path) -> None:
    spec = load(tree / "models/spec.yaml").spec
    assert spec.dynamic_axes["batch"].max == 64
    assert spec.runtime.port == 9000


def test_mappings_merge_and_everything_else_replaces(tree: Path) -> None:
    spec = load(
        write(tree, "extends: ../base.yaml\nimage: {labels: {tier: iron}}\ndynamic_axes: {batch: [2, 8]}\n")
    ).spec
    assert spec.image.labels == {"tier": "iron", "team": "risk"}
    assert (spec.dynamic_axes["batch"].min, spec.dynamic_axes["batch"].max) == (2, 8)


def test_a_base_may_extend_another(tree: Path) -> None:
    (tree / "company.yaml").write_text("image: {labels: {company: acme, team: none}}\n")
    (tree / "base.yaml").write_text("extends: company.yaml\n" + (tree / "base.yaml").read_text())
    labels = load(tree / "models/spec.yaml").spec.image.labels
    assert labels == {"company": "acme", "team": "risk", "tier": "gold"}


def test_a_problem_names_the_file_that_it_is_in(tree: Path) -> None:
    (tree / "base.yaml").write_text("dynamic_axes: {batch: {min: 1, max: 64}}\nruntime: {prot: 1}\n")
    (problem,) = problems(tree / "models/spec.yaml")
    assert problem.startswith(f"{tree / 'base.yaml'}:2:11: unknown field 'prot'")


def test_duplicates_in_a_base_are_still_found(tree: Path) -> None:
    (tree / "base.yaml").write_text((tree / "base.yaml").read_text() + "runtime: {port: 1}\n")
    assert any("duplicate key 'runtime'" in problem for problem in problems(tree / "models/spec.yaml"))


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("spec.yaml", "extends this file again"),
        ("../../elsewhere.yaml", "is outside the project"),
        ("missing.yaml", "no file"),
        ("[a, b]", "must be a file's path"),
    ],
)
def test_base_that_cannot_be_read_is_refused(tree: Path, reference: str, words: str) -> None:
    (problem,) = problems(write(tree, f"extends: {reference}\n"))
    assert words in problem
    assert "spec.yaml:5:10" in problem


def test_a_circle_of_two_is_refused(tree: Path) -> None:
    (tree / "base.yaml").write_text("extends: models/spec.yaml\n")
    assert "extends this file again" in problems(tree / "models/spec.yaml")[0]


def test_settings_win_and_are_kept(tree: Path) -> None:
    file = load(tree / "models/spec.yaml", ("runtime.port=7", "image.labels.team=ml", 'version="1.10"'))
    assert file.spec.runtime.port == 7
    assert file.spec.image.labels == {"team": "ml", "tier": "gold"}
    assert file.spec.version == "1.10"
    assert file.settings == ("runtime.port=7", "image.labels.team=ml", 'version="1.10"')


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("runtime.prot=7", "did you mean 'port'?"),
        ("runtime.port=high", "'high' is not a whole number"),
        ("runtime", "path.to.field=value"),
        ("=7", "path.to.field=value"),
        ("runtime..port=7", "path.to.field=value"),
        ("name.first=a", "is not a mapping"),
        ("version=1.10", "quote it"),
        ("image.base=[", "not valid YAML"),
        ("name=${USER}", "${…} is not replaced"),
    ],
)
def test_a_bad_setting_is_said_to_be_on_the_command_line(tree: Path, setting: str, words: str) -> None:
    (problem,) = problems(tree / "models/spec.yaml", setting)
    assert words in problem
    assert problem.startswith(f"{tree / 'models/spec.yaml'}: --set {setting}")
