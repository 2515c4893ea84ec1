"""Estimators on named and typed columns, inside each other, in skops files; and what names the step that fails."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from estimators import NUMBERS, TABLE, WORDS, infos, save, trust
from exporting import export_here, write_spec
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.semi_supervised import LabelPropagation
from sklearn.tree import DecisionTreeClassifier

from onnxpack.core.errors import SourceError
from onnxpack.parity.compare import require_parity
from onnxpack.sources.sklearn import load

PEOPLE = {
    "class": np.tile([1, 2, 3, 3], 25).astype(np.int64),
    "sex": np.tile(["female", "male", "male"], 34)[:100].astype(object),
    "age": np.linspace(1, 70, 100).astype(np.float32),
    "home port": np.repeat(["C", "Q", "S", "S"], 25).astype(object),
}
SURVIVED = ((PEOPLE["sex"] == "female") | (PEOPLE["age"] < 12)).astype(int)
INPUTS = {
    "class": {"dtype": "int64", "shape": ["n", 1], "choices": [1, 2, 3]},
    "sex": {"dtype": "string", "shape": ["n", 1], "choices": ["female", "male"]},
    "age": {"dtype": "float32", "shape": ["n", 1], "range": [0, 80]},
    "home port": {"dtype": "string", "shape": ["n", 1], "choices": ["C", "Q", "S", "elsewhere"]},
}
FLAT = {name: field | {"shape": ["n"]} for name, field in INPUTS.items()}
LABELS = [("label", "int64", ("n",)), ("probabilities", "float32", ("n", 2))]


def by_name() -> ColumnTransformer:
    words = OneHotEncoder(handle_unknown="ignore")
    parts = [("words", words, ["sex", "home port"]), ("numbers", StandardScaler(), ["age"])]
    return ColumnTransformer(parts, remainder="passthrough")


def fitted_frame(model: Any, target: Any = SURVIVED) -> Any:
    pandas = pytest.importorskip("pandas")
    return model.fit(pandas.DataFrame(PEOPLE), target)


@pytest.mark.parametrize("inputs", [INPUTS, FLAT, dict(reversed(INPUTS.items()))], ids=["columns", "flat", "reversed"])
def test_named_columns_are_one_input_each(tmp_path: Path, inputs: dict[str, Any]) -> None:
    model = fitted_frame(make_pipeline(by_name(), LogisticRegression()))
    made = export_here(save(tmp_path, model, inputs=inputs), tmp_path / "out")
    assert [info.name for info in made.model.inputs] == list(inputs)
    assert [info.dtype for info in made.model.inputs] == [field["dtype"] for field in inputs.values()]
    assert [info.shape for info in made.model.inputs] == [tuple(field["shape"]) for field in inputs.values()]
    assert infos(made) == LABELS
    require_parity("columns", made.rows())


def test_a_frame_of_numbers_needs_no_column_transformer(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": TABLE[:, 0], "label": TABLE[:, 1], "c": np.arange(150)})
    forest = RandomForestClassifier(5, random_state=0).fit(frame, NUMBERS)
    # Given in another order than it was fitted on, and with a name that the converter uses itself.
    inputs = {
        "c": {"dtype": "int64", "shape": ["n"], "range": [0, 149]},
        "label": {"dtype": "float32", "shape": ["n", 1], "range": [2, 5]},
        "a": {"dtype": "float32", "shape": ["n"], "range": [4, 8]},
    }
    made = export_here(save(tmp_path, forest, inputs=inputs, outputs=["species", "how_sure"]), tmp_path / "out")
    assert infos(made) == [("species", "int64", ("n",)), ("how_sure", "float32", ("n", 3))]
    require_parity("frame", made.rows())


def test_columns_by_place_need_no_frame(tmp_path: Path) -> None:
    table = np.stack([column.astype(object) for column in PEOPLE.values()], axis=1)
    parts = [("words", OneHotEncoder(handle_unknown="ignore"), [1, 3]), ("numbers", StandardScaler(), [0, 2])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(table, SURVIVED)
    made = export_here(save(tmp_path, model, inputs=INPUTS), tmp_path / "out")
    assert infos(made) == LABELS
    require_parity("places", made.rows())


def test_one_table_of_strings(tmp_path: Path) -> None:
    table = np.stack([PEOPLE["sex"], PEOPLE["home port"]], axis=1)
    model = make_pipeline(OrdinalEncoder(), DecisionTreeClassifier(random_state=0)).fit(table, SURVIVED)
    inputs = {"x": {"dtype": "string", "shape": ["n", 2], "choices": ["female", "male"]}}
    ports = {"home": {"dtype": "string", "shape": ["n", 1], "choices": ["C", "Q", "S"]}}
    with pytest.raises(SourceError, match="the source model fails on x"):  # a port is no sex
        export_here(save(tmp_path, model, inputs=inputs), tmp_path / "first")
    inputs = {"sex": INPUTS["sex"], **ports}
    made = export_here(save(tmp_path, model, inputs=inputs), tmp_path / "second")
    require_parity("strings", made.rows())


def test_a_frame_without_pandas_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path, fitted_frame(make_pipeline(by_name(), LogisticRegression())), inputs=INPUTS)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SourceError, match=r"fitted on a pandas frame, and pandas is not installed \(pip install"):
        export_here(file, tmp_path / "out")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (INPUTS | {"aged": INPUTS["age"]}, r"fitted on no column 'aged' \(did you mean 'age'\?\)"),
        (
            INPUTS | {"age": INPUTS["age"] | {"shape": ["n", 2]}},
            r"input 'age' has the shape \['n', 2\], and of several",
        ),
        (
            {"x": {"dtype": "float32", "shape": ["n", 4, 2]}},
            r"'x' has 3 dimensions \(give it the shape of a table: \[batch, features\]",
        ),
        ({name: INPUTS[name] for name in ("sex", "age")}, r"ValueError: columns are missing: \{.*'home port'"),
    ],
    ids=["unknown", "wide", "deep", "missing"],
)
def test_inputs_that_are_no_columns_are_told(tmp_path: Path, inputs: dict[str, Any], words: str) -> None:
    file = save(tmp_path, fitted_frame(make_pipeline(by_name(), LogisticRegression())), inputs=inputs)
    with pytest.raises(SourceError, match=words):
        export_here(file, tmp_path / "out")


ENSEMBLES = {
    "voting": lambda: VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier())], voting="soft"),
    "hard voting": lambda: VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier())]),
    "stacking": lambda: StackingClassifier([("a", RandomForestClassifier(3)), ("b", RidgeClassifier())], cv=2),
    "calibrated": lambda: CalibratedClassifierCV(RandomForestClassifier(3), cv=2),
    "search": lambda: GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=2),
    "union": lambda: make_pipeline(FeatureUnion([("p", PCA(2)), ("k", SelectKBest(k=1))]), LogisticRegression()),
    "histograms": lambda: HistGradientBoostingClassifier(max_iter=5),
}


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_estimators_of_estimators(tmp_path: Path, kind: str) -> None:
    np.random.seed(0)
    made = export_here(save(tmp_path, ENSEMBLES[kind]().fit(TABLE, WORDS)), tmp_path / "out")
    assert infos(made)[0] == ("label", "string", ("n",))
    assert infos(made)[1:] == ([] if kind == "hard voting" else [("probabilities", "float32", ("n", 3))])
    assert "ZipMap" not in made.model.ops
    require_parity(kind, made.rows())


@pytest.mark.parametrize("model", [HistGradientBoostingRegressor(max_iter=5), VotingRegressor([("a", Ridge())])])
def test_regressors_of_more_kinds(tmp_path: Path, model: Any) -> None:
    made = export_here(save(tmp_path, model.fit(TABLE, NUMBERS)), tmp_path / "out")
    require_parity("regressor", made.rows())


HOLES: dict[str, tuple[Callable[[], Any], str]] = {
    "last step": (lambda: Pipeline([("scale", StandardScaler()), ("clf", KernelRidge())]), "step 'clf': KernelRidge"),
    "inner step": (
        lambda: VotingRegressor(
            [("a", Pipeline([("s", StandardScaler()), ("dummy", DummyRegressor())])), ("b", Ridge())]
        ),
        "step 'a.dummy': DummyRegressor",
    ),
    "alone": (NearestCentroid, "this NearestCentroid"),
    "propagation": (lambda: LabelPropagation("knn"), "this LabelPropagation"),
    "target": (
        lambda: Pipeline([("t", TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()))]),
        "step 't': TransformedTargetRegressor",
    ),
    "function": (
        lambda: Pipeline([("log", FunctionTransformer(np.log1p)), ("clf", LogisticRegression())]),
        "step 'log': FunctionTransformer",
    ),
}


@pytest.mark.parametrize("hole", HOLES)
def test_what_has_no_converter_is_named_with_its_step(tmp_path: Path, hole: str) -> None:
    make, words = HOLES[hole]
    file = save(tmp_path, make().fit(TABLE, NUMBERS))
    with pytest.raises(SourceError) as refused:
        export_here(file, tmp_path / "out")
    assert str(refused.value).startswith(f"skl2onnx cannot convert {words}: ")


def test_trees_that_give_numbers_refuse_float64(tmp_path: Path) -> None:
    model = Pipeline([("scale", StandardScaler()), ("trees", RandomForestRegressor(3, random_state=0))])
    inputs = {"x": {"dtype": "float64", "shape": ["n", 4]}}
    file = save(tmp_path, model.fit(TABLE.astype(np.float64), NUMBERS), inputs=inputs)
    with pytest.raises(SourceError) as refused:
        export_here(file, tmp_path / "out")
    assert "step 'trees': RandomForestRegressor: its trees do not run on float64" in str(refused.value)
    assert "set `dtype: float32`" in str(refused.value)


def test_thresholds_are_compared_as_float32(tmp_path: Path) -> None:
    """Halfway between two values of a grid, a threshold of float64 lies on either side of its float32."""
    grid = (np.arange(400) / 1000).astype(np.float32).reshape(-1, 1)
    model = DecisionTreeClassifier(random_state=0).fit(grid, np.arange(400) % 2)
    halves = ((np.arange(64) * 2 + 1) / 2000).astype(np.float32).reshape(-1, 1)
    np.savez(tmp_path / "s.npz", x=halves)
    fields = {
        "inputs": {"x": {"dtype": "float32", "shape": ["n", 1], "range": [0, 0.4]}},
        "dynamic_axes": {"n": [1, 64]},
        "verify": {"samples": "s.npz"},
    }
    made = export_here(save(tmp_path, model, **fields), tmp_path / "out")
    assert made.reference.cases[-1] == "samples"
    require_parity("thresholds", made.rows())


def skops_file(folder: Path, model: Any) -> Path:
    skops = pytest.importorskip("skops.io")
    skops.dump(model, folder / "m.skops")
    return folder / "m.skops"


def test_a_skops_file_needs_no_digest(tmp_path: Path) -> None:
    skops_file(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()).fit(TABLE, WORDS))
    made = export_here(write_spec(tmp_path, {"framework": "sklearn", "path": "m.skops"}), tmp_path / "out")
    assert infos(made)[0] == ("label", "string", ("n",))
    require_parity("skops", made.rows())


def test_a_skops_file_of_other_types_needs_one(tmp_path: Path) -> None:
    skops_file(tmp_path, RandomForestClassifier(3, random_state=0).fit(TABLE, NUMBERS))
    with pytest.raises(SourceError) as refused:
        load(write_spec(tmp_path, {"framework": "sklearn", "path": "m.skops"}))
    digest = trust(tmp_path, "sklearn", "m.skops").spec.model.sha256
    assert "types that skops does not trust: sklearn.tree._tree.Tree (if you trust" in str(refused.value)
    assert f"sha256: {digest}" in str(refused.value)
    require_parity("trusted", export_here(trust(tmp_path, "sklearn", "m.skops"), tmp_path / "out").rows())


@pytest.mark.parametrize("size", [0, 1000])
def test_a_broken_skops_file_is_a_typed_error(tmp_path: Path, size: int) -> None:
    path = skops_file(tmp_path, PCA(2).fit(TABLE))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SourceError, match=r"cannot load 'm.skops': \w+"):
        load(write_spec(tmp_path, {"framework": "sklearn", "path": "m.skops"}))


def test_skops_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.skops").touch()
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(SourceError, match=r"'skops' is not installed, and .skops files need it \(pip install"):
        load(write_spec(tmp_path, {"framework": "sklearn", "path": "m.skops"}))


class Moved:
    """Stands for a class that a later scikit-learn has no more: its pickle names the old version, and cannot load."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (dict, "no_such_thing"), {"_sklearn_version": "0.24.2"}


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_an_old_pickle_that_cannot_even_be_read_names_its_version(tmp_path: Path, compress: Any) -> None:
    joblib.dump(Moved(), tmp_path / "m.joblib", compress=compress)
    with pytest.raises(SourceError) as refused:
        load(trust(tmp_path, "sklearn", "m.joblib"))
    import sklearn

    words = f"'m.joblib' was saved by scikit-learn 0.24.2, and {sklearn.__version__} is installed"
    assert str(refused.value).startswith(words)
    assert "requirements: [scikit-learn==0.24.2]" in str(refused.value)


def test_a_clusterer_on_named_columns(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": TABLE[:, 0], "b": TABLE[:, 1]})
    model = make_pipeline(StandardScaler(), KMeans(2, n_init=1, random_state=0)).fit(frame)
    inputs = {name: {"dtype": "float32", "shape": ["n", 1], "range": [2, 8]} for name in ("a", "b")}
    made = export_here(save(tmp_path, model, inputs=inputs), tmp_path / "out")
    assert infos(made) == [("label", "int64", ("n",))]
    require_parity("clusters", made.rows())


def test_a_fixed_number_of_rows(tmp_path: Path) -> None:
    """KMeans' converter is wrong where it knows how many rows there are."""
    inputs = {"x": {"dtype": "float32", "shape": [8, 4], "range": [0, 8]}}
    file = save(tmp_path, KMeans(3, n_init=1, random_state=0).fit(TABLE), inputs=inputs, dynamic_axes={})
    made = export_here(file, tmp_path / "out")
    assert infos(made) == [("label", "int64", (8,))]
    require_parity("fixed", made.rows())
