"""Recognise labels that differ only because two classes' scores are equal within tolerance."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from onnxpack.data.test_inputs import Arrays

Tolerances = Callable[[str], tuple[float, float]]
"""Relative and absolute, by the dtype of the scores."""


def count_ties(expected: Arrays, actual: Arrays, name: str, tolerance: Tolerances) -> int:
    """Return how many labels differ if each of them is a tie, else 0.

    The scores are the one float output of shape [N, C] beside labels of shape [N]; of several that are highest in the
    same places (logits and probabilities) one must show it. Row for row, both models must have given the class of one
    of the scores that are within tolerance of the highest, as far as the classes' columns can be learned from the rows
    without ties.
    """
    labels, others = expected[name], actual[name]
    if others.shape != labels.shape or (labels.dtype.kind == "i") != (others.dtype.kind == "i"):
        return 0
    found = (_count_ties(expected[scores], actual.get(scores), labels, others, tolerance)
             for scores in _find_scores(expected, labels))  # fmt: skip
    return next(filter(None, found), 0)


def _count_ties(right: Any, got: Any, labels: Any, others: Any, tolerance: Tolerances) -> int:
    if got is None or got.shape != right.shape or not np.isfinite(right).all():
        return 0
    best = _find_best(right, *tolerance(right.dtype.name))
    columns = _learn_columns(labels, best)
    wrong = np.flatnonzero(labels != others)
    return len(wrong) if all(_is_tie(best[row], labels[row], others[row], columns) for row in wrong) else 0


def _find_scores(outputs: Arrays, labels: Any) -> list[str]:
    """Return the names of the outputs that hold these labels' scores; none if they may belong to other labels."""
    found = [
        name
        for name, array in outputs.items()
        if array.dtype.kind == "f" and labels.ndim == 1 and array.shape[:1] == labels.shape
        and array.ndim == 2 and array.shape[1] > 1
    ]  # fmt: skip
    # Logits and probabilities have their highest values in the same places; other tables do not.
    highest = {outputs[name].argmax(axis=1).tobytes() for name in found}
    return found if len(highest) == 1 else []


def _find_best(scores: Any, rtol: float, atol: float) -> Any:
    """Return which scores are within tolerance of their row's highest, as bool [N, C]."""
    values = scores.astype(np.float64)
    highest = values.max(axis=1, keepdims=True)
    return values >= highest - (atol + rtol * np.abs(highest))


def _learn_columns(labels: Any, best: Any) -> dict[Any, int]:
    """Return each label's column, learned from the rows where one class alone is the best."""
    clear = best.sum(axis=1) == 1
    votes: dict[Any, Counter[int]] = {}
    for label, column in zip(labels[clear], best[clear].argmax(axis=1), strict=True):
        votes.setdefault(label, Counter())[int(column)] += 1
    return {label: counted.most_common(1)[0][0] for label, counted in votes.items()}


def _is_tie(best: Any, right: Any, got: Any, columns: dict[Any, int]) -> bool:
    """Return whether ``got`` may be the label of one of a row's best columns; ``right`` has one of them."""
    candidates = set(np.flatnonzero(best).tolist())
    if got in columns:
        return len(candidates) > 1 and columns[got] in candidates
    # A label that no clear row has shown may stand for any column that no other label has.
    free = candidates - set(columns.values())
    return len(free) > (right not in columns)
