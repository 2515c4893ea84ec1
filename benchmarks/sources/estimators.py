#!/usr/bin/env python3
"""Exports estimators at several opsets, and writes benchmarks/sources/sklearn.jsonl: what came out, or the typed error.

Each line is one export: exported and compared with its source at every size of its axes, as `onnxpack build` does it.
"""

import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it is read when onnxruntime is imported

import catboost
import joblib
import lightgbm
import numpy as np
import pandas
import xgboost
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    dummy,
    ensemble,
    feature_extraction,
    gaussian_process,
    kernel_ridge,
    linear_model,
    mixture,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    semi_supervised,
    svm,
    tree,
)
from sklearn.datasets import load_iris

import onnxpack.export
from onnxpack.errors import OnnxpackError
from onnxpack.spec.load import load
from onnxpack.values import MODEL, REFERENCE
from onnxpack.verify import Comparison, require, verify_model

OUT = Path(__file__).resolve().parents[1] / "benchmarks/sources/sklearn.jsonl"
OPSETS = (13, 17, 20, 22)
RTOL, ATOL = 1e-3, 1e-4
TABLE, NUMBERS = load_iris(return_X_y=True)
TABLE = TABLE.astype(np.float32)
WORDS = np.array(["setosa", "versicolor", "virginica"])[NUMBERS]
ROWS = {"x": {"dtype": "float32", "shape": [4], "range": [0, 8]}}
TEXTS = ["free money now", "lunch at noon", "claim a free prize", "the report at lunch", "win money", "home at noon"]
COLUMNS = {
    "port": {"dtype": "string", "shape": [1], "choices": ["setosa", "versicolor", "virginica"]},
    "size": {"dtype": "float32", "shape": [1], "range": [4, 8]},
    "count": {"dtype": "int64", "shape": [1], "range": [0, 9]},
}
Case = tuple[str, Any, dict[str, Any]]


def cases() -> Iterator[Case]:
    """Each model's name, the fitted model, and its inputs with their shapes behind the batch axis."""
    for model in classifiers():
        yield _name(model), model.fit(TABLE, WORDS), ROWS
    for model in (*regressors(), *holes()):
        yield _name(model), model.fit(TABLE, NUMBERS), ROWS
    for model in transformers():
        yield _name(model), model.fit(TABLE), ROWS
    boosted = (
        xgboost.XGBClassifier(n_estimators=8, n_jobs=1),
        xgboost.XGBRegressor(n_estimators=8, n_jobs=1),
        lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1),
        lightgbm.LGBMRegressor(n_estimators=8, verbose=-1, n_jobs=1),
        catboost.CatBoostClassifier(iterations=8, verbose=0, allow_writing_files=False, thread_count=1),
        catboost.CatBoostRegressor(iterations=8, verbose=0, allow_writing_files=False, thread_count=1),
    )
    for model in boosted:
        yield _name(model), model.fit(TABLE, NUMBERS), ROWS
    piped = pipeline.make_pipeline(preprocessing.StandardScaler(), boosted[2])
    yield "Pipeline(StandardScaler, LGBMClassifier)", piped.fit(TABLE, NUMBERS), ROWS
    yield from mixed()


def mixed() -> Iterator[Case]:
    """Columns of several dtypes, and texts."""
    numbers = np.arange(150) % 10
    frame = pandas.DataFrame({"port": WORDS, "size": TABLE[:, 0], "count": numbers})
    parts = [("words", preprocessing.OneHotEncoder(), ["port"]), ("scaled", preprocessing.StandardScaler(), ["size"])]
    columns = compose.ColumnTransformer(parts, remainder="passthrough")
    model = pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(frame, NUMBERS)
    yield "Pipeline(ColumnTransformer of strings, floats, ints; LogisticRegression)", model, COLUMNS
    extraction = feature_extraction.text
    for vectorizer in (extraction.CountVectorizer(), extraction.TfidfVectorizer(ngram_range=(1, 2))):
        texts = pipeline.make_pipeline(vectorizer, linear_model.LogisticRegression())
        text = {"text": {"dtype": "string", "shape": [], "choices": TEXTS}}
        yield f"Pipeline({_name(vectorizer)}, LogisticRegression)", texts.fit(TEXTS, WORDS[[0, 60] * 3]), text


def classifiers() -> Iterator[Any]:
    """Of three classes named by words."""
    yield linear_model.LogisticRegression(max_iter=500)
    yield linear_model.RidgeClassifier()
    yield linear_model.SGDClassifier(random_state=0)
    yield svm.LinearSVC(random_state=0)
    yield svm.SVC()
    yield tree.DecisionTreeClassifier(random_state=0)
    yield ensemble.RandomForestClassifier(8, random_state=0)
    yield ensemble.ExtraTreesClassifier(8, random_state=0)
    yield ensemble.GradientBoostingClassifier(n_estimators=8, random_state=0)
    yield ensemble.HistGradientBoostingClassifier(max_iter=8)
    yield ensemble.AdaBoostClassifier(n_estimators=4, random_state=0)
    yield ensemble.BaggingClassifier(n_estimators=4, random_state=0)
    yield neighbors.KNeighborsClassifier()
    yield naive_bayes.GaussianNB()
    yield neural_network.MLPClassifier((8,), max_iter=50, random_state=0)
    pair = [("a", linear_model.LogisticRegression(max_iter=500)), ("b", tree.DecisionTreeClassifier(random_state=0))]
    yield ensemble.VotingClassifier(pair, voting="soft")
    yield ensemble.StackingClassifier(pair, cv=2)
    yield calibration.CalibratedClassifierCV(ensemble.RandomForestClassifier(4, random_state=0), cv=2)
    yield calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), method="isotonic", cv=2)


