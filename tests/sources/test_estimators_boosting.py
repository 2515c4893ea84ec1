"""XGBoost, LightGBM and CatBoost, alone and inside a scikit-learn pipeline, from pickles and their own files."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimators import NUMBERS, TABLE, WORDS, infos, save
from exporting import export_here, write_spec
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.parity.compare import require_parity

TRUTH = (NUMBERS == 1).astype(int)
CLASSES = [("label", "int64", ("n",)), ("probabilities", "float32", ("n", 3))]
TWO = [CLASSES[0], ("probabilities", "float32", ("n", 2))]
WORD_CLASSES = [("label", "string", ("n",)), CLASSES[1]]
VALUE = [("variable", "float32", ("n", 1))]
NATIVE = {"xgboost": ["m.json", "m.ubj"], "lightgbm": ["m.txt"], "catboost": ["m.cbm"]}


def estimator(framework: str, kind: str, **options: Any) -> Any:
    pytest.importorskip(framework)
    pytest.importorskip("onnxmltools")
    library = importlib.import_module(framework)
    quiet: dict[str, Any] = {
        "xgboost": {"n_estimators": 8, "max_depth": 3, "n_jobs": 1},
        "lightgbm": {"n_estimators": 8, "verbose": -1, "n_jobs": 1},
        "catboost": {"iterations": 8, "verbose": 0, "allow_writing_files": False, "thread_count": 1},
    }[framework]
    prefix = {"xgboost": "XGB", "lightgbm": "LGBM", "catboost": "CatBoost"}[framework]
    return getattr(library, f"{prefix}{kind}")(**(quiet | options))


def native(model: Any, framework: str, path: Path) -> None:
    (model.booster_ if framework == "lightgbm" else model).save_model(str(path))


@pytest.mark.parametrize("framework", NATIVE)
@pytest.mark.parametrize(
    ("kind", "target", "outputs"),
    [
        ("Classifier", NUMBERS, CLASSES),
        ("Classifier", TRUTH, TWO),
        ("Classifier", WORDS, WORD_CLASSES),
        ("Regressor", NUMBERS, VALUE),
    ],
    ids=["three classes", "two classes", "words", "numbers"],
)
@pytest.mark.parametrize("form", ["alone", "in a pipeline"])
def test_pickled_estimators(
    tmp_path: Path, framework: str, kind: str, target: Any, outputs: list[Any], form: str
) -> None:
    if framework == "xgboost" and target is WORDS:
        pytest.skip("XGBoost takes no words")
    model = estimator(framework, kind)
    if form == "in a pipeline":
        model, framework = make_pipeline(StandardScaler(), model), "sklearn"
    made = export_here(save(tmp_path, model.fit(TABLE, target), framework), tmp_path / "out")
    assert infos(made) == outputs
    assert made.model.opset == 17
    assert "ZipMap" not in made.model.ops
    require_parity(kind, made.rows())


@pytest.mark.parametrize(("framework", "name"), [(key, name) for key, names in NATIVE.items() for name in names])
@pytest.mark.parametrize(
    ("kind", "target", "outputs"),
    [("Classifier", NUMBERS, CLASSES), ("Classifier", TRUTH, TWO), ("Regressor", NUMBERS, VALUE)],
    ids=["three classes", "two classes", "numbers"],
)
def test_native_files_need_no_digest(
    tmp_path: Path, framework: str, name: str, kind: str, target: Any, outputs: list[Any]
) -> None:
    native(estimator(framework, kind).fit(TABLE, target), framework, tmp_path / name)
    rows = {"x": {"dtype": "float32", "shape": ["n", 4], "range": [0, 8]}}
    file = write_spec(tmp_path, {"framework": framework, "path": name}, inputs=rows, opset=20)
    made = export_here(file, tmp_path / "out")
    assert infos(made) == outputs
    assert made.model.opset == 20
    require_parity(kind, made.rows())


def test_a_native_file_that_only_names_classes_tells_probabilities_too(tmp_path: Path) -> None:
    native(
        estimator("xgboost", "Classifier", objective="multi:softmax").fit(TABLE, NUMBERS), "xgboost", tmp_path / "m.ubj"
    )
    made = export_here(write_spec(tmp_path, {"framework": "xgboost", "path": "m.ubj"}), tmp_path / "out")
    assert infos(made) == CLASSES
    require_parity("softmax", made.rows())


@pytest.mark.parametrize("framework", NATIVE)
def test_boolean_labels_are_classes(tmp_path: Path, framework: str) -> None:
    if framework == "catboost":
        pytest.skip("CatBoost turns truth values into words")
    model = estimator(framework, "Classifier").fit(TABLE, NUMBERS == 1)
    made = export_here(save(tmp_path, model, framework), tmp_path / "out")
    assert infos(made) == TWO
    require_parity("truth", made.rows())


@pytest.mark.parametrize("framework", NATIVE)
def test_named_columns(tmp_path: Path, framework: str) -> None:
    pandas = pytest.importorskip("pandas")
    names = ["width" if framework == "lightgbm" else "sepal width", "b", "c", "d"]  # it writes a space as "_"
    model = estimator(framework, "Regressor").fit(pandas.DataFrame(TABLE, columns=names), NUMBERS)
    native(model, framework, tmp_path / NATIVE[framework][0])
    column = {"dtype": "float32", "shape": ["n"], "range": [0, 8]}
    fields: dict[str, Any] = {"inputs": dict.fromkeys(reversed(names), column)}
    require_parity("pickled", export_here(save(tmp_path, model, framework, **fields), tmp_path / "first").rows())
    file = write_spec(tmp_path, {"framework": framework, "path": NATIVE[framework][0]}, **fields)
    require_parity("native", export_here(file, tmp_path / "second").rows())


@pytest.mark.parametrize("framework", NATIVE)
def test_words_and_numbers_before_the_trees(tmp_path: Path, framework: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"port": np.array(["C", "Q", "S"])[NUMBERS], "size": TABLE[:, 0]})
    parts = ColumnTransformer([("words", OneHotEncoder(sparse_output=False), ["port"])], remainder="passthrough")
    model = make_pipeline(parts, estimator(framework, "Classifier")).fit(frame, TRUTH)
    inputs = {
        "port": {"dtype": "string", "shape": ["n", 1], "choices": ["C", "Q", "S"]},
        "size": {"dtype": "float32", "shape": ["n", 1], "range": [4, 8]},
    }
    made = export_here(save(tmp_path, model, inputs=inputs), tmp_path / "out")
    assert infos(made) == TWO
    require_parity("mixed", made.rows())


@pytest.mark.parametrize("framework", NATIVE)
def test_thresholds_are_compared_as_float32(tmp_path: Path, framework: str) -> None:
    """Halfway between two values of a grid, a threshold of float64 lies on either side of its float32."""
    grid = (np.arange(64) / 1000).astype(np.float32).reshape(-1, 1)
    leaves = {
        "xgboost": {"max_depth": 8, "min_child_weight": 0, "reg_lambda": 0},
        "lightgbm": {"min_child_samples": 1, "min_child_weight": 0, "num_leaves": 64, "min_data_in_bin": 1},
        "catboost": {"depth": 8},
    }[framework]
    model = estimator(framework, "Regressor", **leaves).fit(grid, (np.arange(64) % 7) ** 2)
    np.savez(tmp_path / "s.npz", x=((np.arange(63) * 2 + 1) / 2000).astype(np.float32).reshape(-1, 1))
    fields = {
        "inputs": {"x": {"dtype": "float32", "shape": ["n", 1], "range": [0, 0.06]}},
        "dynamic_axes": {"n": [1, 64]},
        "verify": {"samples": "s.npz"},
    }
    made = export_here(save(tmp_path, model, framework, **fields), tmp_path / "out")
    assert made.reference.cases[-1] == "samples"
    require_parity("thresholds", made.rows())


@pytest.mark.parametrize(("framework", "name"), [(key, name) for key, names in NATIVE.items() for name in names])
@pytest.mark.parametrize("data", [b"", b"{ no model", b"tree\nversion=v4\n"], ids=["empty", "text", "head"])
def test_a_broken_native_file_is_a_typed_error(tmp_path: Path, framework: str, name: str, data: bytes) -> None:
    pytest.importorskip(framework)
    (tmp_path / name).write_bytes(data)
    source = importlib.import_module(f"onnxpack.sources.{framework}")
    with pytest.raises(SourceError, match=f"cannot load '{name}': "):
        source.load(write_spec(tmp_path, {"framework": framework, "path": name}))


@pytest.mark.parametrize("framework", NATIVE)
def test_pickles_need_a_digest_and_other_files_are_unknown(tmp_path: Path, framework: str) -> None:
    for name in ("m.pkl", "m.bin"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SpecError, match="so its digest is required"):
        write_spec(tmp_path, {"framework": framework, "path": "m.pkl"})
    with pytest.raises(SpecError, match=r"cannot tell the format of 'm.bin' \(its name must end in "):
        write_spec(tmp_path, {"framework": framework, "path": "m.bin"})


def test_a_missing_converter_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path, make_pipeline(StandardScaler(), estimator("xgboost", "Regressor")).fit(TABLE, NUMBERS))
    monkeypatch.setitem(sys.modules, "onnxmltools.convert.xgboost.operator_converters.XGBoost", None)
    with pytest.raises(SourceError, match=r"is not installed, and xgboost models need it \(pip install 'onnxpack"):
        export_here(file, tmp_path / "out")


def test_catboost_with_categories_is_told(tmp_path: Path) -> None:
    pytest.importorskip("catboost")
    table = [[str(word), float(row[0])] for word, row in zip(WORDS, TABLE, strict=True)]
    model = estimator("catboost", "Classifier", cat_features=[0]).fit(table, TRUTH)
    with pytest.raises(SourceError, match="which CatBoost cannot export"):
        export_here(save(tmp_path, model, "catboost"), tmp_path / "out")
