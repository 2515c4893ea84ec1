"""The best classes in order are predictions, and their values are no table of scores."""

import numpy as np
import pytest

from onnxpack.core.errors import SpecError
from onnxpack.evaluation.score import compute_built_in

pytest.importorskip("sklearn")
LABELS = np.array(["a", "b", "c", "a"])
OUTPUTS = {
    "p_values": np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], np.float32),
    "p_labels": np.array([["a", "c"], ["c", "b"], ["b", "a"], ["a", "b"]]),
}
NUMBERED = {
    "p_values": OUTPUTS["p_values"],
    "p_indices": np.array([[0, 2], [2, 1], [1, 0], [0, 1]]),
}


def test_the_best_label_is_the_prediction() -> None:
    assert compute_built_in("accuracy", OUTPUTS, LABELS) == 0.5
    assert compute_built_in("accuracy", NUMBERED, np.array([0, 1, 2, 0])) == 0.5
    assert compute_built_in("accuracy", NUMBERED, LABELS, ["a", "b", "c"]) == 0.5


def test_the_first_ones_count_for_top_k() -> None:
    assert compute_built_in("top-1", OUTPUTS, LABELS) == 0.5
    assert compute_built_in("top-2", OUTPUTS, LABELS) == 0.75
    assert compute_built_in("top-2", NUMBERED, np.array([0, 1, 2, 0])) == 0.75
    with pytest.raises(SpecError, match="no output has scores"):
        compute_built_in("top-3", OUTPUTS, LABELS)


def test_what_is_ranked_or_detected_is_no_table_of_scores() -> None:
    with pytest.raises(SpecError, match="no output has scores"):
        compute_built_in("auc", NUMBERED, np.array([0, 1, 1, 0]))
    found = {f"d_{part}": np.zeros((4, 2), np.float32) for part in ("boxes", "scores", "classes", "count")}
    with pytest.raises(SpecError, match="no output has predictions or scores"):
        compute_built_in("accuracy", found, np.array([0, 1, 1, 0]))
