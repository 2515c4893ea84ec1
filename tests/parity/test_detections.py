"""Detections may come in another order where scores tie, and in no other way."""

from typing import Any

import numpy as np

from onnxpack.parity.compare import Tolerance, compare_cases
from onnxpack.parity.detections import align_detections

BOXES = np.array([[[0, 0, 1, 1], [5, 5, 6, 6], [2, 2, 3, 3], [0, 0, 0, 0]]], np.float32)
EXPECTED = {
    "d_boxes": BOXES,
    "d_scores": np.array([[0.9, 0.8, 0.8, 0]], np.float32),
    "d_classes": np.array([["cat", "dog", "dog", ""]]),
    "d_count": np.array([3]),
}


def swap(**changes: Any) -> dict[str, Any]:
    """Return the outputs with the second and third box exchanged."""
    swapped = {name: array[:, [0, 2, 1, 3]] if array.ndim > 1 else array for name, array in EXPECTED.items()}
    return swapped | changes


def judge(actual: dict[str, Any], precision: str = "float32") -> list[Any]:
    return compare_cases([("case", EXPECTED, actual)], Tolerance.of(precision))


def test_boxes_whose_scores_tie_may_change_places() -> None:
    rows = judge(swap())
    assert [row.reason for row in rows] == [""] * 4
    assert [row.ties for row in rows] == [2, 2, 2, 0]
    assert not any(row.reason for row in judge(swap(), "int8-static"))


def test_nothing_moves_without_need() -> None:
    moved, counts = align_detections(EXPECTED, EXPECTED)
    assert counts == {}
    assert all(moved[name] is EXPECTED[name] for name in EXPECTED)


def test_other_classes_boxes_scores_and_orders_differ() -> None:
    wrong = {
        "class": swap(d_classes=np.array([["cat", "cat", "dog", ""]])),
        "box": swap(d_boxes=BOXES[:, [0, 2, 0, 3]]),
        "score": swap(d_scores=np.array([[0.9, 0.8, 0.7, 0]], np.float32)),
        "order": swap(d_scores=np.array([[0.8, 0.9, 0.8, 0]], np.float32)),
        "count": EXPECTED | {"d_count": np.array([2])},
    }
    assert {name: any(row.reason for row in judge(actual)) for name, actual in wrong.items()} == dict.fromkeys(
        wrong, True
    )


def test_outputs_with_such_names_and_other_shapes_are_left_alone() -> None:
    odd = EXPECTED | {"d_scores": np.zeros((1, 4, 1), np.float32)}
    assert align_detections(odd, odd)[1] == {}
    assert align_detections({"boxes": BOXES}, {"boxes": BOXES})[1] == {}
