"""What is learned from scikit-learn pipelines whose first step takes columns by name."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

from onnxpack.inspection.frames import FrameColumn, find_frame

FRAME = pd.DataFrame(
    {
        "age": [20.0, 40.0, 60.0, 40.0],
        "city": ["Lima", "Oslo", "Lima", "Oslo"],
        "size": [1.0, 5.0, 3.0, 3.0],
        "home": ["a", "b", "a", "b"],
        "code": [1, 2, 3, 1],
        "note": ["red one", "blue one", "red two", "blue two"],
        "gap": [1.0, np.nan, 3.0, 2.0],
        "left": [0, 0, 0, 0],
    }
)
SHAPE = ["batch", 1]


def fit(*steps: Any, **options: Any) -> Pipeline:
    table = ColumnTransformer([(str(number), *step) for number, step in enumerate(steps)], **options)
    return make_pipeline(table, LogisticRegression()).fit(FRAME, [0, 1, 0, 1])


def test_each_column_is_known_by_the_step_that_takes_it() -> None:
    model = fit(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
        (StandardScaler(), ["age"]),
        (MinMaxScaler(), [2]),
        (OrdinalEncoder(), ["home", "code"]),
        (CountVectorizer(), "note"),
        (make_pipeline(SimpleImputer(), StandardScaler()), ["gap"]),
    )
    found = find_frame(model)
    assert list(found) == ["age", "city", "size", "home", "code", "note", "gap"], "in the frame's order, none dropped"
    assert {name: one.tensor for name, one in found.items() if name != "gap"} == {
        "age": {"dtype": "float32", "shape": SHAPE, "range": [-2.426, 82.43]},
        "city": {"dtype": "string", "shape": SHAPE, "choices": ["Lima", "Oslo", "another word"]},
        "size": {"dtype": "float32", "shape": SHAPE, "range": [1.0, 5.0]},
        "home": {"dtype": "string", "shape": SHAPE, "choices": ["a", "b"]},
        "code": {"dtype": "int64", "shape": SHAPE, "choices": [1, 2, 3]},
        "note": {"dtype": "string", "shape": SHAPE},
    }
    assert {name: one.column for name, one in found.items()} == {
        "age": {"kind": "number"},
        "city": {"kind": "category", "categories": ["Lima", "Oslo"], "unknown": "another word"},
        "size": {"kind": "number"},
        "home": {"kind": "category", "categories": ["a", "b"]},
        "code": {"kind": "number"},
        "note": {"kind": "text"},
        "gap": {"kind": "number", "missing": "NaN"},
    }


def test_columns_may_be_chosen_by_truth_values_and_passed_through() -> None:
    model = fit(("passthrough", [True, False, True, *[False] * 5]))
    assert find_frame(model) == {
        name: FrameColumn({"dtype": "float32", "shape": SHAPE}, {"kind": "number"}, find_frame(model)["age"].remark)
        for name in ("age", "size")
    }


def test_models_without_names_or_a_table_have_no_frame() -> None:
    assert find_frame(LogisticRegression().fit(FRAME[["age", "size"]], [0, 1, 0, 1])) == {}
    table = ColumnTransformer([("a", StandardScaler(), [0])])
    assert find_frame(make_pipeline(table, LogisticRegression()).fit(np.eye(4), [0, 1, 0, 1])) == {}
    assert find_frame(object()) == {}
