"""The rules across fields, and the files that a spec names (Y6)."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import SMALL

from onnxpack.core.errors import Problem
from onnxpack.spec import checks
from onnxpack.spec.traits import RUNTIME_MAX_OPSET, frameworks

Problems = Callable[[str | bytes], list[Problem]]

TORCH = """\
onnxpack: 1
name: small
model:
  framework: torch
  factory: package.module:Net
inputs:
  x: {dtype: float32, shape: [4]}
"""
PICKLE = SMALL.replace("framework: onnx", "framework: sklearn")


def messages(found: list[Problem]) -> list[str]:
    assert all(problem.where and problem.where.line for problem in found)
    return [problem.message for problem in found]


def told(found: list[Problem]) -> str:
    """The only message."""
    (message,) = messages(found)
    return message


def test_the_small_specs_are_valid(problems: Problems) -> None:
    assert problems(SMALL) == []
    assert problems(TORCH) == []


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("{min: 64, max: 1}", "axis 'batch': min 64 is above max 1"),
        ("[64, 1]", "axis 'batch': min 64 is above max 1"),
        ("{min: 2, opt: 1, max: 64}", "axis 'batch': opt 1 is outside 2 to 64"),
        ("{min: 2, opt: 65, max: 64}", "axis 'batch': opt 65 is outside 2 to 64"),
    ],
)
def test_an_axis_goes_from_min_over_opt_to_max(axes: str, message: str, problems: Problems) -> None:
    assert told(problems(SMALL.replace("{min: 1, max: 64}", axes))) == message


@pytest.mark.parametrize("axes", ["[1, 1]", "{min: 0, max: 1}", "{min: 8, opt: 8, max: 8}", "{max: 9, opt: 1}"])
def test_axis_with_equal_limits_is_valid(axes: str, problems: Problems) -> None:
    assert problems(SMALL.replace("{min: 1, max: 64}", axes)) == []


def test_an_axis_is_declared_and_used(problems: Problems) -> None:
    assert told(problems(SMALL.replace("[batch, 4]", "[4]"))) == "axis 'batch' is used in no shape"
    assert messages(problems(SMALL.replace("[batch, 4]", "[batch, width]"))) == [
        "axis 'width' is not declared in dynamic_axes"
    ]


def test_a_slip_in_an_axis_is_one_problem(problems: Problems) -> None:
    (problem,) = problems(SMALL.replace("[batch, 4]", "[bacth, 4]"))
    assert problem.message == "axis 'bacth' is not declared in dynamic_axes"
    assert problem.hint.startswith("did you mean 'batch'?")


@pytest.mark.parametrize(
    ("dtype", "rest", "message"),
    [
        ("float32", "range: [0, 1], choices: [1]", "range and choices cannot be combined"),
        ("float32", "range: [1, 0]", "a range is two numbers, the lower one first"),
        ("float32", "range: []", "a range is two numbers, the lower one first"),
        ("float32", "range: [0, 1, 2]", "a range is two numbers, the lower one first"),
        ("string", "range: [0, 1]", "a range does not apply to string"),
        ("bool", "range: [0, 1]", "a range does not apply to bool"),
        ("int8", "range: [-129, 0]", "the range does not fit int8"),
        ("uint8", "range: [0, 256]", "the range does not fit uint8"),
        ("uint64", "range: [-1, 1]", "the range does not fit uint64"),
        ("uint64", "range: [0, 18446744073709551616]", "the range does not fit uint64"),
        ("int64", "range: [0, 0.5]", "the range does not fit int64"),
        ("float16", "range: [0, 65505]", "the range does not fit float16"),
        ("float32", "range: [-1.0e+39, 0]", "the range does not fit float32"),
        ("float64", "range: [0, 1.0e+999]", "the range does not fit float64"),
        ("int32", "choices: []", "choices is empty"),
        ("string", "choices: [red, 1]", "1 is no value of dtype string"),
        ("int32", "choices: [1, red]", "'red' is no value of dtype int32"),
        ("int32", "choices: [1, 1.5]", "1.5 is no value of dtype int32"),
        ("int8", "choices: [128]", "128 is no value of dtype int8"),
        ("int8", "choices: [true]", "true is no value of dtype int8"),
        ("bool", "choices: [1]", "1 is no value of dtype bool"),
        ("int64", "integers: true", "integers does not apply to int64"),
        ("float32", "integers: true, choices: [1]", "integers and choices cannot be combined"),
        ("float32", "integers: true, range: [0.2, 0.8]", "there is no whole number from 0.2 to 0.8"),
        ("string", "at_least_one: true", "at_least_one does not apply to string"),
        ("int64", "at_least_one: true, choices: [0]", "at_least_one needs a value other than 0, and none is allowed"),
        ("int64", "at_least_one: true, range: [0, 0]", "at_least_one needs a value other than 0, and none is allowed"),
        ("string", "padding: right", "padding does not apply to string"),
        ("int64", "padding: right, range: [0, 1]", "padding and range cannot be combined"),
        ("float32", "columns: [{range: [0, 1]}]", "columns has 1 item, and the last axis has size 4"),
        (
            "float32",
            "range: [0, 1], columns: [{range: [0, 1]}, {range: [0, 1]}, {range: [0, 1]}, {range: [0, 1]}]",
            "range and columns cannot be combined",
        ),
        (
            "float32",
            "columns: [{range: [0, 1]}, {}, {range: [0, 1]}, {range: [0, 1]}]",
            "a column needs a range or choices",
        ),
        (
            "int8",
            "columns: [{range: [0, 1]}, {choices: [900]}, {range: [0, 1]}, {range: [0, 1]}]",
            "900 is no value of dtype int8",
        ),
    ],
)
def test_samples_fit_their_dtype(dtype: str, rest: str, message: str, problems: Problems) -> None:
    text = SMALL.replace("dtype: float32, shape: [batch, 4]", f"dtype: {dtype}, shape: [batch, 4], {rest}")
    assert told(problems(text)) == message


@pytest.mark.parametrize(
    ("dtype", "rest"),
    [
        ("uint64", "range: [0, 18446744073709551615]"),
        ("int64", "range: [-9223372036854775808, 9223372036854775807]"),
        ("int8", "range: [-128, 127]"),
        ("int8", "range: [3, 3]"),
        ("float32", "range: [-1.0e+38, 1.0e+38]"),
        ("float32", "choices: [1, 0.5]"),
        ("bool", "choices: [true]"),
        ("string", 'choices: [red, "1", ""]'),
        ("uint8", "choices: [0, 255]"),
    ],
)
def test_the_limits_of_a_dtype_fit(dtype: str, rest: str, problems: Problems) -> None:
    assert (
        problems(SMALL.replace("dtype: float32, shape: [batch, 4]", f"dtype: {dtype}, shape: [batch, 4], {rest}")) == []
    )


def test_names_are_used_once(problems: Problems) -> None:
    assert messages(problems(SMALL + "outputs: [y, x, y]\n")) == [
        "the name 'x' is used twice",
        "the name 'y' is used twice",
    ]


def test_there_are_inputs_and_targets(problems: Problems) -> None:
    assert messages(problems(TORCH.replace("  x: {dtype: float32, shape: [4]}", "  {}") + "targets: {}\n")) == [
        "inputs is empty",
        "targets is empty",
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (SMALL, "factory: package.module:Net", "model.factory does not apply to onnx"),
        (SMALL, "kwargs: {}", "model.kwargs does not apply to onnx"),
        (SMALL, "exporter: dynamo", "model.exporter does not apply to onnx"),
    ],
)
def test_each_framework_has_its_fields(text: str, line: str, message: str, problems: Problems) -> None:
    (problem,) = problems(text.replace("model:\n", f"model:\n  {line}\n"))
    assert problem.message == message
    assert problem.hint.startswith("remove it: onnx takes ")


def test_sha256_without_a_file_is_refused(problems: Problems) -> None:
    (problem,) = problems(TORCH.replace("model:\n", f"model:\n  sha256: {'0' * 64!r}\n"))
    assert problem.message == "model.sha256 is set, and no file"
    assert problem.where
    assert problem.where.line == 4


def test_each_framework_needs_its_source(problems: Problems) -> None:
    assert told(problems(TORCH.replace("  factory: package.module:Net\n", ""))) == "model.factory is missing"
    for framework in ("onnx", "sklearn"):
        text = SMALL.replace("onnx\n", f"{framework}\n", 1).replace("  path: model.onnx\n", "")
        assert told(problems(text)) == "model.path is missing"


def test_weights_and_their_key(problems: Problems, project: Path) -> None:
    (project / "w.safetensors").touch()
    (project / "w.pt").touch()
    (project / "w.h5").touch()

    def with_model(*lines: str) -> list[str]:
        more = "".join(f"  {line}\n" for line in lines)
        return messages(problems(TORCH.replace("  factory", f"{more}  factory")))

    assert with_model("weights: w.pt", "weights_key: a.b") == []
    assert with_model("weights: w.safetensors") == []
    assert with_model("weights: w.safetensors", "weights_key: a") == []
    assert with_model("weights_key: a") == ["weights_key needs weights"]
    assert with_model("weights: w.h5") == ["cannot tell the format of 'w.h5'"]
    remote = ("weights: https://a.example/w.index.json", f"sha256: {'0' * 64!r}")
    assert with_model(*remote) == ["one file is fetched, not the shards of an index"]


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_weights_of_none_are_no_file(framework: str, problems: Problems) -> None:
    text = TORCH.replace("framework: torch", f"framework: {framework}\n  weights: none")
    assert problems(text) == []
    digest = f"sha256: {'0' * 64!r}"
    assert told(problems(text.replace("weights:", f"{digest}\n  weights:"))) == ("model.sha256 is set, and no file")


def test_weights_of_none_have_no_key_and_no_whole_model(problems: Problems, project: Path) -> None:
    text = TORCH.replace("framework: torch", "framework: torch\n  weights: none")
    assert told(problems(text.replace("weights:", "weights_key: a\n  weights:"))) == "weights_key needs weights"
    (project / "m.pt").write_bytes(b"m")
    digest = hashlib.sha256(b"m").hexdigest()
    whole = text.replace("factory: package.module:Net", f"path: m.pt\n  sha256: {digest!r}")
    assert told(problems(whole)) == "model.weights and model.path cannot be combined"


@pytest.mark.parametrize(
    ("model", "highest"),
    [
        ("exporter: torchscript", frameworks()["torch"].exporter_opsets["torchscript"]),
        ("exporter: dynamo", RUNTIME_MAX_OPSET),
        ("weights: none", RUNTIME_MAX_OPSET),  # an exporter that is left out may be dynamo
    ],
)
def test_an_exporter_has_its_highest_opset(model: str, highest: int, problems: Problems) -> None:
    text = TORCH.replace("model:\n", f"model:\n  {model}\n")
    assert problems(f"{text}opset: {highest}\n") == []
    message = told(problems(f"{text}opset: {highest + 1}\n"))
    assert message in (f"torchscript makes opset {highest} at most", f"opset: {highest + 1} is outside 7 to {highest}")


def test_opset_above_that_of_skl2onnx_is_refused(problems: Problems, project: Path) -> None:
    digest = hashlib.sha256((project / "model.onnx").read_bytes()).hexdigest()
    text = PICKLE.replace("  path: model.onnx\n", f'  path: model.onnx\n  sha256: "{digest}"\n')
    assert problems(f"{text}opset: {frameworks()['sklearn'].max_opset}\n") == []
    assert told(problems(f"{text}opset: {frameworks()['sklearn'].max_opset + 1}\n")).startswith("sklearn makes opset")


def outside(project: Path) -> Path:
    path = project.parent / "outside.onnx"
    path.write_bytes(b"")
    return path


def with_path(path: object) -> str:
    return SMALL.replace("path: model.onnx", f'path: "{path}"')


@pytest.mark.case("Y6")
def test_path_outside_the_project_is_refused(problems: Problems, project: Path) -> None:
    path = outside(project)
    (project / "link.onnx").symlink_to(path)
    (project / "folder").symlink_to(project.parent)
    (project / "dangling.onnx").symlink_to("/nowhere/model.onnx")
    (project / "upwards.onnx").symlink_to("../outside.onnx")
    out = "is outside the project"
    for name in ("../outside.onnx", "link.onnx", "upwards.onnx", "folder/outside.onnx", "x/../../outside.onnx"):
        assert told(problems(with_path(name))) == f"'{name}' {out}"
    for missing in ("../missing.onnx", "dangling.onnx", "/etc/missing"):
        assert told(problems(with_path(missing))) == f"'{missing}' {out}", "nobody learns what is there"
    assert told(problems(with_path(path))).endswith(out)


def test_inside_paths_may_be_absolute_or_links(problems: Problems, project: Path) -> None:
    (project / "link.onnx").symlink_to("model.onnx")
    for name in (project / "model.onnx", "link.onnx", "./model.onnx", f"../{project.name}/model.onnx"):
        assert problems(with_path(name)) == []


def test_the_git_work_tree_is_the_project(problems: Problems, project: Path) -> None:
    outside(project)
    (project.parent / ".git").touch()  # a file in a linked work tree, else a folder
    assert problems(with_path("../outside.onnx")) == []
    assert "is outside" in told(problems(with_path("../../outside.onnx")))


@pytest.mark.case("Y6")
def test_path_to_no_regular_file_is_refused(problems: Problems, project: Path) -> None:
    os.mkfifo(project / "fifo")
    (project / "folder").mkdir()
    (project / "loop").symlink_to("loop")
    for name in ("fifo", "folder", "folder/", "."):
        assert told(problems(with_path(name))) == f"'{name}' is not a regular file"
    assert told(problems(with_path("missing.onnx"))) == "cannot read 'missing.onnx': No such file or directory"
    assert told(problems(with_path("loop"))) == "cannot read 'loop': Too many levels of symbolic links"
    assert told(problems(with_path("model.onnx/x"))) == "cannot read 'model.onnx/x': Not a directory"
    assert told(problems(with_path("x" * 300))).endswith("…': File name too long")


def test_path_with_control_characters_is_refused(problems: Problems) -> None:
    for name in ("a\\0b", "a\\nb", "a\\u001b[31mb", ""):
        assert "is not a file's path" in told(problems(with_path(name)))


@pytest.mark.case("Y6")
def test_every_field_that_names_a_file_is_checked(problems: Problems) -> None:
    text = TORCH.replace("factory: package.module:Net", 'factory: "a.py:Net"\n  prepare: "b.py:f"\n  weights: c.pt')
    assert [message.split("'")[1] for message in messages(problems(f"{text}verify: {{samples: d.npz}}\n"))] == [
        *("a.py", "b.py", "c.pt", "d.npz")
    ]


def test_a_file_that_can_run_code_needs_its_digest(problems: Problems, project: Path) -> None:
    digest = hashlib.sha256((project / "model.onnx").read_bytes()).hexdigest()
    (problem,) = problems(PICKLE)
    assert "can run any code in it, so its digest is required" in problem.message
    assert problem.hint.endswith(f"sha256: {digest}")

    def with_digest(text: str) -> str:
        return PICKLE.replace("  path: model.onnx\n", f'  path: model.onnx\n  sha256: "{text}"\n')

    assert problems(with_digest(digest)) == []
    (problem,) = problems(with_digest("0" * 64))
    assert "is not the file that the spec trusts" in problem.message
    assert digest in problem.message
    assert problem.where
    assert problem.where.line == 6
    for text in (digest[:-1], digest.upper(), f"sha256:{digest}"):
        assert "is not 64 lower-case hex digits" in told(problems(with_digest(text)))


def test_an_onnx_file_may_have_a_digest(problems: Problems) -> None:
    text = SMALL.replace("  path: model.onnx\n", f'  path: model.onnx\n  sha256: "{"0" * 64}"\n')
    assert "is not the file that the spec trusts" in told(problems(text))


def test_a_file_that_may_not_be_read_is_a_problem_of_the_spec(
    problems: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checks, "digest_large_file", refused)
    assert told(problems(PICKLE)) == "cannot read 'model.onnx': Permission denied"


@pytest.mark.parametrize(
    ("shape", "words"), [("[4, batch]", "the last axis is 'batch'"), ("[]", "the input has no axis")]
)
def test_columns_need_a_last_axis_of_fixed_size(shape: str, words: str, problems: Problems) -> None:
    text = SMALL.replace("[batch, 4]}", f"{shape}, columns: [{{range: [0, 1]}}]}}")
    assert f"columns need a last axis of fixed size, and {words}" in messages(problems(text))


def test_random_false_needs_samples(problems: Problems) -> None:
    text = SMALL + "verify: {random: false}\n"
    assert told(problems(text)) == "verify.random is false, and there are no samples to compare"
