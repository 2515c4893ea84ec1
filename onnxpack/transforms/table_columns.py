"""The columns of a table become inputs of the model: in numpy, and as ONNX nodes."""

from typing import Any

import numpy as np

from onnxpack.data.npz import Arrays
from onnxpack.spec.columns import is_nan
from onnxpack.spec.table_stages import ColumnStage, TableStage
from onnxpack.transforms.dates import compute_date_parts, express_date_part, express_date_parts, join, unsqueeze
from onnxpack.transforms.operations import Array, Builder, choose_compute_dtype

WORD_DOMAIN = "ai.onnx.ml"
"""The operators in which CategoryMapper is, the same in all versions: LabelEncoder is another one in each."""


def compute_table(stage: TableStage, sent: Arrays) -> Arrays:
    """Return the inputs behind the step, by those in front of it."""
    made: dict[str, list[Array]] = {}
    for column in stage.columns:
        array = _compute_column(column, sent[column.taken.name])
        made.setdefault(column.given.name, []).append(array.reshape(len(array), column.stop - column.start))
    flat = {info.name for info in stage.given if len(info.shape) == 1}
    return {name: arrays[0][:, 0] if name in flat else np.concatenate(arrays, axis=1) for name, arrays in made.items()}


def express_table(stage: TableStage, nodes: Builder) -> dict[str, str]:
    """Add the nodes of a step, which take the columns by their names; return the results' names by inputs.

    The domain ``WORD_DOMAIN`` must be declared where ``has_words``.
    """
    made: dict[str, list[str]] = {}
    for column in stage.columns:
        x = _express_column(column, nodes, column.taken.name)
        if column.column.kind != "date" and len(column.given.shape) == 2:
            x = unsqueeze(nodes, x, 1)
        if x == column.taken.name:
            x = nodes.add_node("Identity", [x])  # a tensor of its own, which can have another name
        made.setdefault(column.given.name, []).append(x)
    return {name: join(nodes, parts, 1) for name, parts in made.items()}


def has_words(stage: TableStage) -> bool:
    """Return whether any column's words are changed."""
    return any(_changes_words(column) for column in stage.columns)


def _fills_gaps(stage: ColumnStage) -> bool:
    """Return whether a column has NaN where a value is missing, and the model takes another value for it."""
    filled = stage.column.kind == "number" and stage.missing is not None
    return filled and stage.given.dtype.startswith("float") and not is_nan(stage.missing)


def _changes_words(stage: ColumnStage) -> bool:
    """Return whether the model takes something else than a column's words, or than some of them."""
    if stage.column.kind not in ("category", "text"):
        return False
    return stage.given.dtype != "string" or stage.unknown is not None or stage.missing not in (None, "")


def _list_words(stage: ColumnStage) -> tuple[dict[str, Any], Any]:
    """Return what the model takes for each word, and for any other; None for that if it takes the word itself.

    Words for which there is no rule never come: the module refuses them. Here they become what is no category's.
    """
    known, strings = stage.column.categories, stage.given.dtype == "string"
    words: dict[str, Any] = {word: word if strings else place for place, word in enumerate(known)}
    if stage.missing is not None:
        words[""] = stage.missing
    other = stage.unknown
    if other is None and known:
        other = "" if strings else len(known)
    return words, other


def _compute_column(stage: ColumnStage, array: Array) -> Array:
    dtype = np.dtype("str" if stage.given.dtype == "string" else stage.given.dtype)
    if stage.column.kind == "date":
        return compute_date_parts(array, stage.column.parts or ("days",), stage.given.dtype)
    if _fills_gaps(stage):
        return np.where(np.isnan(array), np.array(stage.missing, np.float64), array).astype(dtype)
    if not _changes_words(stage):
        return array
    words, other = _list_words(stage)
    found = [words.get(word, word if other is None else other) for word in map(str, array)]
    return np.array(found, dtype)


def _express_column(stage: ColumnStage, nodes: Builder, x: str) -> str:
    dtype = stage.given.dtype
    if stage.column.kind == "date":
        parts = stage.column.parts or ("days",)
        if len(stage.given.shape) == 2:
            return express_date_parts(nodes, x, parts, dtype, 1)
        return express_date_part(nodes, x, parts[0], dtype)
    if _fills_gaps(stage):
        wide = choose_compute_dtype(dtype)
        x = nodes.add_cast(x, wide, dtype)
        missing = nodes.add_constant(np.array(stage.missing, wide), "missing")
        x = nodes.add_node("Where", [nodes.add_node("IsNaN", [x]), missing, x])
        return nodes.add_cast(x, dtype, wide)
    return _express_words(stage, nodes, x) if _changes_words(stage) else x


def _express_words(stage: ColumnStage, nodes: Builder, x: str) -> str:
    words, other = _list_words(stage)
    place = nodes.add_node(
        "CategoryMapper", [x], domain=WORD_DOMAIN, cats_strings=list(words), cats_int64s=list(range(len(words))),
        default_int64=len(words),
    )  # fmt: skip
    dtype: Any = object if stage.given.dtype == "string" else stage.given.dtype
    if other is not None:
        values = nodes.add_constant(np.array([*words.values(), other], dtype), "words")
        return nodes.add_node("Gather", [values, place], axis=0)
    # There is but one word, that of a missing value; all others stay.
    stays = nodes.add_cast(place, "bool")
    return nodes.add_node("Where", [stays, x, nodes.add_constant(np.array(stage.missing, object), "missing")])
