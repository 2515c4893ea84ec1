"""The estimators of docs/sources.md, fitted to small data of a fixed seed; their inputs behind the batch axis."""

from collections.abc import Iterator
from typing import Any

import catboost
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
Case = tuple[str, Any, tuple[Any, ...], dict[str, Any]]


def cases() -> Iterator[Case]:
    """Each model's name, the model, what it is fitted to, and its inputs with their shapes behind the batch axis."""
    for model in classifiers():
        yield _name(model), model, (TABLE, WORDS), ROWS
    for model in (*regressors(), *holes()):
        yield _name(model), model, (TABLE, NUMBERS), ROWS
    for model in transformers():
        yield _name(model), model, (TABLE,), ROWS
    boosted = (
        xgboost.XGBClassifier(n_estimators=8, n_jobs=1),
        xgboost.XGBRegressor(n_estimators=8, n_jobs=1),
        lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1),
        lightgbm.LGBMRegressor(n_estimators=8, verbose=-1, n_jobs=1),
        catboost.CatBoostClassifier(iterations=8, verbose=0, allow_writing_files=False, thread_count=1),
        catboost.CatBoostRegressor(iterations=8, verbose=0, allow_writing_files=False, thread_count=1),
    )
    for model in boosted:
        yield _name(model), model, (TABLE, NUMBERS), ROWS
    piped = pipeline.make_pipeline(preprocessing.StandardScaler(), boosted[2])
    yield "Pipeline(StandardScaler, LGBMClassifier)", piped, (TABLE, NUMBERS), ROWS
    yield from mixed()


def mixed() -> Iterator[Case]:
    """Columns of several dtypes, and texts."""
    numbers = np.arange(150) % 10
    frame = pandas.DataFrame({"port": WORDS, "size": TABLE[:, 0], "count": numbers})
    parts = [("words", preprocessing.OneHotEncoder(), ["port"]), ("scaled", preprocessing.StandardScaler(), ["size"])]
    columns = compose.ColumnTransformer(parts, remainder="passthrough")
    model = pipeline.make_pipeline(columns, linear_model.LogisticRegression())
    yield "Pipeline(ColumnTransformer of strings, floats, ints; LogisticRegression)", model, (frame, NUMBERS), COLUMNS
    extraction = feature_extraction.text
    for vectorizer in (extraction.CountVectorizer(), extraction.TfidfVectorizer(ngram_range=(1, 2))):
        texts = pipeline.make_pipeline(vectorizer, linear_model.LogisticRegression())
        text = {"text": {"dtype": "string", "shape": [], "choices": TEXTS}}
        yield f"Pipeline({_name(vectorizer)}, LogisticRegression)", texts, (TEXTS, WORDS[[0, 60] * 3]), text


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
