"""JUnit XML: a suite and a case for each target, in the form of the schema that Jenkins checks by."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fleet_rows import HOSTILE, make_hostile_rows, make_rows

from onnxpack.fleet.junit import render_junit
from onnxpack.fleet.rows import Row

_GOLDEN = Path(__file__).parents[1] / "golden/fleet/junit.xml"
_CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {"skipped", "failure"},
    "property": set(),
    "failure": set(),
    "skipped": set(),
}
"""What junit-10.xsd allows in each element, of what is used here."""
_ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "time", "skipped", "file"},
    "testcase": {"name", "time", "classname"},
    "property": {"name", "value"},
    "failure": {"type", "message"},
    "skipped": {"message"},
    "properties": set(),
}
_TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?")


def test_document_is_the_golden_one(expected: Callable[[Path, str], None]) -> None:
    expected(_GOLDEN, render_junit(make_rows(), 15.0))


@pytest.mark.parametrize("rows", [make_rows(), make_hostile_rows(), []])
def test_document_keeps_to_the_schema(rows: list[Row]) -> None:
    root = ElementTree.fromstring(render_junit(rows, 1234.5))
    assert int(root.get("tests", "")) == len(root.findall("testsuite")) == len(root.findall("*/testcase")) == len(rows)
    assert int(root.get("failures", "")) == len(root.findall("*/testcase/failure"))
    for element in root.iter():
        assert {child.tag for child in element} <= _CHILDREN[element.tag]
        assert set(element.attrib) <= _ATTRIBUTES[element.tag]
        assert _TIME.fullmatch(element.get("time", ""))


def test_hostile_texts_come_out_as_texts() -> None:
    root = ElementTree.fromstring(render_junit(make_hostile_rows(), 1.0))
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in HOSTILE).replace("\ufffe", "\ufffd")
    failure = root.find("*/testcase/failure")
    assert failure is not None
    assert failure.get("message") == shown
    assert (failure.text or "").count(shown) == 3  # where, message and hint; a detail has lines
