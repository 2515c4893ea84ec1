"""What GitHub Actions reads: no text of a spec or model becomes a command, another output, or markup."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fleet_rows import make_hostile_rows, make_rows

from onnxpack.fleet.github import list_annotations, render_outputs, render_summary
from onnxpack.fleet.rows import Row

_GOLDEN = Path(__file__).parents[1] / "golden/fleet"
_ANNOTATION = re.compile(r"::error file=[^:,\n]+,line=[0-9]+,col=[0-9]+,title=[^:,\n]+::[^\n]+")


def read_outputs(text: str) -> dict[str, str]:
    """Read outputs as the runner does."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, _, end = line.partition("<<")
        value = []
        while (part := next(lines)) != end:
            value.append(part)
        found[name] = "\n".join(value)
    return found


def test_annotations_are_the_golden_ones(expected: Callable[[Path, str], None]) -> None:
    expected(_GOLDEN / "annotations.txt", "\n".join(list_annotations(make_rows(), Path.cwd())) + "\n")


def test_every_annotation_is_one_command_whatever_its_texts(tmp_path: Path) -> None:
    lines = list(list_annotations(make_hostile_rows(), Path.cwd()))
    assert len(lines) == 1
    assert _ANNOTATION.fullmatch(lines[0])
    assert not re.search(r"[\x00-\x1f]", lines[0])
    assert all(_ANNOTATION.fullmatch(line) for line in list_annotations(make_rows(), Path.cwd()))


def test_outputs_are_lists_that_a_workflow_reads() -> None:
    found = read_outputs(render_outputs(make_rows()))
    assert {name: json.loads(text) for name, text in found.items()} == {
        "images": ["iris:1-cpu", "iris:1-cpu"],
        "changed": [{"spec": "specs/iris/spec.yaml", "name": "iris", "target": "cpu", "image": "iris:1-cpu"}],
        "failed": [
            {"spec": "specs/iris/spec.yaml", "name": "iris", "target": "gpu", "stage": "verify"},
            {"spec": "specs/b.yaml", "name": "", "target": "", "stage": "spec"},
        ],
    }


def test_no_text_makes_an_output_of_its_own() -> None:
    first, second = (render_outputs(make_hostile_rows()) for _ in range(2))
    assert set(read_outputs(first)) == {"images", "changed", "failed"}
    assert all(len(text.splitlines()) == 1 for text in read_outputs(first).values())
    assert first.splitlines()[2] != second.splitlines()[2]  # nobody can know the word that ends a value


def test_outputs_and_summary_are_bounded() -> None:
    rows = [replace(row, name="n" * 300) for row in make_rows() for _ in range(5_000)]
    assert all(len(text) <= 500_000 for text in read_outputs(render_outputs(rows)).values())
    summary = render_summary(rows)
    assert len(summary.encode()) < 2**20
    assert summary.endswith("… the rest is in the log\n")
    assert summary.startswith("### 4 specs, 25000 targets")


def test_summary_is_the_golden_one(expected: Callable[[Path, str], None]) -> None:
    expected(_GOLDEN / "summary.md", render_summary(make_rows()))


def test_hostile_texts_are_no_markup_in_the_summary() -> None:
    summary = render_summary(make_hostile_rows())
    assert "<" not in summary
    assert "`" not in summary
    table = [line for line in summary.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {7}
    assert len(table) == 4


def test_nothing_to_tell_is_a_count_alone() -> None:
    rows: list[Row] = []
    assert render_summary(rows).strip() == "### 0 specs&#58; 0 unchanged, 0 built, 0 failed"
    assert json.loads(read_outputs(render_outputs(rows))["images"]) == []
