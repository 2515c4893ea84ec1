"""Turn the spec's inputs into what an estimator takes: a table, a frame with named columns, or a list of texts."""

from typing import Any

import numpy as np

from onnxpack.core.errors import Problem, SourceError
from onnxpack.core.text import plural
from onnxpack.data.test_inputs import Arrays
from onnxpack.sources.estimators.steps import takes_texts
from onnxpack.spec.load import SpecFile
from onnxpack.spec.messages import suggest_closest


def check_inputs(model: Any, file: SpecFile) -> None:
    """Check the inputs' shapes and names: several inputs are one column each, named as in the fitted table.

    Raises:
        SourceError: an input has another shape, or the model has no such column.
    """
    inputs = file.spec.inputs
    problems = []
    for name, tensor in inputs.items():
        dimensions = len(tensor.shape)
        if len(inputs) == 1 and dimensions not in (1, 2):
            found = plural(dimensions, "dimension")
            problems.append(Problem(f"input '{name}' has {found}", "give it the shape of a table: [batch, features]"))
        if len(inputs) > 1 and not (dimensions == 1 or (dimensions == 2 and tensor.shape[1] == 1)):
            problems.append(
                Problem(
                    f"input '{name}' has the shape {list(tensor.shape)}, and of several inputs each is one column",
                    "give it the shape [batch, 1] or [batch]",
                )
            )
    known = find_fitted_columns(model, tuple(inputs))
    if known:
        problems += [
            Problem(f"the model was fitted on no column '{name}'", suggest_closest(name, list(known)))
            for name in inputs
            if name not in known
        ]
    if problems:
        raise SourceError(problems)


def find_fitted_columns(model: Any, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns that the model was fitted on, if the inputs stand for such columns."""
    names = tuple(map(str, getattr(model, "feature_names_in_", ())))
    # LightGBM makes up names where it was given none.
    return names if set(names) & set(inputs) else ()


def order_inputs(model: Any, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the inputs' names in the order of the model's columns."""
    known = find_fitted_columns(model, inputs)
    return tuple(name for name in known if name in inputs) if known else inputs


def choose_float_dtype(dtypes: list[str]) -> str:
    """Return the dtype of an estimator's float outputs: float64 where all its inputs are, else float32."""
    return "float64" if set(dtypes) == {"float64"} else "float32"


def make_table(model: Any, inputs: Arrays) -> Any:
    """Return the table, the frame or the texts that the estimator is asked with.

    Raises:
        SourceError: it was fitted on a pandas frame, and pandas is not installed.
    """
    names = order_inputs(model, tuple(inputs))
    if find_fitted_columns(model, tuple(inputs)):
        return _frame({name: _plain(inputs[name]).reshape(-1) for name in names})
    columns = [_plain(array).reshape(len(array), -1) for array in inputs.values()]
    if len(columns) == 1:
        # Vectorizers take a list of texts, and no table.
        return columns[0].reshape(-1) if takes_texts(model) else columns[0]
    if any(column.dtype.kind == "O" for column in columns):
        return np.hstack([column.astype(object) for column in columns])
    kinds = {column.dtype.name for column in columns}
    return np.hstack(columns) if len(kinds) == 1 else np.hstack(columns).astype(choose_float_dtype(list(kinds)))


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return texts as Python's own: several estimators refuse numpy's arrays of fixed length."""
    return array.astype(object) if array.dtype.kind in "US" else array


def _frame(columns: Arrays) -> Any:
    try:
        import pandas
    except ModuleNotFoundError:
        raise SourceError(
            "the model was fitted on a pandas frame, and pandas is not installed", "pip install 'onnxpack[pandas]'"
        ) from None
    return pandas.DataFrame(columns)
