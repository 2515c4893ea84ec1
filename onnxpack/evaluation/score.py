"""The built-in metrics, computed by scikit-learn, and the choice of the output that a metric uses.

Labels have a shape of their own, [rows] or [rows, …]; a last axis of size 1 does not count. With C classes an output
holds predictions (integers, booleans, strings: the labels' shape), scores (floats: the labels' shape and C), or one
score for two classes (floats: the labels' shape). The first output of the first of these kinds is used. Of
what topk gives the best class is a prediction, and its values are no scores.

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
    convert_whole_labels,
    drop_last_axis,
    number_labels,
    number_outputs,
    refuse_shifted,
    require_columns,
)
from onnxpack.evaluation.ranked import compute_ranked, list_best, take_ranked
from onnxpack.spec.model import METRICS_OF_NUMBERS

TOP = 5
"""The k of the metric ``top-k``."""
Array = np.ndarray[Any, Any]


def compute_built_in(metric: str, outputs: Arrays, labels: Array, classes: Sequence[int | str] = ()) -> float:
    """Compute a built-in metric over all rows.

    ``labels`` is [rows] or [rows, …] of integers, strings, or floats for ``METRICS_OF_NUMBERS``; ``classes`` has the
    label of each column of scores, unless the labels are column numbers.

    Raises:
        SpecError: no output fits the labels, or the labels are not the model's classes.
        GateError: the metric has no value for these outputs, for example because of NaN.
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
            warnings.simplefilter("ignore")  # a metric without a value warns and gives nan, which is refused below
            plain, ranked = take_ranked(outputs)
            value = float(_compute_metric(metrics, metric, plain, ranked, drop_last_axis(labels), classes))
    except ValueError as error:
        raise GateError(f"evaluation: {metric} has no value: {error}", "check the outputs and the labels") from None
    if not np.isfinite(value):
        raise GateError(f"evaluation: {metric} is {value}", "check the outputs and the labels")
    return value


def _compute_metric(
    metrics: Any, metric: str, outputs: Arrays, ranked: Arrays, labels: Array, classes: Sequence[int | str]
) -> Any:
    if metric in METRICS_OF_NUMBERS:
        predicted = _find_numbers(outputs, labels)
        return getattr(metrics, METRICS_OF_NUMBERS[metric])(labels.ravel().astype(np.float64), predicted)
    labels = convert_whole_labels(metric, labels)
    if metric.startswith("top-") and ranked:
        share = compute_ranked(_read_k(metric), ranked, labels)
        if share is not None:
            return share
    outputs = list_best(ranked) | outputs
    if classes:
        outputs = number_outputs(outputs, labels, classes)
        labels = number_labels(labels, classes, "the data")
    if metric == "auc":
        return _compute_auc(metrics, _find_scores(outputs, labels, classes, "scores"), labels)
    if metric.startswith("top-"):
        k = _read_k(metric)
        if k > 1:  # top-1 is accuracy, which needs no scores
            return _compute_top_k(metrics, k, _find_scores(outputs, labels, classes, "scores"), labels)
    predicted, binary = _find_predictions(outputs, labels, classes)
    if metric != "f1":
        return metrics.accuracy_score(labels.ravel(), predicted)
    if binary is None:
        return metrics.f1_score(labels.ravel(), predicted, average="macro", zero_division=0)
    return metrics.f1_score(labels.ravel() == binary, predicted == binary, zero_division=0)


def _read_k(metric: str) -> int:
    return TOP if metric == "top-k" else int(metric.removeprefix("top-"))


@dataclass(frozen=True)
class _Scores:
    """The scores of ``count`` classes as [N, count], or as [N] for the second, positive one of two classes."""

    values: Array
    count: int


def _find_numbers(outputs: Arrays, labels: Array) -> Array:
    for array in outputs.values():
        if array.dtype.kind in "fiu" and drop_last_axis(array).shape == labels.shape:
            return array.ravel().astype(np.float64)
    raise _no_output_error("numbers of the labels' shape", outputs, labels)


