"""How labels and what a model predicts name the same classes: by the numbers of the model's columns, from 0."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxpack.core.errors import SpecError
from onnxpack.data.test_inputs import Arrays

_SHOWN = 10
"""How many labels an error shows at most."""
Array = np.ndarray[Any, Any]


def flat(array: Array) -> Array:
    """Drop a last axis of size 1."""
    return array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array


def whole_labels(metric: str, labels: Array) -> Array:
    """Return labels of a table's whole floats as integers, all others as they are.

    Raises:
        SpecError: they are numbers with fractions.
    """
    if labels.dtype.kind != "f":
        return labels
    if not np.array_equal(labels, np.round(labels)):
        hint = "use the metric mse, mae or r2, or give class numbers as labels"
        raise SpecError(f"evaluation: {metric} is of classes, and the labels are {_listed(labels)}", hint)
    return labels.astype(np.int64)


def number_outputs(outputs: Arrays, labels: Array, classes: Sequence[int | str]) -> Arrays:
    """Return the outputs that a metric can be of, with what they predict as the numbers of columns.

    Texts of the labels' shape are looked up in ``classes``, and floats are scores. Only a model without
    either is judged by integers of the labels' shape, which then are column numbers already. (A model whose integers
    are the labels themselves needs no ``classes``.)

    Raises:
        SpecError: a text is not in ``classes``, or an integer is no column's number.
    """
    texts = {name: array for name, array in outputs.items() if array.dtype.kind in "OUS" and _fits(array, labels)}
    numbered = {name: number_labels(array, classes, f"output '{name}'") for name, array in texts.items()}
    numbered |= {name: array for name, array in outputs.items() if array.dtype.kind == "f"}
    if any(_fits(array, labels) or array.shape[:-1] == labels.shape for array in numbered.values()):
        return numbered
    for name, array in outputs.items():
        if array.dtype.kind in "iu" and _fits(array, labels) and not _are_numbers(array, len(classes)):
            hint = "leave classes out if these are the labels themselves: then both are compared as they are"
            text = f"output '{name}' gives {_listed(array)}, and the columns of {len(classes)} classes are numbered"
            raise SpecError(f"evaluation: {text} 0 to {len(classes) - 1}", hint)
    return outputs


def number_labels(labels: Array, classes: Sequence[int | str], whose: str) -> Array:
    """Return the number of each label's column, int64 of the labels' shape; ``classes`` has the columns' labels.

    Raises:
        SpecError: a label is not among them; ``whose`` says where it was found.
    """
    text = labels.dtype.kind in "OUS"
    columns = {str(label) if text else label: number for number, label in enumerate(classes)}
    found, places = np.unique(labels.astype(str) if text else labels, return_inverse=True)
    unknown = [label for label in found.tolist() if label not in columns]
    if unknown or text != isinstance(classes[0], str):
        odd = _listed(np.array(unknown)) if unknown else _listed(found)
        kind = "texts" if text else "numbers"
        hint = f"classes has {_joined(classes)}; list every label, as the {kind} that they are in {whose}"
        raise SpecError(f"evaluation: {whose} has labels that evaluation.classes lacks: {odd}", hint)
    numbers = np.array([columns[label] for label in found.tolist()], np.int64)
    return numbers[places].reshape(labels.shape)


def require_columns(name: str, count: int, labels: Array, classes: Sequence[int | str]) -> None:
    """Require that the labels are the numbers of the ``count`` columns of the output ``name``.

    Raises:
        SpecError: they are not, or ``classes`` names another number of columns.
    """
    columns = f"output '{name}' has {count} columns"
    if classes:
        if len(classes) != count:
            hint = "list one label for each column, in their order"
            raise SpecError(f"evaluation: classes has {len(classes)} labels, and {columns}", hint)
    elif not _are_numbers(labels, count):
        raise SpecError(f"evaluation: the labels are {_listed(labels)}, and {columns}, 0 to {count - 1}", _hint(labels))


def refuse_shifted(name: str, predicted: Array, labels: Array, columns: int) -> None:
    """Refuse integers that are column numbers where the labels begin at 1: all rows would be judged wrong, and alike.

    ``columns`` is the number of columns of the model's scores, 0 where it has none.

    Raises:
        SpecError: the greatest label is one that no column has, and 0 is predicted that no label is.
    """
    if labels.min() < 1 or predicted.min() != 0 or labels.max() <= predicted.max():
        return
    if labels.max() == predicted.max() + 1 or predicted.max() < columns <= labels.max():
        raise SpecError(
            f"evaluation: the labels are {_listed(labels)}, and output '{name}' gives {_listed(predicted)}",
            _hint(labels),
        )


def _hint(labels: Array) -> str:
    known = np.unique(labels).tolist()
    order = (
        f"`classes: [{', '.join(map(_written, known))}]`" if len(known) <= _SHOWN else "`classes: [first, second, …]`"
    )
    return f"add to evaluation the labels in the order of the model's columns, as {order}"


def _written(label: object) -> str:
    """Write a label as YAML takes it: texts in quotes, since 'no' or '1' would be something else without."""
    return f'"{label}"' if isinstance(label, str) else str(label)


def _listed(labels: Array) -> str:
    """List the different labels for a person."""
    return _joined(np.unique(labels.astype(str) if labels.dtype.kind == "O" else labels).tolist())


def _joined(labels: Sequence[object]) -> str:
    shown = [f"'{label}'" if isinstance(label, str) else str(label) for label in labels[:_SHOWN]]
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(shown) + more


def _are_numbers(labels: Array, count: int) -> bool:
    return bool(labels.dtype.kind in "iub" and labels.min() >= 0 and labels.max() < count)


def _fits(array: Array, labels: Array) -> bool:
    return bool(flat(array).shape == labels.shape)
