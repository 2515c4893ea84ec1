"""LightGBM: its own model files (.txt), which run no code, or pickled estimators; converted by onnxmltools."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.sources.estimators.answers import run
from onnxpack.sources.estimators.convert import export
from onnxpack.sources.estimators.files import load_estimator
from onnxpack.sources.estimators.tables import check_inputs
from onnxpack.spec.load import SpecFile
from onnxpack.spec.traits import FrameworkTraits

TRAITS = FrameworkTraits(
    endings=(".txt", ".pkl", ".pickle", ".joblib"),
    safe_endings=(".txt",),
    max_opset=22,
    reducible=False,
)

__all__ = ["export", "load", "run"]


class BoosterRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A booster from a file as the estimator that the converter reads."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        self.booster_ = booster
        self.feature_names_in_ = np.array(booster.feature_name())
        # A random forest's trees are averaged and not added; the file says so in a line of its own.
        averages = "\naverage_output\n" in booster.model_to_string(num_iteration=1)
        self.boosting_type = "rf" if averages else "gbdt"

    def predict(self, table: Any) -> Any:
        """Return the booster's answers."""
        return self.booster_.predict(table)


class BoosterClassifier(ClassifierMixin, BoosterRegressor):  # type: ignore[misc] # scikit-learn has no types
    """A booster with classes, of which a file holds only the number."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        super().__init__(booster)
        # One model per iteration is a binary booster.
        self.classes_ = np.arange(max(booster.num_model_per_iteration(), 2))

    def predict_proba(self, table: Any) -> Any:
        """Return the probability of every class, [N, C]; of two the booster gives only the second's."""
        answer = np.asarray(self.booster_.predict(table))
        return answer if answer.ndim > 1 else np.stack([1 - answer, answer], axis=1)

    def predict(self, table: Any) -> Any:
        """Return the likeliest class, [N]."""
        return self.classes_[self.predict_proba(table).argmax(axis=1)]


def load(file: SpecFile) -> Any:
    """Load the estimator; a native file gives the classifier or regressor that its objective asks for."""
    path = file.spec.model.path
    assert path
    estimator = _load_native(file.resolve(path)) if path.endswith(TRAITS.safe_endings) else load_estimator(file)
    check_inputs(estimator, file)
    return estimator


def _load_native(path: Path) -> Any:
    try:
        booster = lightgbm.Booster(model_str=path.read_text())
        objective = booster.dump_model(num_iteration=1).get("objective", "")
    except Exception as error:  # LightGBMError, and UnicodeDecodeError of what is no text
        words = flatten_words(error, 300)
        raise SourceError(f"cannot load '{path.name}': {words}", "save it with save_model") from None
    return BoosterClassifier(booster) if objective.startswith(("binary", "multiclass")) else BoosterRegressor(booster)
