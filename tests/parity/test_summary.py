"""The figures of a comparison: what stands for all cases, and the table for a person."""

from onnxpack.parity.compare import Comparison
from onnxpack.parity.summary import SizeParity, format_parity, summarize_parity

ROWS = [
    Comparison("a", "y", 0.1, 0.5, "", 0.5, 40.0, 1.0, 0, 1e-3, 1e-4),
    Comparison("b", "y", 0.3, 0.2, "wrong", 0.9, None, 0.75, 0, 1e-5, 1e-2),
    Comparison("a", "label", 0.0, 0.0, ties=2),
    Comparison("b", "label", 0.0, 0.0, ties=1),
]


def test_parity_is_the_greatest_difference_and_the_least_similarity() -> None:
    found = summarize_parity(ROWS)
    measures = (found.max_abs_diff, found.max_rel_diff, found.min_cosine, found.min_sqnr_db, found.argmax_agreement)
    assert measures == (0.3, 0.5, 0.5, 40.0, 0.75)
    assert (found.passed, found.comparisons, found.ties, found.rtol, found.atol) == (False, 4, 3, 1e-3, 1e-2)
    assert [(row.name, row.passed, row.comparisons, row.ties) for row in found.outputs] == [
        ("y", False, 2, 0),
        ("label", True, 2, 3),
    ]


def test_parity_is_told_by_output_and_size_from_the_smallest_on() -> None:
    rows = [
        Comparison("large", "y", 0.3, 0.2, "wrong"),
        Comparison("small", "y", 0.1, 0.5),
        Comparison("hunted", "y", 0.2, 0.1),
        Comparison("large", "label", 0.0, 0.0),
        Comparison("samples", "y", 9.0, 9.0),
    ]
    sizes = {"large": {"n": 16, "m": 2}, "small": {"n": 1, "m": 2}, "hunted": {"m": 2, "n": 1}}
    found = summarize_parity(rows, sizes=sizes).sizes
    assert found == (
        SizeParity("y", {"m": 2, "n": 1}, 2, passed=True, max_abs_diff=0.2, max_rel_diff=0.5),
        SizeParity("y", {"m": 2, "n": 16}, 1, passed=False, max_abs_diff=0.3, max_rel_diff=0.2),
        SizeParity("label", {"m": 2, "n": 16}, 1, passed=True, max_abs_diff=0.0, max_rel_diff=0.0),
    )
    assert summarize_parity(rows).sizes == summarize_parity(rows, sizes={"large": {}}).sizes == ()


def test_the_table_has_a_line_for_each_output() -> None:
    assert format_parity(summarize_parity(ROWS).outputs).splitlines() == [
        "output  compared  max abs  max rel  cosine     SQNR     argmax  ties  rtol   atol   passed",
        "y       2         0.3      0.5      0.5000000  40.0 dB  75.0%   0     0.001  0.01   NO: values",
        "label   2         0        0        -          -        -       3     equal  equal  yes",
    ]
