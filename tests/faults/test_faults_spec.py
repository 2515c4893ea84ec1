"""Hostile text in every field of a spec changes no instruction of the Dockerfile and no statement of the modules."""

import ast
import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx_examples import RELU, make_model

from onnxpack.bundle.render import render_dockerfile, render_module
from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import SpecError
from onnxpack.core.values import OnnxModel, TensorInfo
from onnxpack.pipeline.plan import Plan
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.schema import make_schema
from onnxpack.targets import Versions

SPEC: dict[str, Any] = {
    "onnxpack": 1,
    "name": "hostile",
    "version": "1.0.0",
    "description": "a text",
    "model": {"framework": "onnx", "path": "model.onnx"},
    "inputs": {"x": {"dtype": "float32", "shape": ["n", 4]}, "s": {"dtype": "string", "shape": ["n"]}},
    "outputs": ["y"],
    "dynamic_axes": {"n": {"min": 1, "max": 8}},
    "image": {"labels": {"team": "risk"}, "env": {"LEVEL": "debug"}},
    "targets": {"cpu": {"device": "cpu"}},
}
KEY, ITEM = object(), object()
"""In the place of a field: any key of a mapping itself, and an item of a list."""
LISTS = ("exclude_nodes", "requirements", "choices", "classes", "columns", "preprocess", "postprocess")
INTO_DOCKERFILE = ("description", "image.env.*", "image.labels.*")
"""Fields of free text that reach the Dockerfile."""
NASTY = (
    "a\nRUN touch /hacked", "a\r\nRUN id", 'a"\nRUN id\n"', "\\\nRUN id", 'a" b="c', "a' b='c", "{{ 7 * 7 }}",
    "{% for a in b %}", "{# hidden", "$(id)", "`id`", "${PATH}", "$PATH", "a\\", "a\\\\", "#", "# escape=`", "a # b",
    "<<EOF", "a <<EOF\nRUN id\nEOF", "a=b c=d", "--from=other", '["sh", "-c", "id"]', '"""\nimport os\n"""', "'''",
    "\\N{DIGIT ONE}", "\\x22", "\u2028RUN id", "\x85RUN id", "\x0bRUN id", "\x0cRUN id", "\u202e", "\ufeff", "%s%n",
    "\t", " ", "", "a" * 900, "a" * 2000,
)  # fmt: skip
PIECES = (
    *'"\'\\\n\r\t $`{}%#[]<>=;&|()', "\u2028", "\x85", "RUN ", "ENV ", "FROM ", "{{", "}}", "EOF", "\\\n", "a", "=",
)  # fmt: skip


FieldPath = tuple[Any, ...]


