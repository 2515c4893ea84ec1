"""JUnit XML of what became of builds, as CI systems show it: a suite for each target, with one case.

The form is that of the schema that Jenkins checks by, whose cases have no properties, and its suites do: so the stages'
times are those of the suite.
"""

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

from onnxpack.core.errors import Problem
from onnxpack.core.text import make_printable
from onnxpack.fleet.rows import Row


def render_junit(rows: Sequence[Row], seconds: float) -> str:
    """Return the document; ``seconds`` is what the command took on the clock."""
    states = Counter(row.ended.state for row in rows)
    root = ElementTree.Element(
        "testsuites", name="onnxpack build", tests=str(len(rows)), failures=str(states["failed"]), errors="0",
        time=_format_seconds(seconds),
    )  # fmt: skip
    for row in rows:
        root.append(_make_suite(row))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _make_suite(row: Row) -> ElementTree.Element:
    state, time = row.ended.state, _format_seconds(row.ended.seconds)
    suite = ElementTree.Element(
        "testsuite", name=_clean(row.label), tests="1", failures=str(int(state == "failed")), errors="0",
        skipped=str(int(state == "cancelled")), time=time, file=_clean(str(row.spec)),
    )  # fmt: skip
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _list_properties(row):
        ElementTree.SubElement(properties, "property", name=_clean(name), value=_clean(value))
    case = ElementTree.SubElement(
        suite, "testcase", name=_clean(row.target or row.label), classname=_clean(row.name or str(row.spec)), time=time
    )
    if state == "failed":
        problems = row.problems
        failure = ElementTree.SubElement(
            case, "failure", type=_clean(row.stage), message=_clean("; ".join(problem.message for problem in problems))
        )
        failure.text = _clean("\n\n".join(map(_describe, problems)))
    elif state == "cancelled":
        ElementTree.SubElement(case, "skipped", message="the command ended before it was built")
    return suite


def _list_properties(row: Row) -> list[tuple[str, str]]:
    """Return the outcome, the image and the memory of a target, and the seconds of its stages."""
    found: list[tuple[str, str]] = [("outcome", row.ended.state)]
    found += [("image", row.image)] if row.image else []
    found += [("peak_bytes", str(row.ended.peak_bytes))] if row.ended.peak_bytes else []
    for stage in row.ended.document.get("stages") or ():
        name = f"{stage['name']} {stage['of']}".strip()
        found.append((f"seconds: {name}", "unchanged" if stage["cached"] else _format_seconds(stage["seconds"])))
    return found


def _describe(problem: Problem) -> str:
    lines = [f"{problem.where}: {problem.message}" if problem.where else problem.message]
    lines += [f"→ {problem.hint}"] if problem.hint else []
    return "\n".join([*lines, *problem.detail.splitlines()])


def _clean(text: str) -> str:
    """Return a text without what XML cannot hold: control characters, halves of pairs, and two that Unicode keeps."""
    return make_printable(text).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
