"""A label may differ only where its score ties."""

from typing import Any

import numpy as np
import pytest

from onnxpack.parity.compare import compare_case

SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.45, 0.45, 0.1]], np.float32)
LABELS = np.array([5, 7, 9, 5])
"""Of three classes whose columns are 0, 1 and 2; the last row ties between 5 and 7."""


def judged(got: Any, labels: Any = LABELS, scores: Any = SCORES, other_scores: Any = None) -> Any:
    expected = {"label": labels, "scores": scores}
    actual = {"label": np.array(got), "scores": scores if other_scores is None else other_scores}
    return compare_case("case", expected, actual)[0]


def test_the_other_label_of_a_tie_is_counted_and_passes() -> None:
    row = judged([5, 7, 9, 7])
    assert (row.reason, row.ties) == ("", 1)


def test_tie_of_text_labels_is_counted() -> None:
    words = np.array(["a", "b", "c", "a"])
    row = judged(np.array(["a", "b", "c", "b"], dtype=object), words)
    assert (row.reason, row.ties) == ("", 1)


@pytest.mark.parametrize(
    "got",
    [
        [7, 7, 9, 5],  # a row without a tie
        [7, 7, 9, 7],  # a tie, and a row without one
        [5, 7, 9, 9],  # a row with a tie, a class that does not take part in it
        [5, 7, 9, 4],  # a row with a tie, no class at all
    ],
)
def test_more_than_a_tie_is_a_failure(got: list[int]) -> None:
    row = judged(got)
    assert row.reason.endswith("of 4 values differ")
    assert row.ties == 0


def test_scores_that_nearly_tie_are_no_tie_beyond_tolerance() -> None:
    near, apart = SCORES.copy(), SCORES.copy()
    near[3, 1] -= 4e-4
    apart[3, 1] -= 1e-2
    assert judged([5, 7, 9, 7], scores=near).ties == 1
    assert judged([5, 7, 9, 7], scores=apart).reason == "1 of 4 values differ"


def test_a_label_of_an_only_row_may_be_the_unknown_class_of_a_tie() -> None:
    assert judged([7], np.array([5]), SCORES[3:]).ties == 1
    assert judged([7], np.array([5]), SCORES[:1]).reason == "1 of 1 values differ"


@pytest.mark.parametrize(
    "scores",
    [SCORES[:, 0], SCORES[:, :1], SCORES[:3], SCORES[None], np.where(SCORES > 0.4, np.nan, SCORES)],
    ids=["vector", "one column", "other rows", "three dimensions", "NaN"],
)
def test_without_scores_labels_must_be_equal(scores: Any) -> None:
    assert judged([5, 7, 9, 7], scores=scores).reason == "1 of 4 values differ"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (np.log(SCORES), ""),
        (SCORES[:, ::-1], "1 of 4 values differ"),
        (np.full_like(SCORES, 0.3), "1 of 4 values differ"),
    ],
    ids=["of the same", "of another thing", "of nothing"],
)
def test_two_outputs_of_scores_must_be_of_the_same(second: Any, reason: str) -> None:
    for scores in ({"a": SCORES, "b": second}, {"b": second, "a": SCORES}):
        expected = {"label": LABELS, **scores}
        (row, *_) = compare_case("case", expected, expected | {"label": np.array([5, 7, 9, 7])})
        assert row.reason == reason


BEST = {
    "p_values": np.array([[0.4, 0.3, 0.3], [0.9, 0.05, 0.05]], np.float32),
    "p_labels": np.array([["a", "b", "c"], ["d", "e", "f"]]),
}


@pytest.mark.parametrize(
    ("got", "ties"),
    [
        ([["a", "c", "b"], ["d", "e", "f"]], 2),  # two tie
        ([["a", "b", "x"], ["d", "e", "f"]], 1),  # one that was left out ties with the last
        ([["a", "c", "x"], ["d", "f", "e"]], 4),
        ([["b", "a", "c"], ["d", "e", "f"]], 0),  # no tie
        ([["x", "b", "c"], ["d", "e", "f"]], 0),
        ([["a", "b", "c"], ["e", "d", "f"]], 0),
    ],
)
@pytest.mark.parametrize("axis", [1, 0])
def test_the_best_labels_may_change_places_where_their_scores_tie(got: list[list[str]], ties: int, axis: int) -> None:
    turned = {name: array if axis else array.T for name, array in BEST.items()}
    labels = np.array(got)
    rows = compare_case("case", turned, turned | {"p_labels": labels if axis else labels.T})
    assert (rows[1].reason == "", rows[1].ties) == (ties > 0, ties)


SURE = np.array([0.1, 0.9, 0.5, 0.2], np.float32)


@pytest.mark.parametrize("words", [(False, True), (0, 1), ("no", "yes")])
def test_a_decision_may_differ_where_its_score_is_the_limit(words: tuple[Any, Any]) -> None:
    expected = {"y": np.array([words[int(score >= 0.5)] for score in SURE]), "score": SURE}
    other = SURE - np.array([0, 0, 1e-6, 0], np.float32)
    flipped = np.array([words[int(score >= 0.5)] for score in other])
    (row, _) = compare_case("case", expected, {"y": flipped, "score": other})
    assert (row.reason, row.ties) == ("", 1)
    assert compare_case("case", expected, {"y": flipped, "score": SURE})[0].reason
    wrong = np.array([words[1], words[1], words[1], words[0]])
    assert compare_case("case", expected, {"y": wrong, "score": other})[0].reason


def test_a_limit_that_no_agreement_shows_excuses_nothing() -> None:
    expected = {"y": np.array([True]), "score": np.array([0.3], np.float32)}
    actual = {"y": np.array([False]), "score": np.array([0.3 + 1e-7], np.float32)}
    assert compare_case("case", expected, actual)[0].reason


def test_ranked_values_are_no_scores_of_labels_beside_them() -> None:
    best = {"p_values": -np.sort(-SCORES), "p_indices": np.argsort(-SCORES)}
    expected = {"label": LABELS, "scores": SCORES, **best}
    rows = compare_case("case", expected, expected | {"label": np.array([5, 7, 9, 7])})
    assert (rows[0].reason, rows[0].ties) == ("", 1)
