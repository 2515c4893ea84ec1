"""The words of classes are found in the nodes that know them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import save
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import MultinomialNB

from onnxpack.graph.check import read_facts

X = np.arange(48, dtype=np.float32).reshape(12, 4)
WORDS = np.array(["low", "é", "high"])[np.arange(12) % 3]


@pytest.mark.parametrize("model", [LogisticRegression(), RandomForestClassifier(2), MultinomialNB()])
@pytest.mark.parametrize(
    ("labels", "expected"), [(WORDS, ("high", "low", "é")), (np.arange(12) % 3, ()), (np.arange(12) % 3 + 5, None)]
)
def test_classes_of_an_estimator(model: Any, labels: Any, expected: tuple[str, ...] | None, tmp_path: Path) -> None:
    fitted = model.fit(X, labels)
    save(to_onnx(fitted, X, options={id(fitted): {"zipmap": False}}), tmp_path / "model.onnx")
    found = read_facts(tmp_path / "model.onnx").classes
    if expected is None:  # plain nodes hold numbers that could be anything
        assert found in ((), ("5", "6", "7"))
    else:
        assert found == expected


def test_a_regression_has_none(tmp_path: Path) -> None:
    save(to_onnx(LinearRegression().fit(X, X[:, 0]), X), tmp_path / "model.onnx")
    assert read_facts(tmp_path / "model.onnx").classes == ()
