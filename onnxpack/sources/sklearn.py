"""scikit-learn: a pickled or skops-saved estimator or pipeline on a table, on columns or on texts."""

from typing import Any

from onnxpack.sources.estimators.answers import run
from onnxpack.sources.estimators.convert import export
from onnxpack.sources.estimators.files import load_estimator
from onnxpack.sources.estimators.tables import check_inputs
from onnxpack.spec.load import SpecFile
from onnxpack.spec.traits import FrameworkTraits

TRAITS = FrameworkTraits(
    # The loader of skops itself asks for a digest where one is needed.
    safe_endings=(".skops",),
    max_opset=22,
    reducible=False,
)

__all__ = ["export", "load", "run"]


def load(file: SpecFile) -> Any:
    """Load the fitted estimator, and check that the inputs stand for its columns."""
    estimator = load_estimator(file)
    check_inputs(estimator, file)
    return estimator