def regressors() -> Iterator[Any]:
    """And what finds outliers and clusters, which needs no answers and ignores them."""
    yield linear_model.LinearRegression()
    yield linear_model.Lasso(0.01)
    yield svm.SVR()
    yield ensemble.RandomForestRegressor(8, random_state=0)
    yield ensemble.GradientBoostingRegressor(n_estimators=8, random_state=0)
    yield ensemble.HistGradientBoostingRegressor(max_iter=8)
    yield neighbors.KNeighborsRegressor()
    yield neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=0)
    yield gaussian_process.GaussianProcessRegressor(alpha=0.1)
    yield cluster.KMeans(3, n_init=1, random_state=0)
    yield mixture.GaussianMixture(3, random_state=0)
    yield ensemble.IsolationForest(n_estimators=8, random_state=0)


def transformers() -> Iterator[Any]:
    """From a table to a table."""
    yield preprocessing.StandardScaler()
    yield preprocessing.MinMaxScaler()
    yield preprocessing.PolynomialFeatures(2)
    yield preprocessing.KBinsDiscretizer(3, encode="ordinal", quantile_method="averaged_inverted_cdf")
    yield decomposition.PCA(2)
    yield decomposition.TruncatedSVD(2, random_state=0)


def holes() -> Iterator[Any]:
    """What skl2onnx is known not to convert."""
    yield dummy.DummyClassifier()
    yield semi_supervised.LabelPropagation("knn")
    yield neighbors.NearestCentroid()
    yield kernel_ridge.KernelRidge()
    yield compose.TransformedTargetRegressor(linear_model.LinearRegression())


def _name(model: Any) -> str:
    parts = [_name(inner) for _, inner in getattr(model, "estimators", None) or ()]
    parts += [_name(model.estimator)] if hasattr(model, "method") and hasattr(model, "estimator") else []
    parts += [model.method] if hasattr(model, "method") and isinstance(model.method, str) and parts else []
    return type(model).__name__ + (f"({', '.join(parts)})" if parts else "")


def row(name: str, model: Any, inputs: dict[str, Any], opset: int, *, dynamic: bool) -> dict[str, Any]:
    """One export, compared with its source."""
    library = type(model).__module__.partition(".")[0]
    framework = library if library in ("xgboost", "lightgbm", "catboost") else "sklearn"
    line: dict[str, Any] = {
        "source": framework,
        "model": name,
        "exporter": "skl2onnx",
        "opset": opset,
        "batch": "dynamic" if dynamic else "static",
    }
    with tempfile.TemporaryDirectory() as scratch:
        try:
            facts, rows = _exported(Path(scratch), framework, model, inputs, opset, dynamic=dynamic)
            require("the exported model differs from its source", rows)
        except OnnxpackError as error:
            return line | {"exported": False, "error": f"exit {error.exit_code}: {error.problems[0].message}"[:300]}
        line |= {"exported": True, "opset_read": facts["model"]["opset"], "comparisons": len(rows)}
        return line | {"max_abs_diff": float(f"{max(item.max_abs_diff for item in rows):.3g}")}


def _exported(
    folder: Path, framework: str, model: Any, inputs: dict[str, Any], opset: int, *, dynamic: bool
) -> tuple[dict[str, Any], list[Comparison]]:
    joblib.dump(model, folder / "model.joblib")
    digest = hashlib.sha256((folder / "model.joblib").read_bytes()).hexdigest()
    first = "batch" if dynamic else 8
    spec = {
        "onnxpack": 1,
        "name": "table",
        "model": {"framework": framework, "path": "model.joblib", "sha256": digest},
        "inputs": {key: field | {"shape": [first, *field["shape"]]} for key, field in inputs.items()},
        "opset": opset,
    }
    if dynamic:
        spec["dynamic_axes"] = {"batch": [1, 64]}
    (folder / "spec.yaml").write_text(json.dumps(spec))
    out = folder / "out"
    out.mkdir()
    # A build does this in a child process, of which only the record of what it reads would be in the way here.
    with patch.object(onnxpack.export, "_record_reads", return_value=set()):
        facts = onnxpack.export.export_model(load(folder / "spec.yaml").to_json(), str(out))
    rows = verify_model(str(out / MODEL), str(out / REFERENCE), facts["cases"], RTOL, ATOL)
    return facts, [Comparison(**item) for item in rows]


def main() -> None:
    """Writes the table; a first line says what made it."""
    warnings.simplefilter("ignore")  # estimators' own, about small data
    names = ("scikit-learn", "skl2onnx", "onnxmltools", "xgboost-cpu", "lightgbm", "catboost", "onnx", "onnxruntime")
    lines = [{"versions": {name: version(name) for name in names}, "rtol": RTOL, "atol": ATOL}]
    for name, model, inputs in cases():
        lines += [row(name, model, inputs, opset, dynamic=dynamic) for opset in OPSETS for dynamic in (True, False)]
        sys.stderr.write(f"{name}: {sum(line.get('exported', False) for line in lines[-8:])} of 8\n")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
