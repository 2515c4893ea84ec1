"""Every fault that must be survived has a test that carries its name."""

from pathlib import Path

from fault_cases import CASES, find_marked

TESTS = Path(__file__).parents[1]


def test_every_case_is_named_by_a_test_and_no_test_names_another() -> None:
    marked = find_marked(TESTS)
    assert sorted(set(CASES) - set(marked)) == [], "these have no test"
    assert sorted(set(marked) - set(CASES)) == [], "these are no cases"


def test_find_marked_reads_marks_of_functions_and_modules(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        'import pytest\n\n@pytest.mark.case("B1", "B7")\ndef test_a(): ...\n\ndef test_b(): ...\n'
    )
    (tmp_path / "test_two.py").write_text(
        'import pytest\npytestmark = [pytest.mark.case("Y1")]\n\n@pytest.mark.case("B1")\ndef test_c(): ...\n'
    )
    assert find_marked(tmp_path) == {
        "B1": ["test_one.py::test_a", "test_two.py::test_c"],
        "B7": ["test_one.py::test_a"],
        "Y1": ["test_two.py::test_c"],
    }
