"""What both sides know is compared, what one lacks is said, and measurements are no difference."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxpack.comparison.differences import Difference, Result, compare_facts
from onnxpack.comparison.facts import Facts, read_report_facts
from onnxpack.comparison.show import describe_result, show_markdown, show_text, summarize
from onnxpack.core.errors import SpecError

GOLDEN = Path(__file__).parents[1] / "golden"
REPORT: dict[str, Any] = json.loads((GOLDEN / "report/full.json").read_text())
HOSTILE = "a|b\\|c`d``<img src=x>\n@someone [x](http://y)\x1b[31m"


def change(path: str, value: Any) -> dict[str, Any]:
    report = copy.deepcopy(REPORT)
    place: Any = report
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in parents:
        place = place[part]
    place[last] = value
    return report


def compare(old: dict[str, Any], new: dict[str, Any]) -> Result:
    return compare_facts(read_report_facts(old, "report", "old.json"), read_report_facts(new, "report", "new.json"))


CASES: list[tuple[str, Any, str, str]] = [
    ("status", "failed", "build", "status"),
    ("model/opset", 18, "model", "opset"),
    ("model/sha256", "0" * 64, "model", "sha256"),
    ("model/nodes/Cast", 2, "operators", "Cast"),
    ("model/weights/int8", 1, "weights", "int8_bytes"),
    ("image/size_bytes", 5, "image", "size_bytes"),
    ("image/digest", "sha256:0", "image", "digest"),
    ("image/layers/1/digest", "sha256:0", "layers", "2 COPY rootfs/runtime/ /"),
    ("image/base/python", "3.12.1", "base", "python"),
    ("packages/0/version", "99", "packages", "httptools"),
    ("packages/0/kept", False, "left out", "httptools"),
    ("gates/image_size", 1, "gates", "image_size"),
    ("image/labels/team", "x", "labels", "team"),
    ("tools/distributions/onnx", "2", "tools", "onnx"),
    ("tools/python", "3.12", "tools", "python"),
]
MEASURED: list[tuple[str, Any, str]] = [
    ("parity/max_abs_diff", 0.5, "agreement"),
    ("evaluation/model", 0.5, "score"),
    ("smoke/latency_p50_seconds", 5.0, "speed"),
    ("smoke/load/points/0/p99_seconds", 5.0, "load"),
]


@pytest.mark.parametrize(("path", "value", "section", "name"), CASES)
def test_one_change_is_one_difference(path: str, value: Any, section: str, name: str) -> None:
    result = compare(REPORT, change(path, value))
    assert [(one.section, one.name) for one in result.differences] == [(section, name)]
    assert result.differs
    assert summarize(result) == "1 difference"


@pytest.mark.parametrize(("path", "value", "section"), MEASURED)
def test_a_measurement_is_shown_and_is_no_difference(path: str, value: Any, section: str) -> None:
    result = compare(REPORT, change(path, value))
    assert {one.section for one in result.differences} == {section}
    assert not result.differs
    assert summarize(result) == "no difference, measurements aside"


def test_the_same_is_no_difference() -> None:
    result = compare(REPORT, copy.deepcopy(REPORT))
    assert (result.changes, result.differences, result.missing, result.differs) == ((), (), (), False)
    assert summarize(result) == "no difference"


def test_a_breaking_change_counts_by_itself() -> None:
    result = compare(REPORT, change("model/inputs/0/dtype", "int8"))
    assert [one.words for one in result.breaking] == ["input 'image' was uint8, and is int8 now"]
    assert result.differs
    assert summarize(result) == "1 breaking change, 0 other differences"


def test_what_one_side_lacks_is_said_and_not_compared() -> None:
    older = {name: value for name, value in REPORT.items() if name not in ("tools", "gates", "smoke", "packages")}
    result = compare(older, REPORT)
    assert not result.differs
    assert result.missing == tuple(("old.json", name) for name in ("packages", "gates", "speed", "load", "tools"))
    image = Facts("image", "i", "", {}, {"labels": {}})
    assert ("i", "inputs and outputs") in compare_facts(image, read_report_facts(REPORT, "report", "r")).missing


def test_two_specs_are_compared_by_their_fields_alone() -> None:
    sides = [Facts("spec", place, "", {}, {"spec": {"opset": n}, "model": {"opset": n}, "gates": {}}) for place, n in
             (("a", 17), ("b", 18))]  # fmt: skip
    assert [one.section for one in compare_facts(*sides).differences] == ["spec"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, True, None, [1], {"a": 1}])
def test_odd_values_are_compared_as_text(value: Any) -> None:
    report = change("tools/distributions", {"onnx": value})
    assert compare(report, copy.deepcopy(report)).differences == ()
    result = compare(REPORT, report)
    assert result.differs
    assert show_text(result, [])


def test_a_side_of_another_form_is_refused() -> None:
    with pytest.raises(SpecError, match="does not describe"):
        compare_facts(Facts("report", "a", "", {"inputs": 5}, {}), Facts("report", "b", "", {"inputs": []}, {}))


@pytest.mark.parametrize(
    ("old", "new", "relative"), [(2, 3, 0.5), (0, 3, None), ("2", 3, None), (1.0, float("inf"), None), (4, 1, -0.75)]
)
def test_a_difference_of_numbers_is_relative(old: Any, new: Any, relative: float | None) -> None:
    assert Difference("image", "size_bytes", old, new).relative == relative


def make_newer() -> dict[str, Any]:
    """Return a report with a bit of everything changed."""
    report = change("model/inputs/0/shape/2", 16)
    report["model"]["axes"]["batch"]["max"] = 32
    report["model"]["outputs"].append({"name": "logits", "dtype": "float32", "shape": ["batch", 10]})
    report |= {"version": "1.1.0"}
    report["model"] |= {"size_bytes": 155_400, "precision": "float32", "sha256": "ab" * 32}
    report["model"]["nodes"] = {"Relu": 2, "Softmax": 1}
    report["image"]["size_bytes"] += 1_000_000
    report["packages"][1]["version"] = "2.5.0"
    report["packages"].pop()
    report["gates"] = {"image_size": 200_000_000, "cold_start": 2.0}
    report["smoke"]["latency_p50_seconds"] = 0.001
    del report["smoke"]["load"]
    report["image"]["labels"]["team"] = "vision"
    return report


@pytest.mark.parametrize("form", ["txt", "md", "json"])
def test_a_comparison_is_shown_as_it_was(form: str, expected: Callable[[Path, str], None]) -> None:
    result, notes = compare(REPORT, make_newer()), ["HEAD~1 has no iris.lock"]
    shows: dict[str, Callable[[], list[str]]] = {
        "txt": lambda: show_text(result, notes),
        "md": lambda: show_markdown(result, notes),
        "json": lambda: [json.dumps(describe_result(result, notes), indent=1)],
    }
    expected(GOLDEN / f"diff/report.{form}", "\n".join(shows[form]()) + "\n")


def test_foreign_text_steers_neither_a_terminal_nor_a_comment() -> None:
    report = change("image/labels", {HOSTILE: HOSTILE}) | {"name": HOSTILE}
    report["model"]["inputs"][0]["name"] = HOSTILE
    result = compare(REPORT, report)
    text = show_text(result, [HOSTILE])
    assert all(line.isprintable() for line in text)
    for line in show_markdown(result, [HOSTILE]):
        assert line.isprintable()
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 5
        bare = line.replace("\\|", "")
        # What is between two equal runs of backticks is code: nothing foreign may stand outside.
        rest = "".join(part for index, part in enumerate(split_code(bare)) if index % 2 == 0)
        assert not {"img", "someone", "http"} & set(rest.replace("<", " ").replace("@", " ").replace(":", " ").split())


def split_code(line: str) -> list[str]:
    """Split a line of markdown into what is outside and inside of code, in turn, as CommonMark does."""
    parts, rest = [], line
    while "`" in rest:
        before, _, after = rest.partition("`")
        run = 1 + len(after) - len(after.lstrip("`"))
        body = after[run - 1 :]
        ends = [index for index in range(len(body)) if body[index : index + run] == "`" * run
                and body[index - 1 : index] != "`" and body[index + run : index + run + 1] != "`"]  # fmt: skip
        assert ends, line
        parts += [before, body[: ends[0]]]
        rest = body[ends[0] + run :]
    return [*parts, rest]


def test_markdown_is_bounded() -> None:
    report = change("image/labels", {f"label{number}": "x" * 1000 for number in range(5000)})
    assert sum(map(len, show_markdown(compare(REPORT, report), []))) < 60_000
