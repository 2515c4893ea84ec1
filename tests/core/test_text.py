import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpack.core.text import clean, format_bytes, format_section, format_table, plural, with_article, wrap_comment


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (999_999, "1.0 MB"),
        (10**12, "1.0 TB"), (10**30, "1000000000000000.0 PB"),
    ],
)  # fmt: skip
def test_a_size_has_the_unit_that_fits(count: int, words: str) -> None:
    assert format_bytes(count) == words


def test_a_table_is_aligned_and_harmless() -> None:
    rows = [("a", 1, "\x1b[2Jx"), ("bcd", 1000, "y")]
    assert format_table(rows, right=(1,)) == ["a       1  \N{REPLACEMENT CHARACTER}[2Jx", "bcd  1000  y"]


def test_a_section_without_lines_is_left_out() -> None:
    assert format_section("ops", format_table([])) == []
    assert format_section("ops", ["x"]) == ["", "ops", "  x"]


@given(st.text())
def test_foreign_text_stays_on_its_line(text: str) -> None:
    assert clean(text).isprintable()
    assert all(line.startswith("# ") and line.isprintable() for line in wrap_comment(text))


@pytest.mark.parametrize(("count", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_plural_of_any_count_fits_its_noun(count: int, words: str) -> None:
    assert plural(count, "row") == words


@pytest.mark.parametrize(("noun", "words"), [("int", "an int"), ("list", "a list"), ("OrtValue", "an OrtValue")])
def test_with_article_of_any_noun_fits_its_first_letter(noun: str, words: str) -> None:
    assert with_article(noun) == words
