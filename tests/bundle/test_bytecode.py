"""What is compiled is asked for in the same way for every model, and what comes back goes where an import looks."""

import ast
from pathlib import Path

import pytest
from bundle_examples import MODULES as EXAMPLES

from onnxpack.bundle.bytecode import MODULES, PACKAGES, Bytecode, add_bytecode, make_request
from onnxpack.bundle.render import render_module
from onnxpack.core.errors import GateError
from onnxpack.oci.manifests import EPOCH

LIB = "rootfs/runtime/opt/onnxpack/lib"
APP = "rootfs/model/opt/onnxpack/app"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in (f"{LIB}/numpy/__init__.py", f"{LIB}/numpy/core.so", f"{LIB}/single.py", f"{APP}/server.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return tmp_path


def test_make_request_for_packages_asks_for_them_and_what_any_model_s_modules_import(context: Path) -> None:
    asked = make_request(context, PACKAGES, "sha256:base")
    assert (asked.base, asked.folder) == ("sha256:base", "/opt/onnxpack/lib")
    assert dict(asked.sources) == {"numpy/__init__.py": b"text", "single.py": b"text"}
    assert {"numpy", "single", "encodings.utf_8", "asyncio"} <= set(asked.roots)
    (context / APP / "server.py").write_text("another model's")
    assert make_request(context, PACKAGES, "sha256:base") == asked


def test_make_request_for_modules_asks_for_all_of_them(context: Path) -> None:
    asked = make_request(context, MODULES, "sha256:base")
    assert (asked.folder, asked.roots) == ("/opt/onnxpack/app", ())
    assert dict(asked.sources) == {"server.py": b"text"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_roots_hold_all_that_rendered_modules_import_at_their_top_level(context: Path, example: str) -> None:
    roots = set(make_request(context, PACKAGES, "").roots)
    texts = [text for name, text in render_module(EXAMPLES[example]).items() if name.endswith(".py")]
    for node in (node for text in texts for node in ast.parse(text).body):
        if isinstance(node, ast.ImportFrom):
            assert node.module in roots
        elif isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= roots


def test_add_bytecode_puts_files_into_the_layer_of_their_part(context: Path) -> None:
    add_bytecode(context, PACKAGES, Bytecode({"usr/lib/python3.11/__pycache__/a.cpython-311.pyc": b"1"}))
    add_bytecode(context, MODULES, Bytecode({"opt/onnxpack/app/__pycache__/b.cpython-311.pyc": b"2"}))
    library = context / "rootfs/runtime/usr/lib/python3.11/__pycache__/a.cpython-311.pyc"
    assert library.read_bytes() == b"1"
    assert (context / APP / "__pycache__/b.cpython-311.pyc").read_bytes() == b"2"
    assert {path.stat().st_mtime for path in (library, *library.parents[:3])} == {EPOCH}


@pytest.mark.parametrize(
    "name",
    [
        "opt/onnxpack/lib/a.py",
        "opt/onnxpack/app/model.onnx",
        "/opt/__pycache__/a.pyc",
        "../__pycache__/a.pyc",
        "a/../../__pycache__/a.pyc",
        "a/.../__pycache__/a.pyc",
        "a/__pycache__/..",
        "a/__pycache__/b/c.pyc",
        "a/__pycache__/a.pyc\n",
        "__pycache__/a.pyc",
        "",
    ],
)
def test_add_bytecode_of_anything_else_is_refused(context: Path, name: str) -> None:
    before = sorted(context.rglob("*"))
    with pytest.raises(GateError, match="compiled a module into"):
        add_bytecode(context, PACKAGES, Bytecode({name: b""}))
    assert sorted(context.rglob("*")) == before
