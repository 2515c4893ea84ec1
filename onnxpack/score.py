"""The built-in metrics, by scikit-learn's implementations, and which of a model's outputs they are of.

Labels have a shape of their own, [rows] or [rows, …]; a last axis of size 1 does not count. With C classes an output
is of predictions (integers, booleans, strings: the labels' shape), of scores (floats: the labels' shape and C), or of
one score for two classes (floats: the labels' shape). The first output of the first kind that there is, is taken.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpack.errors import GateError, SourceError, SpecError
from onnxpack.samples import Arrays

TOP = 5
"""What k is in ``top-k``."""
_REGRESSION = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "r2": "r2_score"}
Array = np.ndarray[Any, Any]


def built_in(metric: str, outputs: Arrays, labels: Array) -> float:
    """The value of a metric of the spec for all rows.

    Raises:
        SpecError: no output fits the labels.
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
            value = float(_value(metrics, metric, outputs, _flat(labels)))
    except ValueError as error:
        raise GateError(f"evaluation: {metric} has no value: {error}", "look at the outputs and the labels") from None
    if not np.isfinite(value):
        raise GateError(f"evaluation: {metric} is {value}", "look at the outputs and the labels")
    return value


def _value(metrics: Any, metric: str, outputs: Arrays, labels: Array) -> Any:
    if metric in _REGRESSION:
        predicted = _regressed(outputs, labels)
        return getattr(metrics, _REGRESSION[metric])(labels.ravel().astype(np.float64), predicted)
    if labels.dtype.kind == "f" and np.array_equal(labels, np.round(labels)):
        labels = labels.astype(np.int64)  # classes that were read from a table
    if metric == "auc":
        return _auc(metrics, outputs, labels)
    if metric.startswith("top-"):
        k = TOP if metric == "top-k" else int(metric.removeprefix("top-"))
        if k > 1:
            return _top(metrics, k, outputs, labels)
    predicted, binary = _predicted(outputs, labels)
    if metric != "f1":
        return metrics.accuracy_score(labels.ravel(), predicted)
    if binary is None:
        return metrics.f1_score(labels.ravel(), predicted, average="macro", zero_division=0)
    return metrics.f1_score(labels.ravel() == binary, predicted == binary, zero_division=0)


@dataclass(frozen=True)
class _Scores:
    """Scores [N, C], or [N] for two classes, and the class of each column: the second one is the positive."""

    values: Array
    classes: Array


def _regressed(outputs: Arrays, labels: Array) -> Array:
    for array in outputs.values():
        if array.dtype.kind in "fiu" and _flat(array).shape == labels.shape:
            return array.ravel().astype(np.float64)
    raise _nothing_fits("numbers of the labels' shape", outputs, labels)


def _predicted(outputs: Arrays, labels: Array) -> tuple[Array, Any]:
    """The predicted classes [N], and the positive one of two; None for the latter if there are more."""
    text = labels.dtype.kind in "US"
    for array in outputs.values():
        if array.dtype.kind in ("OUS" if text else "iub") and _flat(array).shape == labels.shape:
            flat = array.ravel().astype(str) if text else array.ravel()
            known = np.unique(np.concatenate([labels.ravel(), flat]))
            return flat, _positive(known)
    scores = _scores(outputs, labels, "predictions or scores")
    if scores.values.ndim == 2:
        return scores.classes[scores.values.argmax(axis=1)], _positive(scores.classes)
    probabilities = bool(((scores.values >= 0) & (scores.values <= 1)).all())
    above = scores.values > (0.5 if probabilities else 0.0)
    return scores.classes[above.astype(int)], _positive(scores.classes)


def _positive(classes: Array) -> Any:
    """The class that a binary metric is of: the last in order; 1 where all are 0 or 1."""
    if len(classes) > 2:
        return None
    return 1 if classes.dtype.kind in "iub" and set(classes.tolist()) <= {0, 1} else classes[-1]


def _scores(outputs: Arrays, labels: Array, what: str) -> _Scores:
    floats = [array for array in outputs.values() if array.dtype.kind == "f"]
    for array in floats:
        if array.shape[:-1] == labels.shape and array.shape[-1] > 1:
            return _Scores(array.reshape(-1, array.shape[-1]).astype(np.float64), _classes(labels, array.shape[-1]))
    for array in floats:
        if _flat(array).shape == labels.shape:
            return _Scores(array.ravel().astype(np.float64), _classes(labels, 2))
    raise _nothing_fits(what, outputs, labels)


def _classes(labels: Array, count: int) -> Array:
    """The class of each column: its number, else the labels in order."""
    known = np.unique(labels)
    if known.dtype.kind in "iub" and known.min() >= 0 and known.max() < count:
        return np.arange(count)
    if len(known) != count:
        hint = "use class numbers as labels, or give the model an output of predictions"
        raise SpecError(f"evaluation: {count} scores for {len(known)} different labels", hint)
    return known


def _auc(metrics: Any, outputs: Arrays, labels: Array) -> Any:
    scores = _scores(outputs, labels, "scores")
    flat, values = labels.ravel(), scores.values
    if len(scores.classes) == 2:
        values = values[:, 1] if values.ndim == 2 else values
        return metrics.roc_auc_score(flat == scores.classes[1], values)
    if (values < 0).any() or not np.allclose(values.sum(axis=1), 1, atol=1e-3):
        values = np.exp(values - values.max(axis=1, keepdims=True))
    values = values / values.sum(axis=1, keepdims=True)
    return metrics.roc_auc_score(flat, values, multi_class="ovr", labels=scores.classes)


def _top(metrics: Any, k: int, outputs: Arrays, labels: Array) -> Any:
    scores = _scores(outputs, labels, "scores")
    if k >= len(scores.classes):
        raise SpecError(f"evaluation: top-{k} of {len(scores.classes)} classes is always right", "write a smaller one")
    return metrics.top_k_accuracy_score(labels.ravel(), scores.values, k=k, labels=scores.classes)


def _flat(array: Array) -> Array:
    """Without a last axis of size 1."""
    return array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array


def _nothing_fits(what: str, outputs: Arrays, labels: Array) -> SpecError:
    found = ", ".join(f"'{name}' {array.dtype}{list(array.shape)}" for name, array in outputs.items())
    shape = f"{labels.dtype}{list(labels.shape)}"
    return SpecError(f"evaluation: no output has {what} for labels of {shape}", f"the model gives {found}")
