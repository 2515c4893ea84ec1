"""scikit-learn models of every kind, and files that must not be loaded."""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from canary import Canary
from exporting import export_here, write_spec
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.parity.compare import require_parity
from onnxpack.sources.sklearn import load
from onnxpack.spec.load import SpecFile

TABLE, NUMBERS = load_iris(return_X_y=True)
WORDS = np.array(["setosa", "versicolor", "virginica"])[NUMBERS]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., SpecFile]:
    """A spec beside the saved object, which it trusts."""

    def make(
        model: object, dtype: str = "float32", features: int = 4, name: str = "m.joblib", **fields: Any
    ) -> SpecFile:
        path = tmp_path / name
        if name.endswith(".joblib"):
            joblib.dump(model, path, compress=3)
        else:
            path.write_bytes(pickle.dumps(model))
        inputs = {"x": {"dtype": dtype, "shape": ["n", features], "range": [0, 8]}}
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        trusted = {"framework": "sklearn", "path": name, "sha256": sha256}
        return write_spec(tmp_path, trusted, **({"inputs": inputs, "opset": 17} | fields))

    return make


def fitted(model: Any, target: Any = NUMBERS, dtype: str = "float32") -> Any:
    return model.fit(TABLE.astype(dtype), target)


BOTH = [("label", "int64", ("n",)), ("probabilities", "float32", ("n", 3))]
KINDS = {
    "classifier": (RandomForestClassifier(5, random_state=0), NUMBERS, BOTH),
    "words": (LogisticRegression(max_iter=1000), WORDS, [("label", "string", ("n",)), BOTH[1]]),
    "truth": (LogisticRegression(), NUMBERS == 0, [BOTH[0], ("probabilities", "float32", ("n", 2))]),
    "no probabilities": (LinearSVC(random_state=0), NUMBERS, BOTH[:1]),
    "scores through a ZipMap": (SVC(), WORDS, [("label", "string", ("n",))]),
    "regressor": (LinearRegression(), NUMBERS, [("variable", "float32", ("n", 1))]),
    "two values": (LinearRegression(), np.stack([NUMBERS, -NUMBERS], 1), [("variable", "float32", ("n", 2))]),
    "transformer": (PCA(2), None, [("variable", "float32", ("n", 2))]),
    "pipeline": (make_pipeline(StandardScaler(), LogisticRegression()), NUMBERS, BOTH),
    "clusterer": (KMeans(3, n_init=1, random_state=0), None, BOTH[:1]),
    "mixture": (GaussianMixture(3, random_state=0), None, [("label", "int64", ("n", 1))]),
    "outliers": (OneClassSVM(), None, [("label", "int64", ("n", 1))]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_estimator_is_exported(saved: Callable[..., SpecFile], tmp_path: Path, kind: str) -> None:
    model, target, outputs = KINDS[kind]
    made = export_here(saved(fitted(model, target)), tmp_path / "out")
    assert [(info.name, info.dtype, info.shape) for info in made.model.outputs] == outputs
    assert made.model.opset == 17
    assert "ZipMap" not in made.model.ops
    require_parity(kind, made.rows())


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        (LinearRegression(), ["float64"]),
        (make_pipeline(StandardScaler(), LogisticRegression()), ["int64", "float64"]),
        # Its operator gives float32 whatever it is given.
        (RandomForestClassifier(5, random_state=0), ["int64", "float64"]),
        (StandardScaler(), ["float64"]),
    ],
    ids=["regressor", "pipeline", "forest", "transformer"],
)
def test_a_table_of_float64_gives_float64(
    saved: Callable[..., SpecFile], tmp_path: Path, model: Any, outputs: list[str]
) -> None:
    made = export_here(saved(fitted(model, dtype="float64"), "float64"), tmp_path / "out")
    assert [info.dtype for info in made.model.outputs] == outputs
    require_parity("float64", made.rows())


def test_outputs_take_the_specs_names(saved: Callable[..., SpecFile], tmp_path: Path) -> None:
    file = saved(fitted(LogisticRegression(max_iter=1000)), outputs=["species", "how sure"])
    made = export_here(file, tmp_path / "out")
    assert [info.name for info in made.model.outputs] == ["species", "how sure"]
    require_parity("names", made.rows())


def test_a_plain_pickle_is_loaded_too(saved: Callable[..., SpecFile]) -> None:
    assert isinstance(load(saved(fitted(PCA(2)), name="m.pkl")), PCA)


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        (fitted(DummyClassifier()), {}, "skl2onnx cannot convert this DummyClassifier: "),
        (fitted(PCA(2)), {"features": 5}, "the source model fails on x (1, 5): ValueError: X has 5 features"),
        (PCA(2), {}, "the source model fails on x (1, 4): NotFittedError"),
        (fitted(PCA(2)), {"outputs": ["a", "b"]}, "the spec names 2 outputs, the model has 1: variable"),
        (fitted(PCA(2)), {"dtype": "float16"}, "skl2onnx takes no float16 input"),
        ({"a": "dictionary"}, {}, "'m.joblib' holds a dict (save a fitted estimator or pipeline)"),
    ],
    ids=["converter", "features", "unfitted", "outputs", "dtype", "other"],
)
def test_what_cannot_be_exported_is_told(
    saved: Callable[..., SpecFile], tmp_path: Path, model: Any, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(SourceError) as refused:
        export_here(saved(model, **fields), tmp_path / "out")
    assert words in str(refused.value)


def test_another_scikit_learns_pickle_is_refused(
    saved: Callable[..., SpecFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(fitted(PCA(2)))
    monkeypatch.setattr("sklearn.base.__version__", "99.0")
    with pytest.raises(SourceError, match=r"'m.joblib' was saved by scikit-learn [\d.]+, and 99.0 is installed"):
        load(file)


@pytest.mark.case("M1")
@pytest.mark.parametrize("name", ["m.joblib", "m.pkl"])
def test_a_pickle_is_loaded_only_by_its_digest(saved: Callable[..., SpecFile], tmp_path: Path, name: str) -> None:
    canary = tmp_path / "ran"
    file = saved(Canary(canary), name=name)
    with pytest.raises(SpecError, match="so its digest is required"):
        write_spec(tmp_path, {"framework": "sklearn", "path": name})
    with pytest.raises(SpecError, match="is not the file that the spec trusts"):
        write_spec(tmp_path, {"framework": "sklearn", "path": name, "sha256": "0" * 64})
    other = replace(file, spec=replace(file.spec, model=replace(file.spec.model, sha256="0" * 64)))
    with pytest.raises(SourceError, match="changed after its digest was checked"):
        load(other)
    assert not canary.exists()
    with pytest.raises(SourceError, match="holds a NoneType"):
        load(file)
    assert canary.exists(), "the canary must be able to sing"


@pytest.mark.parametrize("data", [b"", b"not a pickle", pickle.dumps(PCA(2))[:-20]], ids=["empty", "text", "truncated"])
def test_a_broken_pickle_is_a_typed_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.pkl").write_bytes(data)
    model = {"framework": "sklearn", "path": "m.pkl", "sha256": hashlib.sha256(data).hexdigest()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib's, about old formats
        with pytest.raises(SourceError, match=r"cannot load 'm.pkl': \w+"):
            load(write_spec(tmp_path, model))
