"""What bodies and answers of ``/predict`` look like in a server's OpenAPI document, with bodies that work."""

import csv
import math
from io import StringIO
from typing import Any

from onnxpack.bundle.example import make_example
from onnxpack.bundle.form import format_date
from onnxpack.bundle.predict import PredictView
from onnxpack.bundle.schemas import Schema, describe_element, make_object, refer
from onnxpack.bundle.tables import list_columns
from onnxpack.bundle.views import Field
from onnxpack.core.values import Shape
from onnxpack.spec.columns import ClientColumn

_FORM = "multipart/form-data"
_FIELDS = "application/x-www-form-urlencoded"
_FILE: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}


def list_schemas(view: PredictView) -> dict[str, Schema]:
    """Return the schemas that those of bodies and answers refer to."""
    return {"Record": _describe_record(view), "Answer": _describe_answer(view)}


def describe_bodies(view: PredictView) -> Schema:
    """Return what is taken, by media type."""
    content: Schema = {name: _describe_body(view, name) for name in view.media_types}
    if view.table:
        content[_FIELDS] = {"schema": _describe_fields(view)}
    return content


def describe_answers(view: PredictView) -> Schema:
    """Return what is answered, by media type."""
    answer = refer("Answer")
    several = {"type": "array", "items": answer}
    content: Schema = {"application/json": {"schema": {"anyOf": [answer, several]} if view.rows else answer}}
    return content | ({"text/csv": {"schema": {"type": "string"}}} if view.writes_table else {})


def make_records(view: PredictView) -> list[dict[str, Any]]:
    """Return as few records as the model takes at once, of example values; none if they are too large to show."""
    example = make_example(view.model)
    if example is None:
        return []
    whole = {item["name"]: _nest(item["data"], item["shape"]) for item in example["inputs"]}
    if not view.lists:
        return [whole]
    for field in view.model.arguments:
        if field.shape[1:] == (1,):  # a list of one value is the value itself
            whole[field.name] = [row[0] for row in whole[field.name]]
    for column in view.declared.values():
        if column.kind == "date":
            whole[column.name] = [format_date(column, value) for value in whole[column.name]]
    return [dict(zip(whole, row, strict=True)) for row in zip(*whole.values(), strict=True)]


def make_table(view: PredictView, records: list[dict[str, Any]]) -> str:
    """Return records as a table."""
    columns = list_columns(view.model.inputs)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for names in columns.values() for name in names])
    for record in records:
        cells = [record[name] if isinstance(record[name], list) else [record[name]] for name in columns]
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for row in cells for value in row])
    return text.getvalue()


def _nest(data: list[Any], shape: list[int]) -> Any:
    """Return flat data as nested lists."""
    if not shape:
        return data[0]
    size = math.prod(shape[1:])
    return [_nest(data[size * index : size * (index + 1)], shape[1:]) for index in range(shape[0])]


def _describe_body(view: PredictView, media_type: str) -> Schema:
    records = make_records(view)
    if media_type == "application/json":
        examples: Schema = {}
        if len(records) == 1:
            examples["one"] = {"value": records[0]}
        if records and view.lists:
            examples["several"] = {"value": records}
        return {"schema": _describe_json(view), **({"examples": examples} if examples else {})}
    if media_type == _FORM:
        return {"schema": _describe_form(view)}
    if media_type == "text/csv":
        table = {"example": make_table(view, records)} if records else {}
        return {"schema": {"type": "string", "contentMediaType": "text/csv"}, **table}
    if media_type == "text/plain":
        (text,) = records[0].values()
        return {"schema": {"type": "string"}, "example": text}
    return {"schema": {"type": "string", "contentMediaType": media_type}}


def _describe_json(view: PredictView) -> Schema:
    record = refer("Record")
    forms: list[Schema] = [record]
    if view.lists:
        forms.append({"type": "array", "items": record})
    if view.one:
        (field,) = view.model.arguments
        value = _describe_value(field, field.shape[1:] if view.lists else field.shape)
        forms += [value, {"type": "array", "items": value}] if view.lists else [value]
    return {"anyOf": forms} if len(forms) > 1 else record


def _describe_form(view: PredictView) -> Schema:
    if view.takes_picture or view.takes_text:
        part = _FILE if view.takes_picture else {"type": "string"}
        return make_object({view.model.arguments[0].name: part})
    properties = {field.name: _FILE if field.kind == "bytes" else {"type": "string"} for field in view.model.arguments}
    fields = _describe_fields(view) if view.table else make_object(properties)
    return {"anyOf": [make_object({"file": _FILE}), fields]}


def _describe_fields(view: PredictView) -> Schema:
    return make_object(
        {name: {"type": "string"} for names in list_columns(view.model.inputs).values() for name in names}
    )


def _describe_record(view: PredictView) -> Schema:
    fields = view.model.arguments
    if declared := view.declared:
        record = make_object({
            f.name: _describe_column(declared[f.name], f) if f.name in declared else _describe_value(f, f.shape[1:])
            for f in fields
        })  # fmt: skip
        filled = {column.name for column in declared.values() if column.fill is not None}
        return record | {"required": [field.name for field in fields if field.name not in filled]}
    whole = make_object({f.name: _describe_value(f, f.shape[1:] if view.lists else f.shape) for f in fields})
    columns = list_columns(view.model.inputs)
    if not view.table or all(len(names) == 1 for names in columns.values()):
        return whole
    flat = make_object({name: describe_element(field) for field in fields for name in columns[field.name]})
    return {"anyOf": [whole, flat]}


def _describe_column(column: ClientColumn, field: Field) -> Schema:
    """Describe a value of a column that is declared; null stands for one that may be missing."""
    kinds = [describe_element(field)]
    if column.words is not None:
        kinds = [{"enum": list(column.words)}]
    if column.kind == "date":
        kinds = [{"type": "string", "description": "a date, or a date and time, as in ISO 8601"}]
    if column.fill is not None:
        kinds.append({"type": "null"})
    return {"anyOf": kinds} if len(kinds) > 1 else kinds[0]


def _describe_answer(view: PredictView) -> Schema:
    fields = {field.name: field for field in view.model.fields}
    pairs = {pair.name: pair for pair in view.pairs}
    properties: Schema = {}
    for name in view.answers:
        if pair := pairs.get(name):
            place, value = describe_element(fields[pair.places]), describe_element(fields[pair.values])
            properties[name] = {"type": "array", "items": make_object({pair.word: place, "value": value})}
        elif words := view.classes.get(name):
            properties[name] = make_object({word: describe_element(fields[name]) for word in words})
        elif name in view.documents:
            properties[name] = {"description": "JSON"}
        else:
            field = fields[name]
            properties[name] = _describe_value(field, field.shape[1:] if view.rows else field.shape)
    return make_object(properties)


def _describe_value(field: Field, shape: Shape) -> Schema:
    """Describe a value of a shape; a list of one value is the value itself."""
    if field.kind == "bytes":
        return {"type": "string", "contentEncoding": "base64", "description": "a picture, in base64 or as a data: URL"}
    schema = describe_element(field)
    for size in reversed(() if shape == (1,) else shape):
        limits = {"minItems": size, "maxItems": size} if isinstance(size, int) else {"description": size}
        schema = {"type": "array", "items": schema, **limits}
    return schema
