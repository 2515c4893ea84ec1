"""XGBoost: its own model files (.json, .ubj), which run no code, or pickled estimators; converted by onnxmltools."""

import json
from pathlib import Path
from typing import Any

import xgboost

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.sources.estimators.answers import run
from onnxpack.sources.estimators.convert import export
from onnxpack.sources.estimators.files import load_estimator
from onnxpack.sources.estimators.tables import check_inputs
from onnxpack.spec.load import SpecFile
from onnxpack.spec.traits import FrameworkTraits

TRAITS = FrameworkTraits(
    endings=(".json", ".ubj", ".pkl", ".pickle", ".joblib"),
    safe_endings=(".json", ".ubj"),
    max_opset=22,
    reducible=False,
)

__all__ = ["export", "load", "run"]

_CLASSES = ("binary:logistic", "multi:softprob", "multi:softmax")
"""Objectives whose answers are classes and their probabilities."""


def load(file: SpecFile) -> Any:
    """Load the estimator; a native file gives the classifier or regressor that its objective asks for."""
    path = file.spec.model.path
    assert path
    estimator = _load_native(file.resolve(path)) if path.endswith(TRAITS.safe_endings) else load_estimator(file)
    check_inputs(estimator, file)
    return estimator


def _load_native(path: Path) -> Any:
    try:
        booster = xgboost.Booster(model_file=str(path))
        objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
        estimator = xgboost.XGBClassifier() if objective in _CLASSES else xgboost.XGBRegressor()
        estimator.load_model(path)
    except Exception as error:  # of a torn file, each layer raises its own kinds
        words = flatten_words(error, 300)
        raise SourceError(f"cannot load '{path.name}': {words}", "save it with save_model") from None
    return estimator