def _find_predictions(outputs: Arrays, labels: Array, classes: Sequence[int | str]) -> tuple[Array, Any]:
    """Return the predicted classes [N] and the positive class, which is None for more than two classes."""
    text = labels.dtype.kind in "US"
    for name, array in outputs.items():
        if array.dtype.kind in ("OUS" if text else "iub") and drop_last_axis(array).shape == labels.shape:
            predicted = array.ravel().astype(str) if text else array.ravel()
            if not text and not classes:
                refuse_shifted(name, predicted, labels, _count_columns(outputs, labels))
            known = np.arange(len(classes)) if classes else np.unique(np.concatenate([labels.ravel(), predicted]))
            return predicted, _choose_positive(known)
    scores = _find_scores(outputs, labels, classes, "predictions or scores")
    positive = _choose_positive(np.arange(scores.count))
    if scores.values.ndim == 2:
        return scores.values.argmax(axis=1), positive
    # Probabilities are split at one half, logits at 0.
    probabilities = bool(((scores.values >= 0) & (scores.values <= 1)).all())
    return (scores.values > (0.5 if probabilities else 0.0)).astype(int), positive


def _choose_positive(classes: Array) -> Any:
    """Return the positive class of a binary metric: 1 if all are 0 or 1, else the last; None for more than two."""
    if len(classes) > 2:
        return None
    return 1 if classes.dtype.kind in "iub" and set(classes.tolist()) <= {0, 1} else classes[-1]


def _find_scores(outputs: Arrays, labels: Array, classes: Sequence[int | str], what: str) -> _Scores:
    floats = {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
    for name, array in floats.items():
        if array.shape[:-1] == labels.shape and array.shape[-1] > 1:
            count = array.shape[-1]
            require_columns(name, count, labels, classes)
            return _Scores(array.reshape(-1, count).astype(np.float64), count)
    for name, array in floats.items():
        if drop_last_axis(array).shape == labels.shape:
            require_columns(name, 2, labels, classes)
            return _Scores(array.ravel().astype(np.float64), 2)
    raise _no_output_error(what, outputs, labels)


def _count_columns(outputs: Arrays, labels: Array) -> int:
    """Return the number of the model's columns of scores, or 0."""
    arrays = (array for array in outputs.values() if array.dtype.kind == "f" and array.ndim > 1)
    return next((array.shape[-1] for array in arrays if array.shape[:-1] == labels.shape), 0)


def _compute_auc(metrics: Any, scores: _Scores, labels: Array) -> Any:
    known, values = labels.ravel(), scores.values
    if scores.count == 2:
        return metrics.roc_auc_score(known == 1, values[:, 1] if values.ndim == 2 else values)
    # roc_auc_score wants probabilities of several classes: others are taken for logits.
    if (values < 0).any() or not np.allclose(values.sum(axis=1), 1, atol=1e-3):
        values = np.exp(values - values.max(axis=1, keepdims=True))
    values = values / values.sum(axis=1, keepdims=True)
    return metrics.roc_auc_score(known, values, multi_class="ovr", labels=np.arange(scores.count))


def _compute_top_k(metrics: Any, k: int, scores: _Scores, labels: Array) -> Any:
    if k >= scores.count:
        raise SpecError(f"evaluation: top-{k} of {scores.count} classes is always right", "use a smaller number")
    return metrics.top_k_accuracy_score(labels.ravel(), scores.values, k=k, labels=np.arange(scores.count))


def _no_output_error(what: str, outputs: Arrays, labels: Array) -> SpecError:
    found = ", ".join(f"'{name}' {array.dtype}{list(array.shape)}" for name, array in outputs.items())
    shape = f"{labels.dtype}{list(labels.shape)}"
    return SpecError(f"evaluation: no output has {what} for labels of {shape}", f"the model gives {found}")
