"""The form by which people ask at a server's page: a picture, a text, or the fields of a record."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle, islice
from typing import Literal

from onnxpack.bundle.predict import PredictView
from onnxpack.bundle.tables import list_columns
from onnxpack.bundle.views import EXAMPLE_TEXT, Field, Value
from onnxpack.spec.columns import DAY_SECONDS, ClientColumn

_MOST_FIELDS = 40
"""The fields beyond which nobody fills in a form."""
_ATTRIBUTES = {
    "number": 'type="number" step="any"',
    "integer": 'type="number" step="1"',
    "file": 'type="file"',
    "date": 'type="date"',
    "moment": 'type="datetime-local" step="1"',
}
_KINDS = {"float": "number", "integer": "integer", "bool": "truth", "string": "text", "bytes": "file"}

Ask = Literal["picture", "text", "record"]


@dataclass(frozen=True)
class FormField:
    """A field of a form; ``kind`` says how its value becomes JSON, and ``value`` is what it holds at first."""

    name: str
    kind: str
    value: str
    choices: tuple[str, ...] = ()

    @property
    def attributes(self) -> str:
        """Return the attributes of an element that is typed into."""
        return _ATTRIBUTES[self.kind]


def choose_form(view: PredictView) -> Ask | None:
    """Return how people ask a model, if it is by more than tensors."""
    if view.takes_picture:
        return "picture"
    if view.takes_text:
        return "text"
    return "record" if list_fields(view) else None


def list_fields(view: PredictView) -> list[FormField]:
    """Return the fields of a record; none where there are too many, or a row of an input is more than columns."""
    if not view.table and not (view.rows and all(len(field.shape) == 1 for field in view.model.arguments)):
        return []
    columns = list_columns(view.model.inputs) if view.table else {f.name: [f.name] for f in view.model.arguments}
    declared = view.declared
    fields = [
        _make_column(declared[name], value) if name in declared else _make_field(field, name, value)
        for field in view.model.arguments
        for name, value in zip(columns[field.name], _list_values(view, field, len(columns[field.name])), strict=True)
    ]
    return fields if len(fields) <= _MOST_FIELDS else []


def _list_values(view: PredictView, field: Field, count: int) -> list[Value]:
    """Return an example's values for the columns of an input."""
    defaults: dict[str, Value] = {"string": EXAMPLE_TEXT if view.takes_text else "", "bytes": "", "bool": False}
    default = defaults.get(field.kind, 0)
    return list(islice(cycle(view.model.values.get(field.name) or (default,)), count))


def _make_column(column: ClientColumn, value: Value) -> FormField:
    """Return the field of a column that is declared."""
    if column.kind == "date":
        return FormField(column.name, "date" if column.unit == "days" else "moment", format_date(column, value))
    if column.words is not None:
        return FormField(column.name, "word", str(value), (*([""] if column.fill is not None else []), *column.words))
    return FormField(column.name, "number" if column.kind == "number" else "text", _spell(value))


def format_date(column: ClientColumn, value: Value) -> str:
    """Return a column's number as the date that it stands for, as in ISO 8601."""
    seconds = int(value) * (1 if column.unit == "seconds" else DAY_SECONDS)
    moment = (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat()
    return moment if column.unit == "seconds" else moment[: moment.index("T")]


def _make_field(field: Field, name: str, value: Value) -> FormField:
    kind = _KINDS[field.kind]
    if kind == "truth":
        return FormField(name, kind, str(value).lower(), ("false", "true"))
    return FormField(name, kind, "" if kind == "file" else _spell(value))


def _spell(value: Value) -> str:
    """Return an example's value as a person would type it; nothing for one that is missing."""
    return str(value) if not isinstance(value, float) else "" if math.isnan(value) else f"{value:.6g}"
