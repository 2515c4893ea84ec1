"""The built-in metrics, by scikit-learn's implementations, and which of a model's outputs they are of.

Labels have a shape of their own, [rows] or [rows, …]; a last axis of size 1 does not count. With C classes an output
is of predictions (integers, booleans, strings: the labels' shape), of scores (floats: the labels' shape and C), or of
one score for two classes (floats: the labels' shape). The first output of the first kind that there is, is taken.

Labels are the numbers of the columns of scores, from 0, unless ``classes`` names the label of each column; sorting the
labels would give the same value for a model whose columns are in another order. With ``classes`` everything is counted
in column numbers: texts that the model predicts are looked up in it, then scores are taken, and integers that it
predicts, if there are no scores, are column numbers already.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpack.core.errors import GateError, SourceError, SpecError
from onnxpack.data.test_inputs import Arrays
from onnxpack.evaluation.classes import (
    flat,
    number_labels,
    number_outputs,
    refuse_shifted,
    require_columns,
    whole_labels,
)
from onnxpack.spec.model import METRICS_OF_NUMBERS

TOP = 5
"""What k is in ``top-k``."""
Array = np.ndarray[Any, Any]


def built_in(metric: str, outputs: Arrays, labels: Array, classes: Sequence[int | str] = ()) -> float:
    """Compute a metric of the spec for all rows.

    ``labels`` is [rows] or [rows, …] of integers, strings, or floats for ``METRICS_OF_NUMBERS``; ``classes`` has the
    label of each column of scores where the labels are not its number.

    Raises:
        SpecError: no output fits the labels, or the labels are not the model's classes.
        GateError: it has no value for these, as with NaN in them.
        SourceError: scikit-learn is not installed.
    """
    try:
        from sklearn import metrics
    except ImportError:
        raise SourceError(
            f"'scikit-learn' is not installed, and the metric {metric} needs it", "pip install 'onnxpack[evaluation]'"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a metric has no value; then it is nan
            value = float(_value(metrics, metric, outputs, flat(labels), classes))
    except ValueError as error:
        raise GateError(f"evaluation: {metric} has no value: {error}", "look at the outputs and the labels") from None
    if not np.isfinite(value):
        raise GateError(f"evaluation: {metric} is {value}", "look at the outputs and the labels")
    return value


def _value(metrics: Any, metric: str, outputs: Arrays, labels: Array, classes: Sequence[int | str]) -> Any:
    if metric in METRICS_OF_NUMBERS:
        predicted = _regressed(outputs, labels)
        return getattr(metrics, METRICS_OF_NUMBERS[metric])(labels.ravel().astype(np.float64), predicted)
    labels = whole_labels(metric, labels)
    if classes:
        outputs = number_outputs(outputs, labels, classes)
        labels = number_labels(labels, classes, "the data")
    if metric == "auc":
        return _auc(metrics, _scores(outputs, labels, classes, "scores"), labels)
    if metric.startswith("top-"):
        k = TOP if metric == "top-k" else int(metric.removeprefix("top-"))
        if k > 1:
            return _top(metrics, k, _scores(outputs, labels, classes, "scores"), labels)
    predicted, binary = _predicted(outputs, labels, classes)
    if metric != "f1":
        return metrics.accuracy_score(labels.ravel(), predicted)
    if binary is None:
        return metrics.f1_score(labels.ravel(), predicted, average="macro", zero_division=0)
    return metrics.f1_score(labels.ravel() == binary, predicted == binary, zero_division=0)


@dataclass(frozen=True)
class _Scores:
    """Scores of ``count`` classes, [N, count], or [N] for two: of the second, which is the positive one."""

    values: Array
    count: int


def _regressed(outputs: Arrays, labels: Array) -> Array:
    for array in outputs.values():
        if array.dtype.kind in "fiu" and flat(array).shape == labels.shape:
            return array.ravel().astype(np.float64)
    raise _nothing_fits("numbers of the labels' shape", outputs, labels)


def _predicted(outputs: Arrays, labels: Array, classes: Sequence[int | str]) -> tuple[Array, Any]:
    """Return the predicted classes [N], and the positive one of two; None for the latter if there are more."""
    text = labels.dtype.kind in "US"
    for name, array in outputs.items():
        if array.dtype.kind in ("OUS" if text else "iub") and flat(array).shape == labels.shape:
            predicted = array.ravel().astype(str) if text else array.ravel()
            if not text and not classes:
                refuse_shifted(name, predicted, labels, _columns(outputs, labels))
            known = np.arange(len(classes)) if classes else np.unique(np.concatenate([labels.ravel(), predicted]))
            return predicted, _positive(known)
    scores = _scores(outputs, labels, classes, "predictions or scores")
    positive = _positive(np.arange(scores.count))
    if scores.values.ndim == 2:
        return scores.values.argmax(axis=1), positive
    probabilities = bool(((scores.values >= 0) & (scores.values <= 1)).all())
    return (scores.values > (0.5 if probabilities else 0.0)).astype(int), positive


def _positive(classes: Array) -> Any:
    """Return the class that a binary metric is of: the last in order; 1 where all are 0 or 1."""
    if len(classes) > 2:
        return None
    return 1 if classes.dtype.kind in "iub" and set(classes.tolist()) <= {0, 1} else classes[-1]


def _scores(outputs: Arrays, labels: Array, classes: Sequence[int | str], what: str) -> _Scores:
    floats = {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
    for name, array in floats.items():
        if array.shape[:-1] == labels.shape and array.shape[-1] > 1:
            count = array.shape[-1]
            require_columns(name, count, labels, classes)
            return _Scores(array.reshape(-1, count).astype(np.float64), count)
    for name, array in floats.items():
        if flat(array).shape == labels.shape:
            require_columns(name, 2, labels, classes)
            return _Scores(array.ravel().astype(np.float64), 2)
    raise _nothing_fits(what, outputs, labels)


def _columns(outputs: Arrays, labels: Array) -> int:
    """Return how many columns of scores the model has, 0 if none."""
    arrays = (array for array in outputs.values() if array.dtype.kind == "f" and array.ndim > 1)
    return next((array.shape[-1] for array in arrays if array.shape[:-1] == labels.shape), 0)


def _auc(metrics: Any, scores: _Scores, labels: Array) -> Any:
    known, values = labels.ravel(), scores.values
    if scores.count == 2:
        return metrics.roc_auc_score(known == 1, values[:, 1] if values.ndim == 2 else values)
    if (values < 0).any() or not np.allclose(values.sum(axis=1), 1, atol=1e-3):
        values = np.exp(values - values.max(axis=1, keepdims=True))
    values = values / values.sum(axis=1, keepdims=True)
    return metrics.roc_auc_score(known, values, multi_class="ovr", labels=np.arange(scores.count))


def _top(metrics: Any, k: int, scores: _Scores, labels: Array) -> Any:
    if k >= scores.count:
        raise SpecError(f"evaluation: top-{k} of {scores.count} classes is always right", "write a smaller one")
    return metrics.top_k_accuracy_score(labels.ravel(), scores.values, k=k, labels=np.arange(scores.count))


def _nothing_fits(what: str, outputs: Arrays, labels: Array) -> SpecError:
    found = ", ".join(f"'{name}' {array.dtype}{list(array.shape)}" for name, array in outputs.items())
    shape = f"{labels.dtype}{list(labels.shape)}"
    return SpecError(f"evaluation: no output has {what} for labels of {shape}", f"the model gives {found}")
