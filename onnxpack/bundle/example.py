"""The request that a server's documents show: the smallest one, if that is small enough to be looked at."""

import base64
import json
import math
from itertools import cycle, islice
from typing import Any

from onnxpack.bundle.views import EXAMPLE_TEXT, Field, ModuleView, Value

MAX_ELEMENTS = 1024
"""The elements of all inputs together beyond which nobody reads a request, nor writes one by hand."""

_DEFAULTS: dict[str, Value] = {"float": 0.0, "integer": 0, "bool": False, "string": ""}


def choose_shape(view: ModuleView, field: Field) -> list[int]:
    """Return the smallest shape of an input that is not empty."""
    least = {axis.name: max(axis.min, 1) for axis in view.axes}
    return [least[size] if isinstance(size, str) else size for size in field.shape]


def make_example(view: ModuleView) -> dict[str, Any] | None:
    """Return the smallest request, of the view's example values, unless it is too large to show."""
    shapes = {field.name: choose_shape(view, field) for field in view.arguments}
    if sum(map(math.prod, shapes.values())) > MAX_ELEMENTS:
        return None
    items = []
    for field in view.arguments:
        shape = shapes[field.name]
        row = view.values.get(field.name) or (_choose_value(view, field),)
        data = list(islice(cycle(row), math.prod(shape)))
        items.append({"name": field.name, "datatype": field.datatype, "shape": shape, "data": data})
    return {"inputs": items}


def _choose_value(view: ModuleView, field: Field) -> Value:
    if field.kind == "bytes":
        picture = next(one for one in view.pictures if one.name == field.name)
        return base64.b64encode(view.make_picture(picture, least=True)).decode()
    column = next((one for one in view.columns if one.name == field.name and field.kind == "string"), None)
    if column:  # not every word is taken, and maybe no empty one
        return column.words[0] if column.words else EXAMPLE_TEXT
    return EXAMPLE_TEXT if field.name in view.listed else _DEFAULTS[field.kind]


def format_example(example: dict[str, Any]) -> str:
    """Return a request as JSON with each input's data on one line; the page shows answers in the same form."""
    items = []
    for item in example["inputs"]:
        lines = [f"      {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in item.items()]
        items.append("    {\n" + ",\n".join(lines) + "\n    }")
    return '{\n  "inputs": [\n' + ",\n".join(items) + "\n  ]\n}"
