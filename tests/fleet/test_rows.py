"""What a person is told of many builds: how many, and a table of what is worth a line."""

from pathlib import Path

from fleet_rows import make_document, make_rows

from onnxpack.core.errors import Location, Problem
from onnxpack.core.text import format_table
from onnxpack.fleet.job import Outcome
from onnxpack.fleet.rows import Row, count_rows, list_cells, place_problem


def test_count_names_every_state_and_those_not_built_only_where_there_are_some() -> None:
    done = [Row(Path(f"{number}.yaml"), outcome=Outcome(number, "unchanged", {})) for number in range(19)]
    done.append(Row(Path("19.yaml"), outcome=Outcome(19, "built", {})))
    assert count_rows(done) == "20 specs: 19 unchanged, 1 built, 0 failed"
    assert count_rows(make_rows()) == "4 specs, 5 targets: 1 unchanged, 1 built, 2 failed, 1 not built"


def test_table_has_what_was_built_or_failed() -> None:
    assert format_table(list_cells(make_rows()), right=(3, 4)) == [
        "spec                  target  outcome           time     size  image",
        "specs/iris/spec.yaml  cpu     built           12.3 s  93.7 MB  iris:1-cpu",
        "specs/iris/spec.yaml  gpu     failed: verify   3.0 s",
        "specs/b.yaml                  failed: spec",
    ]
    assert list_cells([Row(Path("a"), outcome=Outcome(0, "unchanged", {}))]) == []


def test_size_is_the_models_where_no_image_was_built_and_its_result_is_no_image() -> None:
    row = Row(Path("a"), "a", "cpu", Outcome(0, "built", make_document(image=None), "/dist/a/cpu/context"))
    assert (row.size, row.image) == ("21.2 kB", "")


def test_place_is_that_of_the_problem_else_the_specs_first_line(tmp_path: Path) -> None:
    row = Row(tmp_path / "a/spec.yaml")
    assert place_problem(row, Problem("x"), tmp_path) == ("a/spec.yaml", 1, 1)
    there = Problem("x", where=Location(str(tmp_path / "b.yaml"), 4, 2))
    assert place_problem(row, there, tmp_path) == ("b.yaml", 4, 2)
    elsewhere = Problem("x", where=Location("/usr/lib/model.py", 4, 2))
    assert place_problem(row, elsewhere, tmp_path) == ("a/spec.yaml", 1, 1)
    unreadable = Problem("x", where=Location("a\0b", 4, 2))
    assert place_problem(row, unreadable, tmp_path) == ("a/spec.yaml", 1, 1)
