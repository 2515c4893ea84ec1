"""What the templates use of packages: the names that decide what an image has of these."""

import ast
import re
import sys
from pathlib import Path

import pytest
from bundle_examples import MODULES, TEXTS, VARIANTS

from onnxpack.bundle import templates
from onnxpack.bundle.layer import Root
from onnxpack.bundle.render import list_template_roots, render_module, render_step_modules

VIEWS = (*MODULES.values(), *(view for view, _ in VARIANTS.values()))
TEMPLATE = """\
import json
import numpy as np
from near import far
from pkg.part import (
{% if x %}
    import lazy.deep
    return np.lib.format.magic(lazy.deep.value, ok.np.no)
"""


def test_every_package_that_a_rendered_module_imports_is_a_root() -> None:
    for view in VIEWS:
        roots = {root.name for root in list_template_roots(render_step_modules(view))}
        modules = render_module(view)
        own = {name.removesuffix(".py") for name in modules}
        for name, text in modules.items():
            if name.endswith(".py"):
                imported = {name for node in ast.walk(ast.parse(text)) for name in list_modules(node)}
                assert {one for one in imported if one.partition(".")[0] not in own | sys.stdlib_module_names} <= roots


def test_only_images_that_take_pictures_or_texts_need_what_reads_them() -> None:
    texts = render_step_modules(TEXTS)
    without, with_texts = ({one.name.partition(".")[0] for one in list_template_roots(steps)} for steps in ({}, texts))
    assert not {"PIL", "tokenizers"} & without
    assert {"PIL", "tokenizers"} & with_texts == {"tokenizers"}


def list_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_roots_name_the_module_that_runs_the_model_first() -> None:
    roots = {root.name: root.user for root in list_template_roots()}
    assert roots["numpy"] == roots["onnxruntime"] == "app/inference.py"
    assert roots["httptools.HttpRequestParser"] == "app/connection.py"
    assert not {name for name in roots if re.match(r"(json|files|inference)\b", name)}


def test_uses_are_found_in_what_is_no_python_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "near.py.j2").write_text(TEMPLATE)
    monkeypatch.setattr(templates, "list_folders", lambda: [tmp_path])
    assert list_template_roots() == tuple(
        Root(name, "app/near.py")
        for name in ("lazy.deep", "lazy.deep.value", "numpy", "numpy.lib.format.magic", "pkg.part")
    )
