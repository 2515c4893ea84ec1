"""The figures of a comparison: what stands for all cases, and the table for a person."""

from onnxpack.parity.compare import Comparison
from onnxpack.parity.summary import format_parity, summarize_parity

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


def test_the_table_has_a_line_for_each_output() -> None:
    assert format_parity(summarize_parity(ROWS).outputs).splitlines() == [
        "output  compared  max abs  max rel  cosine     SQNR     argmax  ties  rtol   atol   passed",
        "y       2         0.3      0.5      0.5000000  40.0 dB  75.0%   0     0.001  0.01   NO: values",
        "label   2         0        0        -          -        -       3     equal  equal  yes",
    ]
