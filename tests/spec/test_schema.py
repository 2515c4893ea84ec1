"""The JSON Schema agrees with the decoder on good and bad specs, and every field's example is runnable."""

from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from onnxpack.core.errors import SpecError
from onnxpack.spec.decode import NOT_YET, Decoder, list_fields
from onnxpack.spec.load import load
from onnxpack.spec.model import Spec
from onnxpack.spec.schema import iterate_records, make_schema
from onnxpack.spec.yaml_nodes import parse, parse_plain

ROOT = Path(__file__).resolve().parents[2]
SMALLEST: dict[str, Any] = {
    "onnxpack": 1,
    "name": "a",
    "model": {"framework": "torch", "factory": "package.module:Net"},
    "inputs": {"x": {"dtype": "float32", "shape": [2]}},
}
VALIDATOR = jsonschema.Draft202012Validator(make_schema())


def test_schema_of_the_spec_is_a_json_schema() -> None:
    assert (
        list(jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA).iter_errors(make_schema()))
        == []
    )


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*/spec.yaml")), ids=lambda path: path.parent.name)
def test_the_examples_fit(path: Path) -> None:
    assert list(VALIDATOR.iter_errors(yaml.safe_load(path.read_text()))) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("onnxpack", 2),
        ("name", "Upper"),
        ("inputs", {"x": {"dtype": "float", "shape": [2]}}),
        ("inputs", {"x": {"shape": [2]}}),
        ("model", {"framework": "pytorch"}),
        ("runtime", {"port": 70000}),
        ("runtime", {"prot": 80}),
        ("runtime", {"max_body": "64 parsecs"}),
        ("dynamic_axes", {"n": [1, 2, 3]}),
        ("opset", 99),
        ("version", 1.5),
        ("unknown", 1),
    ],
)
def test_what_the_decoder_refuses_the_schema_refuses(tmp_path: Path, field: str, value: Any) -> None:
    document = SMALLEST | {field: value}
    assert not VALIDATOR.is_valid(document)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(SpecError):
        load(tmp_path / "spec.yaml")


def test_required_fields_may_come_from_a_base() -> None:
    assert not VALIDATOR.is_valid({"onnxpack": 1})
    assert VALIDATOR.is_valid({"onnxpack": 1, "extends": "../base.yaml"})


def example(definition: Any) -> Any:
    return parse_plain(definition.metadata["example"])


def required(kind: Any) -> dict[str, Any]:
    """The fields without a default, each with its example."""
    return {
        name: example(definition)
        for name, (definition, _) in list_fields(kind).items()
        if definition.default is MISSING and definition.default_factory is MISSING
    }


def documents() -> Iterator[Any]:
    """For every field of every record: a document with its example, and what must stand beside it and around it."""
    around = {path: required(kind) for kind, path in iterate_records()}
    for kind, path in iterate_records():
        for name, (definition, _) in list_fields(kind).items():
            document: Any = {**around[path], name: example(definition)}
            for depth in reversed(range(len(path))):
                part = path[depth]
                document = [document] if part == "[]" else {"x" if part == "NAME" else part: document}
                if depth:
                    document = around.get(path[:depth], {}) | document if part != "[]" else document
            yield pytest.param(definition, SMALLEST | document, id=".".join((*path, name)))


@pytest.mark.parametrize(("definition", "document"), list(documents()))
def test_every_field_has_a_doc_and_an_example_that_fits(definition: Any, document: Any) -> None:
    assert definition.metadata["doc"].endswith(".")
    VALIDATOR.validate(document)
    decoder = Decoder()
    decoder.decode(Spec, parse(yaml.safe_dump(document, sort_keys=False), "spec.yaml"))
    assert all(NOT_YET in problem.message for problem in decoder.problems), decoder.problems
