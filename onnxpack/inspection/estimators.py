"""What ``onnxpack init`` learns from estimators: pickled ones, and the files of boosting libraries."""

from pathlib import Path
from typing import Any

import numpy as np

from onnxpack.core.errors import SpecError
from onnxpack.core.text import clean
from onnxpack.core.values import TensorInfo
from onnxpack.inspection.draft import Draft
from onnxpack.inspection.frames import declare_frame, find_frame
from onnxpack.inspection.learned import finish, list_answers
from onnxpack.sources import load_source
from onnxpack.spec.formats import PICKLES
from onnxpack.spec.traits import frameworks

_SHOWN_NAMES = 40
_COLUMNS = ("feature_names_in_", "feature_names_")
"""The attributes that hold the columns' names; the latter is CatBoost's."""


def look_at_estimator(grown: Draft, destination: Path) -> Draft:
    """Learn how many columns an estimator takes and what it answers; a pickle is one that the user trusts."""
    fields = grown.fields["model"]
    known = "inputs" in grown.fields
    if not known:
        grown.fields["inputs"] = {"x": {"dtype": "float32", "shape": ["batch", 1]}}
        grown.declare_axes()
    source = load_source(fields["framework"])
    model = source.load(grown.file(destination))
    library = type(model).__module__.partition(".")[0]
    if library != fields["framework"] and PICKLES[0] in getattr(frameworks().get(library), "endings", ()):
        fields["framework"] = library
        source = load_source(library)
        model = source.load(grown.file(destination))
    kind = type(model).__name__
    frame = {} if known else find_frame(model)
    if frame:
        declare_frame(grown, frame)
    elif not known:
        count = _count_columns(model)
        if count is None:
            raise SpecError(
                f"this {kind} does not tell how many columns it takes", "give them with `--input x:float32:batch,4`"
            )
        grown.fields["inputs"]["x"]["shape"] = ["batch", count]
    for name in list(grown.fields["inputs"])[:1]:
        grown.note("inputs", name, text=f"of a {kind}: one row per sample{_describe_columns(model)}")
    outputs = list_answers(source, model, grown.file(destination))
    if len(outputs) == 2:
        names = ["label", "probabilities"]
    elif not hasattr(model, "predict"):
        names = ["features"]
    else:
        names = ["value" if outputs[0].dtype.startswith("float") else "label"]
    finish(grown, [TensorInfo(new, info.dtype, info.shape) for new, info in zip(names, outputs, strict=True)])
    classes = getattr(model, "classes_", None)
    if classes is not None:
        grown.note("outputs", text=f"the classes, in order: {_show_some(classes)}")
    return grown


def _list_columns(model: Any) -> list[str]:
    return next((list(map(str, names)) for name in _COLUMNS if (names := getattr(model, name, None)) is not None), [])


def _count_columns(model: Any) -> int | None:
    count = getattr(model, "n_features_in_", None)
    known = int(count) if isinstance(count, int | np.integer) else 0  # CatBoost forgets it in a file, and says 0
    return known or len(_list_columns(model)) or None


def _describe_columns(model: Any) -> str:
    names = _list_columns(model)
    return f": {_show_some(names)}" if names else ""


def _show_some(values: Any) -> str:
    listed = np.ravel(values).tolist() if isinstance(values, np.ndarray) else list(values)
    more = f" and {len(listed) - _SHOWN_NAMES} more" if len(listed) > _SHOWN_NAMES else ""
    return ", ".join(clean(value, 60) for value in listed[:_SHOWN_NAMES]) + more