def find_texts(node: dict[str, Any], definitions: dict[str, Any], path: FieldPath = ()) -> Iterator[FieldPath]:
    """Yield the path of every field that may hold a text which is not one of a few words."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    for choice in node.get("anyOf", node.get("oneOf", ())):
        yield from find_texts(choice, definitions, path)
    if node.get("type") == "string" and "enum" not in node and "const" not in node:
        yield path
    for name, field in node.get("properties", {}).items():
        yield from find_texts(field, definitions, (*path, name))
    if isinstance(node.get("additionalProperties"), dict):
        yield (*path, KEY)
        yield from find_texts(node["additionalProperties"], definitions, (*path, ITEM))
    if isinstance(node.get("items"), dict):
        yield from find_texts(node["items"], definitions, (*path, ITEM))


FIELDS = list(dict.fromkeys(find_texts(make_schema(), make_schema()["$defs"])))


def plant(spec: dict[str, Any], path: FieldPath, text: str) -> dict[str, Any]:
    """Return a copy of the spec with a text at a path; what is missing on the way is made."""
    spec = copy.deepcopy(spec)
    here: Any = spec
    for part, after in zip(path, (*path[1:], None), strict=True):
        if part is KEY:
            first = next(iter(here), None)
            here[text] = here.pop(first) if first is not None else text
            return spec
        if part is ITEM and isinstance(here, dict):
            part = next(iter(here), "one")
        elif part is ITEM:
            here[:] = here[:1] or [None]
            part = 0
        if after is None:
            here[part] = text
            return spec
        known = here[part] if isinstance(here, list) or part in here else None
        if not isinstance(known, dict | list):
            here[part] = [] if after is ITEM and part in LISTS else {}
        here = here[part]
    return spec


def dotted(path: FieldPath) -> str:
    return ".".join("<key>" if part is KEY else "*" if part is ITEM else part for part in path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    onnx.save(make_model(RELU), tmp_path / "model.onnx")
    return tmp_path


def read(project: Path, spec: dict[str, Any]) -> SpecFile:
    (project / "spec.yaml").write_text(json.dumps(spec))
    return load(project / "spec.yaml")


def render(file: SpecFile) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of the Dockerfile's instructions, and the kinds of statements of each module."""
    spec, artifact = file.spec, Artifact(file.folder / "model.onnx", "0" * 64)
    outputs = tuple(TensorInfo(name, "float32", ("n", 4)) for name in spec.outputs)
    model = OnnxModel(artifact, "0" * 64, 17, 9, spec.input_infos, outputs, 10, {"Relu": 1})
    plan = Plan(file, next(iter(spec.targets)), file.folder / "dist")
    text = render_dockerfile(plan.docker_view(model, Versions({})))
    modules = render_module(plan.module_view(model))
    return list_instructions(text), {
        name: [type(statement).__name__ for statement in ast.parse(code).body]
        for name, code in modules.items()
        if name.endswith(".py")
    }


def list_instructions(text: str) -> list[str]:
    """Return the first words of a Dockerfile's instructions, as its reference tells them apart."""
    assert "\r" not in text
    assert not text.startswith(("# escape", "# syntax", "#escape", "#syntax"))
    lines = [line for line in text.split("\n") if not line.lstrip(" \t").startswith("#")]
    found, continued = [], False
    for line in lines:
        if line.strip() and not continued:
            found.append(line.split()[0])
        continued = line.rstrip(" \t").endswith("\\") if line.strip() else continued
    return found


def test_fields_that_are_tried_are_all_of_the_schema_that_hold_text() -> None:
    names = {dotted(path) for path in FIELDS}
    assert {"description", "image.labels.*", "image.env.*", "image.env.<key>", "inputs.<key>", "outputs.*"} <= names
    assert {
        "model.path",
        "model.factory",
        "verify.samples",
        "evaluation.labels",
        "targets.<key>",
        "image.base",
    } <= names
    assert len(names) > 30


@pytest.mark.case("Y5")
def test_hostile_text_in_any_field_is_refused_or_changes_no_instruction(
    project: Path, factor: int, count_attacks: Callable[[int], None]
) -> None:
    usual = render(read(project, SPEC))
    assert usual[0].count("COPY") == 2
    assert "RUN" not in usual[0]
    taken: set[str] = set()
    chance = random.Random(3)
    attacks = [(path, text) for path in FIELDS for text in NASTY]
    for _ in range(200 * factor):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 12)))
        attacks.append((chance.choice(FIELDS), text))
    for path, text in attacks:
        try:
            found = render(read(project, plant(SPEC, path, text)))
        except SpecError:  # exit status 2, and there is no Dockerfile
            continue
        taken.add(dotted(path))
        assert found[0] == usual[0], (dotted(path), text)
        if path[0] != "inputs":  # how many inputs there are, and of what axes, is a part of a module
            assert found[1] == usual[1], (dotted(path), text)
    assert taken.issuperset(INTO_DOCKERFILE), "else nothing was tried"
    count_attacks(len(attacks))


@pytest.mark.case("Y5")
def test_a_dockerfile_with_an_unquoted_text_is_found_out(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = render(read(project, SPEC))
    monkeypatch.setattr("onnxpack.bundle.quoting.quote_docker_label", lambda text: text)
    assert render(read(project, plant(SPEC, ("image", "labels", ITEM), "a\nRUN touch /hacked")))[0] != usual[0]
