"""Find the estimators inside an estimator, each with its place, so that what cannot be converted is named."""

from collections.abc import Callable, Iterator
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline

TRANSPARENT = (Pipeline, FeatureUnion, ColumnTransformer)
"""What skl2onnx takes apart instead of converting it."""


def iterate_steps(model: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield a model and all estimators inside it, outermost first, each with the names of the steps that lead to it."""
    yield path, model
    for name, child in _children(model):
        if not isinstance(child, str) and child is not None:  # "passthrough" and "drop" stand for nothing
            yield from iterate_steps(child, (*path, name))


def describe_step(model: Any, estimator: Any) -> str:
    """Describe an estimator inside ``model``, as ``step 'prepare.scale': StandardScaler``."""
    kind = type(estimator).__name__
    path = next((path for path, inner in iterate_steps(model) if inner is estimator), ())
    return f"step '{'.'.join(path)}': {kind}" if path else f"this {kind}"


def leads_with(model: Any, fits: Callable[[Any], bool]) -> bool:
    """Return whether an estimator that takes the model's own input satisfies ``fits``."""
    if fits(model):
        return True
    children = list(_children(model))
    if isinstance(model, ColumnTransformer):
        return False
    first = children[:1] if isinstance(model, Pipeline) else children
    return any(leads_with(child, fits) for _, child in first if not isinstance(child, str))


def takes_columns(model: Any) -> bool:
    """Return whether the model tells its columns apart, by name or by place."""
    return leads_with(model, lambda inner: isinstance(inner, ColumnTransformer))


def takes_texts(model: Any) -> bool:
    """Return whether the model reads a list of texts instead of a table."""
    return leads_with(model, lambda inner: isinstance(inner, CountVectorizer | HashingVectorizer))


def _children(model: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(model, Pipeline):
        yield from model.steps
    elif isinstance(model, FeatureUnion):
        yield from model.transformer_list
    elif isinstance(model, ColumnTransformer):
        yield from ((name, step) for name, step, _ in getattr(model, "transformers_", ()))
    elif isinstance(model, VotingClassifier | VotingRegressor | StackingClassifier | StackingRegressor):
        names = [name for name, step in model.estimators if not isinstance(step, str)]
        yield from zip(names, getattr(model, "estimators_", ()), strict=False)
        if hasattr(model, "final_estimator_"):
            yield "final_estimator", model.final_estimator_
    elif isinstance(model, GridSearchCV | RandomizedSearchCV) and hasattr(model, "best_estimator_"):
        yield "best_estimator", model.best_estimator_
    elif isinstance(model, CalibratedClassifierCV):
        yield from (("estimator", inner.estimator) for inner in getattr(model, "calibrated_classifiers_", ())[:1])
