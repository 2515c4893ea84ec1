"""The schemas of requests and answers in a server's OpenAPI document."""

from typing import Any

import numpy as np

from onnxpack.bundle.views import Field, ModuleView

Schema = dict[str, Any]


def describe_request(view: ModuleView) -> Schema:
    """Return what a request looks like in JSON."""
    flag = {"type": "boolean"}
    inputs = [_describe_input(view, field) for field in view.arguments]
    output = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"enum": [field.name for field in view.fields]},
            "parameters": {"type": "object", "properties": {"binary_data": flag}},
        },
    }
    properties = {
        "id": {"type": "string", "description": "It comes back with the answer."},
        "parameters": {"type": "object", "properties": {"binary_data_output": flag}},
        "inputs": {"type": "array", "minItems": len(inputs), "maxItems": len(inputs), "items": {"oneOf": inputs}},
        "outputs": {"type": "array", "items": output, "description": "The outputs to answer with. Default: all."},
    }
    return {"type": "object", "required": ["inputs"], "properties": properties}


def describe_response(view: ModuleView) -> Schema:
    """Return what an answer looks like in JSON."""
    outputs = [_describe_tensor(field, [_describe_size(size, None) for size in field.shape]) for field in view.fields]
    properties = {
        "model_name": {"const": view.name},
        "model_version": {"const": view.version},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": {"oneOf": outputs}},
    }
    return {"type": "object", "required": ["model_name", "model_version", "outputs"], "properties": properties}


def _describe_input(view: ModuleView, field: Field) -> Schema:
    limits = {axis.name: (axis.min, axis.max) for axis in view.axes}
    return _describe_tensor(field, [_describe_size(size, limits.get(str(size))) for size in field.shape])


def _describe_size(size: int | str, limits: tuple[int, int] | None) -> Schema:
    if isinstance(size, int):
        return {"const": size}
    least, most = limits or (0, None)
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most}), "description": size}


def _describe_tensor(field: Field, sizes: list[Schema]) -> Schema:
    shape: Schema = {"type": "array", "minItems": len(sizes), "maxItems": len(sizes)}
    if sizes:
        shape["prefixItems"] = sizes
    properties = {
        "name": {"const": field.name},
        "datatype": {"const": field.datatype},
        "shape": shape,
        "data": refer(_name_data(field)),
        "parameters": {"type": "object"},
    }
    return {"type": "object", "required": ["name", "datatype", "shape", "data"], "properties": properties}


def list_data_schemas(view: ModuleView) -> dict[str, Schema]:
    """Return what the data of each datatype looks like: flat, or nested as the shape says."""
    found = {}
    for field in (*view.arguments, *view.fields):
        name = _name_data(field)
        items = {"anyOf": [describe_element(field), refer(name)]}
        found[name] = {"type": "array", "description": "flat or nested, row by row", "items": items}
    return found


def _name_data(field: Field) -> str:
    """Return the name of the schema of a field's data; strings and files are of one datatype, but not alike in JSON."""
    return "Base64" if field.kind == "bytes" else field.datatype


def describe_element(field: Field) -> Schema:
    """Return what an element of an input or output looks like."""
    if field.kind == "float":
        return {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
    if field.kind == "integer":
        limits = np.iinfo(field.info.dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    if field.kind == "bytes":
        return {"type": "string", "contentEncoding": "base64", "description": "a picture's file"}
    return {"type": "boolean" if field.kind == "bool" else "string"}


def make_object(properties: Schema) -> Schema:
    """Describe an object that has all of these properties."""
    return {"type": "object", "required": list(properties), "properties": properties}


def refer(name: str) -> Schema:
    """Refer to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def in_json(schema: Schema, example: object = None) -> Schema:
    """Return the content of a message in JSON."""
    return {"application/json": {"schema": schema, **({} if example is None else {"example": example})}}
