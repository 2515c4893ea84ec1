"""What ``onnxpack init`` learns from a scikit-learn pipeline that begins with a table of named columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpack.core.text import clean
from onnxpack.inspection.draft import Draft

_WIDTH = 3.0
"""Of how many standard deviations around the mean a scaler's column gets its range."""
_OTHER = "another word"
"""What stands for words that the training never saw, where the pipeline knows such words."""
_MOST_CATEGORIES = 100
"""More would make a draft that nobody reads; the column then takes any word."""

_LONGEST = 200
"""The most characters of a tensor's name."""


@dataclass(frozen=True)
class FrameColumn:
    """A column of a fitted table: the model's input, what a client sends for it, and a remark."""

    tensor: dict[str, Any]
    column: dict[str, Any]
    remark: str = ""


def find_frame(model: Any) -> dict[str, FrameColumn]:
    """Return the columns that a pipeline's first step takes by name; an empty dictionary where it takes none."""
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    table = _find_table(model)
    if table is None or not names or not all(name.isprintable() and 0 < len(name) <= _LONGEST for name in names):
        return {}
    found: dict[str, FrameColumn] = {}
    for step, name, place in _list_uses(table, names):
        found.setdefault(name, _describe_column(step, place))
    # What no step takes is dropped by the pipeline, and an export has no input for it.
    return {name: found[name] for name in names if name in found}


def declare_frame(grown: Draft, columns: dict[str, FrameColumn]) -> None:
    """Give a draft an input for each column, and the table that a client sends."""
    grown.fields["inputs"] = {name: dict(one.tensor) for name, one in columns.items()}
    grown.fields["preprocess"] = [{"op": "table", "columns": {name: dict(one.column) for name, one in columns.items()}}]
    grown.note("preprocess", text="a client sends records, a csv, or a tensor for each column")
    for remark in dict.fromkeys(one.remark for one in columns.values() if one.remark):
        named = ", ".join(name for name, one in columns.items() if one.remark == remark)
        grown.note("preprocess", text=f"{clean(named, 200)}: {remark}")


def _find_table(model: Any) -> Any:
    """Return the ColumnTransformer that a model begins with, if it does."""
    while hasattr(model, "steps") and model.steps:
        model = model.steps[0][1]
    return model if hasattr(model, "transformers_") else None


def _list_uses(table: Any, names: list[str]) -> Iterator[tuple[Any, str, int]]:
    """Yield each step of a table with the name of a column that it takes, and the column's place among the step's."""
    for _, step, columns in table.transformers_:
        if isinstance(step, str) and step == "drop":
            continue
        taken = [columns] if isinstance(columns, str) else np.asarray(columns).tolist()
        if taken and all(isinstance(one, bool) for one in taken):
            taken = [name for name, used in zip(names, taken, strict=True) if used]
        for place, one in enumerate(taken):
            yield step, (one if isinstance(one, str) else names[int(one)]), place


def _describe_column(step: Any, place: int) -> FrameColumn:
    parts = [part for _, part in step.steps] if hasattr(step, "steps") else [step]
    fills = any(type(part).__name__ == "SimpleImputer" for part in parts)
    for part in parts:
        categories = getattr(part, "categories_", None)
        if categories is not None:
            return _describe_words(part, np.asarray(categories[place]).tolist(), fills)
        if type(part).__name__.endswith("Vectorizer"):
            return FrameColumn({"dtype": "string", "shape": ["batch", 1]}, {"kind": "text"})
    gap = {"missing": "NaN"} if fills else {}
    remark = "" if fills else "`missing: …` says what stands for a missing value, which is refused without"
    tensor = {"dtype": "float32", "shape": ["batch", 1]} | _find_range(parts, place)
    return FrameColumn(tensor, {"kind": "number"} | gap, remark)


def _describe_words(encoder: Any, categories: list[Any], fills: bool) -> FrameColumn:
    """Return a column of an encoder: words are categories, and numbers stay numbers."""
    shape = ["batch", 1]
    if any(isinstance(one, str) for one in categories):  # beside them there may be NaN or None, for missing ones
        categories = [one for one in categories if isinstance(one, str)]
    else:
        whole = all(isinstance(one, int) and not isinstance(one, bool) for one in categories)
        known = [one for one in categories if isinstance(one, int | float) and one == one]
        choices = {"choices": known} if known else {}
        return FrameColumn({"dtype": "int64" if whole else "float32", "shape": shape} | choices, {"kind": "number"})
    takes_all = getattr(encoder, "handle_unknown", "error") != "error" and _OTHER not in categories
    extra = [_OTHER] if takes_all else []
    column: dict[str, Any] = {"kind": "category"}
    if len(categories) <= _MOST_CATEGORIES:
        column |= {"categories": categories} | ({"unknown": _OTHER} if takes_all else {})
    remark = "the pipeline's encoder takes words that it never saw" if takes_all else ""
    shown = [*categories[:_MOST_CATEGORIES], *extra]
    return FrameColumn({"dtype": "string", "shape": shape, "choices": shown}, column, remark)


def _find_range(parts: list[Any], place: int) -> dict[str, Any]:
    """Return the range of a column as a scaler saw it."""
    for part in parts:
        mean, deviation = getattr(part, "mean_", None), getattr(part, "scale_", None)
        if mean is not None and deviation is not None:
            middle, width = float(mean[place]), _WIDTH * float(deviation[place])
            return {"range": [float(f"{middle - width:.4g}"), float(f"{middle + width:.4g}")]}
        low, high = getattr(part, "data_min_", None), getattr(part, "data_max_", None)
        if low is not None and high is not None:
            return {"range": [float(f"{low[place]:.6g}"), float(f"{high[place]:.6g}")]}
    return {}
