"""Free text comes out of a document as it went in."""

import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onnxpack.deploy.render import indent_block, quote_protobuf, quote_yaml, render

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
def test_a_text_in_yaml_is_read_as_it_was(text: str) -> None:
    quoted = quote_yaml(text)
    assert "\n" not in quoted
    assert yaml.safe_load(f"a: {quoted}\n") == {"a": text}


@given(TEXTS)
def test_a_text_of_protobuf_is_read_as_it_was(text: str) -> None:
    from triton_config import read_config

    quoted = quote_protobuf(text)
    assert "\n" not in quoted
    assert read_config(f"name: {quoted}").name == text


def test_lines_are_indented_without_the_breaks_around_them() -> None:
    assert indent_block("\na:\n  b\n\n", 2) == "  a:\n    b"


def test_a_name_that_a_template_misspells_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("service.yaml")
