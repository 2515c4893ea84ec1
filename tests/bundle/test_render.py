import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundle_examples import (
    CUDA,
    DECLARED,
    DOCKERFILES,
    IRIS,
    KINDS,
    MODULES,
    ODD,
    TABLE,
    TRANSACTIONS,
    VARIANTS,
    write_modules,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

import onnxpack
from onnxpack.bundle import quoting
from onnxpack.bundle.render import DockerView, ModuleView, render_dockerfile, render_module
from onnxpack.core.errors import SpecError
from onnxpack.core.values import Axis, TensorInfo

NASTY = [
    '"',
    '"""',
    "\\",
    '\\\\"',
    "'''",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "$(id)",
    "${HOME}",
    "a\nRUN evil",
    "#",
    "`id`",
    "",
]
RUFF_RULES = "E,F,W,I,N,UP,B,SIM,RUF,PTH,D,C4,RET"
RUFF_IGNORED = "D105,D107,D203,D205,D212,D213,D301,D401"


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_golden(name: str, golden: Callable[[str, str], None]) -> None:
    for file, text in render_module(MODULES[name]).items():
        golden(f"{name}/{file}", text)


@pytest.mark.parametrize("name", VARIANTS)
def test_modules_of_a_variant_are_golden(name: str, golden: Callable[[str, str], None]) -> None:
    view, base = VARIANTS[name]
    known = render_module(base)
    for file, text in render_module(view).items():
        if text != known.get(file):
            golden(f"{name}/{file}", text)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_are_golden(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}/Dockerfile", render_dockerfile(DOCKERFILES[name]))


@pytest.fixture(params=[*MODULES, *VARIANTS, *KINDS])
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    views = {**MODULES, **KINDS, **{name: view for name, (view, _) in VARIANTS.items()}}
    view = views[request.param]
    write_modules(tmp_path, view)
    return tmp_path


def test_generated_python_is_clean(rendered: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length=110", "--no-cache"]
    rules = [f"--select={RUFF_RULES}", f"--ignore={RUFF_IGNORED}", "--target-version=py311"]
    for command in (["check", *options, *rules], ["format", "--check", *options]):
        done = subprocess.run([*ruff, *command, "."], cwd=rendered, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_generated_python_is_typed(rendered: Path, pytestconfig: pytest.Config) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--disable-error-code=import-untyped", "--config-file="]
    # Models have modules of the same names, which two processes would mix up in one cache.
    cache = pytestconfig.rootpath / ".mypy_cache" / f"generated-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    done = subprocess.run([*command, f"--cache-dir={cache}", "."], cwd=rendered, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_module_holds_nothing_that_its_model_does_not_need() -> None:
    iris, odd, cuda = (render_module(view)["inference.py"] for view in (IRIS, ODD, CUDA))
    assert "cuda" not in iris.lower()
    assert "np.str_" not in iris
    assert "seen" not in iris
    assert "predict_batches" not in odd
    assert "THREADS" not in iris
    assert "def map" in odd
    assert "preload_dlls" in cuda
    tensors = render_module(IRIS)["tensors.py"]
    assert "def read_floats" in tensors
    assert not any(f"def read_{word}" in tensors for word in ("integers", "booleans", "strings"))
    assert "columns.py" not in render_module(ODD)
    assert set(render_module(CUDA)) == {"inference.py", "files.py", "columns.py", "reference.py", "commands.py"}
    assert "records.py" not in render_module(CUDA), "its inputs have three dimensions"
    assert "VECTORS" in render_module(IRIS)["records.py"]
    assert not any(word in render_module(TABLE)["records.py"] for word in ("VECTORS", "FILLS", "datetime"))
    assert {"checks.py", "intake.py"} < set(render_module(DECLARED))
    assert not {"checks.py", "intake.py"} & set(render_module(TABLE))
    assert "def write_table" in render_module(CUDA)["columns.py"]
    assert "grpc" not in "".join(render_module(IRIS).values()).lower()
    served = render_module(replace(CUDA, server="http"))["app.py"]
    assert "run_now" not in served, "a thread that waits for a GPU takes no time of its own"
    fixed = replace(IRIS, inputs=(TensorInfo("x", "string", (2,)),), outputs=(TensorInfo("y", "int64", (2,)),), axes=())
    text = "".join(render_module(fixed).values())
    assert not any(word in text for word in ("AXES", "def convert", "isfinite", "enable_mem_pattern", "read_floats"))


def test_the_batch_axis_is_the_first_of_every_input_and_output() -> None:
    assert IRIS.batch == Axis("batch", 1, 8, 64)
    assert TRANSACTIONS.batch == Axis("batch", 1, 8, 64)
    assert ODD.batch is None
    assert replace(IRIS, outputs=(TensorInfo("y", "float32", (3, "batch")),)).batch is None
    assert replace(IRIS, outputs=(TensorInfo("y", "float32", ()),)).batch is None


@pytest.mark.parametrize(
    "view", [IRIS, replace(TRANSACTIONS, max_body=None, axes=(Axis("batch", 1, 1, 4), Axis("seq", 1, 1, 9)))]
)
def test_largest_body_holds_the_largest_request(view: ModuleView) -> None:
    sizes = {axis.name: axis.max for axis in view.axes}
    inputs = []
    for info in view.inputs:
        shape = [sizes[size] if isinstance(size, str) else size for size in info.shape]
        longest = np.full(shape, -sys.float_info.min if info.dtype == "float32" else -(2**63), object).tolist()
        inputs.append({"name": info.name, "datatype": "FP32", "shape": shape, "data": longest})
    needed = len(json.dumps({"id": "x" * 100, "inputs": inputs}, indent=2))
    assert needed <= view.largest_body < 4 * needed + 2**17
    assert view.max_body_literal == f"{view.largest_body // 1024} * 2**10"


def test_largest_body_is_bounded() -> None:
    assert ODD.largest_body == 64 * 2**20, "a string may be of any length"
    assert replace(IRIS, axes=(Axis("batch", 1, 8, 2**40),)).largest_body == 64 * 2**20
    assert replace(IRIS, max_body=1025).max_body_literal == "1025"
    assert replace(IRIS, max_body=3 * 2**20).max_body_literal == "3 * 2**20"


def test_view_with_a_foreign_dtype_or_undeclared_axis_is_refused() -> None:
    with pytest.raises(SpecError, match="bfloat16"):
        replace(IRIS, inputs=(TensorInfo("x", "bfloat16", (1,)),))
    with pytest.raises(SpecError, match="'seq' is not declared"):
        replace(IRIS, inputs=(TensorInfo("x", "float32", ("seq",)),))


@given(st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=8))
@example(["a b", "a.b", "a_b", "a_b_2", "class", "self", "__x", "1", "", "é", "_", "count"])
def test_identifiers_are_valid_and_differ(names: list[str]) -> None:
    found = quoting.make_identifiers(names, "input", {"self", "Prediction"})
    assert len(set(found)) == len(names)
    for word in found:
        ast.parse(f"def predict(self, Prediction, {word}): pass")
        assert not word.startswith("_")


@given(st.text(max_size=60))
@example("'\"\\\n\x00\ud800")
def test_python_literals_give_back_the_text(text: str) -> None:
    literal = quoting.python_literal(text)
    assert ast.literal_eval(literal) == text
    assert "\n" not in literal


def shape_of_code(text: str) -> list[str]:
    return [type(node).__name__ for node in ast.walk(ast.parse(text))]


def hostile(view: ModuleView, text: str) -> ModuleView:
    inputs = (TensorInfo(text, "float32", ("batch", 4)), *view.inputs[1:])
    return replace(view, name=text, version=text, description=text, inputs=inputs, server="http+grpc")


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_stays_text_in_python(text: str) -> None:
    check_python(text)


@pytest.mark.case("Y5")
@settings(deadline=None, max_examples=30)
@given(st.text(max_size=200))
def test_any_text_stays_text_in_python(text: str) -> None:
    check_python(text)


def check_python(text: str) -> None:
    plain = render_module(replace(hostile(IRIS, "x"), version=text and "x"))  # without a version there are fewer paths
    for file, code in render_module(hostile(IRIS, text)).items():
        code.encode()
        if file.endswith(".py"):
            assert shape_of_code(code) == shape_of_code(plain[file])
    module = ast.parse(render_module(hostile(IRIS, text))["inference.py"]).body
    values = {node.targets[0].id: node.value for node in module if isinstance(node, ast.Assign)}
    assert ast.literal_eval(values["NAME"]) == text
    assert ast.literal_eval(values["VERSION"]) == text
    assert [ast.literal_eval(key) for key in values["INPUTS"].keys] == [text]
    docstring = module[0].value.value
    assert " ".join(text.split()) in " ".join(docstring.split())


def parse_dockerfile(text: str) -> list[tuple[str, str]]:
    """Instructions and their arguments, by Docker's rules for comments and continuation lines."""
    joined, instructions = "", []
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        joined += line
        if joined.rstrip(" \t").endswith("\\"):
            joined = joined.rstrip(" \t")[:-1]
            continue
        name, _, arguments = joined.strip().partition(" ")
        instructions.append((name, arguments))
        joined = ""
    return instructions


def expand(arguments: str) -> dict[str, str]:
    """The pairs of an ENV or LABEL, by Docker's rules for double-quoted words."""
    pairs, index = {}, 0
    while index < len(arguments):
        if arguments[index] in " \t":
            index += 1
            continue
        key, _, _ = arguments[index:].partition("=")
        index += len(key) + 1
        value = ""
        if arguments[index : index + 1] != '"':
            value = arguments[index:].split(" ")[0]
            index += len(value)
        else:
            index += 1
            while arguments[index] != '"':
                assert arguments[index] != "$", "this would be replaced by a variable"
                index += arguments[index] == "\\" and arguments[index + 1] in '"\\$'
                value += arguments[index]
                index += 1
            index += 1
        pairs[key] = value
    return pairs


def check_dockerfile(text: str) -> None:
    view = DockerView("base:1", {"a": text, "b": "end"}, {"A": text, "B": "end"}, (8080,), "http")
    try:
        instructions = parse_dockerfile(render_dockerfile(view))
    except SpecError:
        assert any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in text)
        return
    names = ["FROM", "ENV", "COPY", "COPY", "ENV", "LABEL", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"]
    assert [name for name, _ in instructions] == names
    assert expand(instructions[4][1]) == {"A": text, "B": "end"}
    assert expand(instructions[5][1]) == {"a": " ".join(text.split()), "b": "end"}


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_stays_text_in_a_dockerfile(text: str) -> None:
    check_dockerfile(text)


@pytest.mark.case("Y5")
@settings(deadline=None, max_examples=300)
@given(st.text(max_size=40) | st.text("\"\\$ \n\t{}'a#`", max_size=20))
def test_any_text_stays_text_in_a_dockerfile(text: str) -> None:
    check_dockerfile(text)


@pytest.mark.parametrize("text", ["a\nb", "\x00", "\x1b[0m", "\x85"])
def test_variables_cannot_hold_control_characters(text: str) -> None:
    with pytest.raises(SpecError, match="cannot express"):
        render_dockerfile(DockerView("base", {}, {"A": text}, (), "none"))


def test_labels_fold_white_space() -> None:
    text = render_dockerfile(DockerView("base", {"a": " two\n\nlines\t"}, {}, (), "none"))
    assert 'LABEL a="two lines"' in text


@pytest.mark.parametrize(
    "fault",
    [
        {"base": "a b"},
        {"base": "$X"},
        {"base": ""},
        {"base": "x\nRUN y"},
        {"env": {"A B": ""}},
        {"env": {"1": ""}},
        {"env": {"PYTHONPATH": ""}},
        {"env": {"ORT_DISABLE_TELEMETRY": "0"}},
        {"labels": {"a b": ""}},
        {"labels": {"#": ""}},
        {"labels": {"": ""}},
    ],
    ids=str,
)
def test_what_cannot_be_quoted_is_refused(fault: dict[str, object]) -> None:
    view: dict[str, object] = {"base": "x", "labels": {}, "env": {}, "ports": (), "server": "none"}
    with pytest.raises(SpecError):
        DockerView(**{**view, **fault})


def test_the_image_needs_no_shell() -> None:
    for view in DOCKERFILES.values():
        instructions = parse_dockerfile(render_dockerfile(view))
        assert "RUN" not in dict(instructions)
        for name, arguments in instructions:
            if name in ("ENTRYPOINT", "HEALTHCHECK"):
                assert shlex.split(arguments)[-1].endswith("]"), "the exec form"


def test_templates_are_found_in_an_installed_package(tmp_path: Path) -> None:
    package = Path(onnxpack.__file__).parent
    checkout = package.parent / "templates"
    shutil.copytree(package, tmp_path / "onnxpack", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        checkout if checkout.is_dir() else package / "templates", tmp_path / "onnxpack/templates", dirs_exist_ok=True
    )
    code = "from onnxpack.bundle.render import *; print(render_dockerfile(DockerView('base', {}, {}, (), 'none')))"
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "FROM base\n" in done.stdout, done.stderr
