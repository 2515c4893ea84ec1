"""The form by which people ask at a server's page: a picture, a text, or the fields of a record."""

from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

from onnxpack.bundle.predict import PredictView
from onnxpack.bundle.tables import list_columns
from onnxpack.bundle.views import Field, Value

_MOST_FIELDS = 40
"""The fields beyond which nobody fills in a form."""
_ATTRIBUTES = {"number": 'type="number" step="any"', "integer": 'type="number" step="1"', "file": 'type="file"'}
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
    fields = [
        _make_field(field, name, value)
        for field in view.model.arguments
        for name, value in zip(columns[field.name], _list_values(view, field, len(columns[field.name])), strict=True)
    ]
    return fields if len(fields) <= _MOST_FIELDS else []


def _list_values(view: PredictView, field: Field, count: int) -> list[Value]:
    """Return an example's values for the columns of an input."""
    default: Value = "" if field.kind in ("string", "bytes") else field.kind != "bool" and 0
    return list(islice(cycle(view.model.values.get(field.name) or (default,)), count))


def _make_field(field: Field, name: str, value: Value) -> FormField:
    kind = _KINDS[field.kind]
    if kind == "truth":
        return FormField(name, kind, str(value).lower(), ("false", "true"))
    return FormField(name, kind, "" if kind == "file" else f"{value:g}" if isinstance(value, float) else str(value))
