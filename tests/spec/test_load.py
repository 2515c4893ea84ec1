"""A whole spec: all problems at once (Y7), and the same value again from JSON."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from command_line import SMALL
from hypothesis import given
from hypothesis import strategies as st

from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.spec.decode import Decoder
from onnxpack.spec.load import SpecFile, find_work_tree, load, to_plain
from onnxpack.spec.model import Spec
from onnxpack.spec.yaml_nodes import from_plain

SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*/spec.yaml"))
Problems = Callable[[str | bytes], list[Problem]]

SEVERAL = """\
onnxpack: 1
name: Several
versoin: "1.0"
model: {framework: onnx, path: missing.onnx}
inputs:
  x: {dtype: float32, shape: [batch, 4]}
dynamic_axes:
  batch: {min: 64, max: 1}
outputs: [x]
image: {python: 3.11}
name: again
targets: {cpu: {device: tpu}}
"""


def test_the_examples_are_there() -> None:
    wanted = {"boosted", "digits", "iris", "keras", "lightning", "passengers", "spam", "timm", "torchvision",
              "transactions", "transformers"}  # fmt: skip
    assert wanted <= {path.parent.name for path in SPECS}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parent.name)
def test_an_example_is_valid_and_the_same_again_from_json(path: Path) -> None:
    file = load(path)
    assert file.spec.name == path.parent.name
    assert file.path == path
    assert file.folder == path.parent
    assert file.resolve("spec.yaml") == path
    assert SpecFile.from_json(file.to_json()) == file


@pytest.mark.case("Y7")
def test_all_problems_are_told_at_once_each_once_in_order(problems: Problems) -> None:
    found = problems(SEVERAL)
    assert [(problem.where.line, problem.message.split(":")[0]) for problem in found if problem.where] == [
        (2, "name"),
        (3, "unknown field 'versoin'"),
        (4, "cannot read 'missing.onnx'"),
        (8, "axis 'batch'"),
        (9, "the name 'x' is used twice"),
        (10, "image.python must be text, and 3.11 is not"),
        (11, "duplicate key 'name'"),
        (12, "targets.cpu.device"),
    ]
    assert len({(problem.where, problem.message) for problem in found}) == len(found)


def test_a_field_that_is_wrong_starts_no_other_complaint(problems: Problems) -> None:
    for wrong in ("dynamic_axes: 3\n", "inputs: {x: {dtype: flt, shape: [rows]}}\n", "model: {framework: onnx}\n"):
        key = wrong.partition(":")[0]
        kept = [line for line in SMALL.splitlines(keepends=True) if not line.startswith(" ")]
        parts = {
            "model": "model: {framework: onnx, path: model.onnx}\n",
            "inputs": "inputs: {x: {dtype: bool, shape: [a]}}\n",
            "dynamic_axes": "dynamic_axes: {a: [1, 2]}\n",
        }
        text = "".join(kept[:2]) + "".join((parts | {key: wrong}).values())
        assert len(problems(text)) == 1, problems(text)


def test_the_error_reads_as_its_problems(project: Path) -> None:
    path = project / "spec.yaml"
    path.write_text("onnxpack: 2\n" + SMALL.partition("\n")[2] + "opset: 1\n")
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}:1:11: onnxpack must be 1, not 2 (set `onnxpack: 1`)\n{path}:10:8: opset: 1 is outside 7 to 26"
    )


def test_the_work_tree_is_the_nearest_around(tmp_path: Path) -> None:
    deep = tmp_path / "a/b"
    deep.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    assert find_work_tree(deep) == tmp_path
    (tmp_path / "a/.git").write_text("gitdir: elsewhere\n")
    assert find_work_tree(deep) == tmp_path / "a"


def test_a_spec_reached_through_a_link_has_its_own_folder(project: Path) -> None:
    link = project.parent / "link.yaml"
    link.symlink_to(project / "spec.yaml")
    assert load(link).folder == project


def test_the_plain_form_leaves_defaults_out(project: Path) -> None:
    plain = to_plain(load(project / "spec.yaml").spec)
    assert plain["model"] == {"framework": "onnx", "path": "model.onnx"}
    assert plain["inputs"] == {"x": {"dtype": "float32", "shape": ["batch", 4]}}
    assert plain["dynamic_axes"] == {"batch": {"max": 64}}
    assert "version" not in plain
    assert json.loads(json.dumps(plain)) == plain


def test_two_spellings_of_one_spec_have_one_plain_form(project: Path) -> None:
    path = project / "spec.yaml"
    first = to_plain(load(path).spec)
    path.write_text(
        SMALL.replace("{min: 1, max: 64}", "[1, 64]") + 'description: ""\ntargets: {cpu: {device: "cpu"}}\n'
    )
    assert to_plain(load(path).spec) == first
    path.write_text(SMALL + "opset: 17\n")
    assert to_plain(load(path).spec) != first


ARGUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**39) + 1, 10**39 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text("ab<1", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
WORDS = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@st.composite
def plain_specs(draw: st.DrawFn) -> dict[str, Any]:
    """Valid specs as JSON values."""
    axes = draw(st.dictionaries(WORDS.map(lambda word: word.replace("-", "_")), st.integers(1, 99), max_size=3))
    names = draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=4, unique=True))
    sizes = st.integers(0, 2**31 - 1) | (st.sampled_from(sorted(axes)) if axes else st.nothing())
    tensors = st.fixed_dictionaries(
        {"dtype": st.sampled_from(["float32", "int64"]), "shape": st.lists(sizes, max_size=4)},
        optional={"range": st.just([0, 2**53 + 1]), "choices": st.just([1, 2])},
    )
    spec = {
        "onnxpack": 1,
        "name": draw(WORDS),
        "description": draw(TEXTS),
        "model": {
            "framework": "torch",
            "factory": "m:F",
            "kwargs": draw(st.dictionaries(TEXTS, ARGUMENTS, max_size=3)),
        },
        "inputs": {name: draw(tensors) for name in names[:3]},
        "dynamic_axes": {axis: {"min": 1, "max": size} for axis, size in axes.items()},
        "outputs": names[3:],
        "verify": {"rtol": draw(st.floats(0, 1)), "seed": draw(st.integers(0, 2**32 - 1))},
        "runtime": {"warmup": draw(st.booleans()), "max_body": draw(st.integers(1024, 2**40))},
        "image": {"labels": {"text": draw(TEXTS)}, "env": {"A": draw(TEXTS)}},
    }
    return {key: value for key, value in spec.items() if key not in draw(st.sets(st.sampled_from(["verify", "image"])))}


@given(plain_specs())
def test_any_spec_is_the_same_again_from_json(plain: dict[str, Any]) -> None:
    decoder = Decoder()
    spec = decoder.decode(Spec, from_plain(plain, Location("spec.yaml")))
    assert not decoder.problems
    file = SpecFile(spec, Path("/project/spec.yaml"), Path("/project"))
    again = SpecFile.from_json(file.to_json())
    assert again == file
    assert repr(again.spec) == repr(spec)  # 1 and 1.0 and True are equal, but not the same
    assert to_plain(again.spec) == to_plain(spec)


def test_what_json_cannot_say_never_gets_into_a_spec(problems: Problems) -> None:
    for text in ("1e999", "-1e999", ".inf", ".nan"):
        torch = SMALL.replace(
            "framework: onnx\n  path: model.onnx", f"framework: torch\n  factory: a.b:C\n  kwargs: {{a: {text}}}"
        )
        assert len(problems(torch)) == 1
    assert not math.isfinite(float("1e999"))


def test_json_that_is_no_spec_is_a_spec_error(project: Path) -> None:
    data = json.loads(load(project / "spec.yaml").to_json())
    del data["spec"]["name"]
    with pytest.raises(SpecError, match="'name' is missing"):
        SpecFile.from_json(json.dumps(data))


def test_what_a_child_gets_is_all_of_the_spec() -> None:
    known = {definition.name for definition in fields(Spec)}
    assert set(to_plain(load(SPECS[0]).spec)) <= known


@pytest.mark.parametrize(
    "reference", ['"a\\0b"', "loop.yaml", ".", "fifo.yaml", "/etc/hostname", "missing.yaml", "[a]"]
)
def test_what_cannot_be_extended_is_a_problem_at_its_place(reference: str, problems: Problems, project: Path) -> None:
    (project / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(project / "fifo.yaml")
    (problem,) = problems(f"{SMALL}extends: {reference}\n")
    assert problem.where == Location("spec.yaml", 10, 10)


def test_a_long_chain_of_bases_is_refused(problems: Problems, project: Path) -> None:
    for number in range(1500):
        (project / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    (problem,) = problems(f"{SMALL}extends: 0.yaml\n")
    assert "files extend each other" in problem.message


def test_spec_with_durations_and_sizes_is_the_same_again_from_json(project: Path) -> None:
    (project / "spec.yaml").write_text(f"{SMALL}gates: {{cold_start: 2s, latency_p50: 250us, image_size: 1.5GB}}\n")
    file = load(project / "spec.yaml")
    assert SpecFile.from_json(file.to_json()).spec == file.spec
