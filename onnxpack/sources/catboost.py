"""CatBoost: its own model files (.cbm), which run no code, or pickled estimators; CatBoost itself exports the trees."""

from pathlib import Path
from typing import Any

import catboost

from onnxpack.core.errors import SourceError, flatten_words
from onnxpack.sources.estimators.answers import run
from onnxpack.sources.estimators.convert import export
from onnxpack.sources.estimators.files import load_estimator
from onnxpack.sources.estimators.tables import check_inputs
from onnxpack.spec.load import SpecFile
from onnxpack.spec.traits import FrameworkTraits

TRAITS = FrameworkTraits(
    endings=(".cbm", ".pkl", ".pickle", ".joblib"),
    safe_endings=(".cbm",),
    max_opset=22,
    reducible=False,
)

__all__ = ["export", "load", "run"]


def load(file: SpecFile) -> Any:
    """Load the estimator; a native file with classes gives a classifier."""
    path = file.spec.model.path
    assert path
    estimator = _load_native(file.resolve(path)) if path.endswith(TRAITS.safe_endings) else load_estimator(file)
    if estimator.get_cat_feature_indices() or estimator.get_text_feature_indices():
        raise SourceError(
            f"'{path}' has features of categories or texts, which CatBoost cannot export",
            "encode them as numbers before the model, as a step of a scikit-learn pipeline",
        )
    check_inputs(estimator, file)
    return estimator


def _load_native(path: Path) -> Any:
    try:
        with_classes = len(catboost.CatBoost().load_model(str(path)).classes_) > 0
        estimator = catboost.CatBoostClassifier() if with_classes else catboost.CatBoostRegressor()
        estimator.load_model(str(path))
    except Exception as error:  # CatBoostError and more
        words = flatten_words(error, 300)
        raise SourceError(f"cannot load '{path.name}': {words}", "save it with `save_model`, as .cbm") from None
    return estimator
