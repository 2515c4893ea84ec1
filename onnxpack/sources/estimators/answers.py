"""Ask an estimator, and return its answers as the arrays that the exported model gives."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from onnxpack.core.errors import SourceError
from onnxpack.data.test_inputs import Arrays
from onnxpack.sources.estimators.tables import choose_float_dtype, make_table


def run(model: Any, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
    """Return what the estimator answers: label and probabilities (or only a label), values, or a table."""
    table = make_table(model, inputs)
    kind = choose_float_dtype([array.dtype.name for array in inputs.values()])
    if not hasattr(model, "predict"):
        return [_dense(model.transform(table), kind)]
    answer = np.asarray(model.predict(table))
    if classifies(model):
        if not hasattr(model, "predict_proba"):
            return [_label(answer)]
        probabilities = model.predict_proba(table)
        # scikit-learn gives a list of tables for several targets.
        if isinstance(probabilities, list):
            raise SourceError(
                f"this {type(model).__name__} predicts several targets", "export one model for each target"
            )
        return [_label(answer.reshape(-1)), probabilities.astype(kind)]  # CatBoost gives a column of labels
    if clusters(model):
        return [_label(answer)]
    column = answer.reshape(len(table), -1)
    # Outlier detectors and mixtures give whole numbers.
    return [_label(column) if column.dtype.kind in "iu" else column.astype(kind)]


def classifies(model: Any) -> bool:
    """Return whether the answers are classes; libraries that follow older scikit-learns have an attribute for it."""
    if hasattr(model, "__sklearn_tags__"):
        return bool(is_classifier(model))
    return getattr(model, "_estimator_type", None) == "classifier"


def clusters(model: Any) -> bool:
    """Return whether the answers are clusters."""
    try:
        from sklearn.base import is_clusterer
    except ImportError:  # scikit-learn 1.5 and older, in an isolated environment
        return getattr(model, "_estimator_type", None) == "clusterer"
    return bool(is_clusterer(model))


def _label(label: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return label.astype(str) if label.dtype.kind in "OU" else label.astype(np.int64)


def _dense(table: Any, kind: str) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = table.toarray() if hasattr(table, "toarray") else np.asarray(table)
    return array.astype(kind) if array.dtype.kind == "f" else array
