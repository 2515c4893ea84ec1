"""Recognise labels that differ only because scores are equal within tolerance: two classes', or one and a limit."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from onnxpack.data.test_inputs import Arrays
from onnxpack.spec.output_names import name_values

Tolerances = Callable[[str], tuple[float, float]]
"""Relative and absolute, by the dtype of the scores."""


def count_ties(expected: Arrays, actual: Arrays, name: str, tolerance: Tolerances) -> int:
    """Return how many labels differ if each of them is a tie, else 0.

    Labels may be the best of scores [N, C], the k best in order beside their scores, or one of two by a limit.
    """
    labels, others = expected[name], actual[name]
    if others.shape != labels.shape or (labels.dtype.kind in "biu") != (others.dtype.kind in "biu"):
        return 0
    values = name_values(name)
    if values in expected:
        return _count_ranked(expected[values], actual.get(values), labels, others, tolerance)
    counts = [
        *(
            _count_ties(expected[scores], actual.get(scores), labels, others, tolerance)
            for scores in _find_scores(expected, labels)
        ),
        *(
            _count_limited(right, actual.get(scores), labels, others, tolerance)
            for scores, right in expected.items()
            if right.dtype.kind == "f" and right.shape == labels.shape
        ),
    ]
    return next(filter(None, counts), 0)


def _count_ties(right: Any, got: Any, labels: Any, others: Any, tolerance: Tolerances) -> int:
    """Return how many labels differ, if each is that of a class whose score is the row's highest, within tolerance.

    The scores are the one float output of shape [N, C] beside labels of shape [N]; of several that are highest in the
    same places (logits and probabilities) one must show it. Row for row, both models must have given the class of one
    of the scores that are within tolerance of the highest, as far as the classes' columns can be learned from the rows
    without ties.
    """
    if got is None or got.shape != right.shape or not np.isfinite(right).all():
        return 0
    best = _find_best(right, *tolerance(right.dtype.name))
    columns = _learn_columns(labels, best)
    wrong = np.flatnonzero(labels != others)
    return len(wrong) if all(_is_tie(best[row], labels[row], others[row], columns) for row in wrong) else 0


def _find_scores(outputs: Arrays, labels: Any) -> list[str]:
    """Return the names of the outputs that hold these labels' scores; none if they may belong to other labels."""
    ranked = {name_values(name) for name in outputs}  # whose columns are places, not classes
    found = [
        name
        for name, array in outputs.items()
        if name not in ranked and array.dtype.kind == "f" and labels.ndim == 1 and array.shape[:1] == labels.shape
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


def _count_ranked(right: Any, got: Any, labels: Any, others: Any, tolerance: Tolerances) -> int:
    """Return how many of the k best labels differ, if each stands where its score could be; the best come first."""
    if got is None or got.shape != right.shape or right.shape != labels.shape or not np.isfinite(right).all():
        return 0
    rtol, atol = tolerance(right.dtype.name)
    axes = [axis for axis in range(right.ndim) if (np.diff(right, axis=axis) <= 0).all()]
    if not axes:
        return 0
    count = right.shape[axes[-1]]
    rows = (np.moveaxis(array, axes[-1], -1).reshape(-1, count) for array in (right, got, labels, others))
    wrong = 0
    for scores, found, words, said in zip(*rows, strict=True):
        near = np.isclose(scores[:, None].astype(np.float64), scores[None], rtol, atol)
        for place in np.flatnonzero(words != said):
            same = words == said[place]
            # What was not among the best may take the place of what ties with the last of them.
            if not (near[place][same].any() if same.any() else near[place, -1]):
                return 0
            wrong += 1
        if not np.isclose(found.astype(np.float64), scores, rtol, atol).all():
            return 0
    return wrong


def _count_limited(right: Any, got: Any, labels: Any, others: Any, tolerance: Tolerances) -> int:
    """Return how many labels differ, if one limit explains the labels of both models, each by its own scores.

    The limit must be known from labels of both kinds on which the models agree.
    """
    if got is None or got.shape != right.shape or not (np.isfinite(right).all() and np.isfinite(got).all()):
        return 0
    words = np.unique(np.concatenate([labels.ravel(), others.ravel()]))
    wrong = labels != others
    rtol, atol = tolerance(right.dtype.name)
    if len(words) != 2 or len(np.unique(labels[~wrong])) != 2:
        return 0
    if not np.isclose(got[wrong].astype(np.float64), right[wrong], rtol, atol).all():
        return 0
    for below in words:
        under = max(right[labels == below].max(), got[others == below].max())
        over = min(right[labels != below].min(), got[others != below].min())
        if under < over:
            return int(wrong.sum())
    return 0
