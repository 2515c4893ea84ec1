"""The OpenAPI document of a generated server: each of its paths, what it takes, and what it may answer."""

import re
from collections.abc import Sequence

from onnxpack.bundle.example import make_example
from onnxpack.bundle.predict import PredictView
from onnxpack.bundle.predict_schemas import describe_answers, describe_bodies, list_schemas
from onnxpack.bundle.routes import ERRORS, Route
from onnxpack.bundle.schemas import (
    Schema,
    describe_request,
    describe_response,
    in_json,
    list_data_schemas,
    make_object,
    refer,
)
from onnxpack.bundle.views import Field, ModuleView

_BINARY = "application/octet-stream"
_LENGTH = "Inference-Header-Content-Length"
_FRAMING = (
    "The JSON, then the bytes of the tensors in the order in which the JSON names them, little-endian and row by row, "
    "each string behind its length in 4 bytes. `parameters.binary_data_size` of a tensor is the number of its bytes, "
    f"and the header `{_LENGTH}` the number of bytes of the JSON."
)
_LENGTH_PARAMETER: Schema = {
    "name": _LENGTH,
    "in": "header",
    "description": "The bytes of the JSON, where binary tensors follow it.",
    "schema": {"type": "integer", "minimum": 0},
}
_BYTES: Schema = {"description": _FRAMING, "type": "string", "contentMediaType": _BINARY}


def make_document(view: ModuleView) -> Schema:
    """Describe a model's server as an OpenAPI document."""
    paths = {quote_path(route.path): {route.method.lower(): _describe_operation(view, route)} for route in view.routes}
    schemas = {
        "Error": make_object({"error": {"type": "string", "description": "what is wrong"}}),
        "InferRequest": describe_request(view),
        "InferResponse": describe_response(view),
        **list_data_schemas(view),
        **list_schemas(PredictView(view)),
    }
    info = {"title": view.name, "version": view.version or "0", "description": view.description}
    components = {"schemas": schemas, "responses": {str(status): _describe_error(status) for status in ERRORS}}
    return {"openapi": "3.1.0", "info": info, "servers": [{"url": "/"}], "paths": paths, "components": components}


def quote_path(path: str) -> str:
    """Return a path whose braces are no parameters, as a client is to send it."""
    return re.sub(r"[^A-Za-z0-9._~/-]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), path)


def _describe_operation(view: ModuleView, route: Route) -> Schema:
    answer = _ANSWERS[route.answer](view)
    responses: Schema = {str(status): {"$ref": f"#/components/responses/{status}"} for status in route.errors}
    if route.answer in ("READY", "MODEL_READY"):  # while the server drains, the same document says so
        unready = {"anyOf": [answer["content"]["application/json"]["schema"], refer("Error")]}
        responses["503"] = {"description": ERRORS[503], "content": in_json(unready)}
    operation: Schema = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}", flags=re.ASCII).strip("_"),
        "summary": route.summary,
        "responses": {"204" if route.answer == "ICON" else "200": answer, **responses},
    }
    if route.answer == "Action.INFER":
        operation |= {"parameters": [_LENGTH_PARAMETER], "requestBody": _describe_body(view)}
    if route.answer == "Action.PREDICT":
        description = (
            f"At most {view.body_limit} bytes. Without a `Content-Type`, or with one that says nothing, the kind of a "
            "body is told by how it begins."
        )
        content = describe_bodies(PredictView(view))
        operation["requestBody"] = {"required": True, "description": description, "content": content}
    return operation


def _describe_page(_view: ModuleView) -> Schema:
    return {"description": "the page", "content": {"text/html": {"schema": {"type": "string"}}}}


def _describe_icon(_view: ModuleView) -> Schema:
    return {"description": "nothing"}


def _describe_metrics(_view: ModuleView) -> Schema:
    return {"description": "the counters", "content": {"text/plain": {"schema": {"type": "string"}}}}


def _describe_openapi(_view: ModuleView) -> Schema:
    return {"description": "this document", "content": in_json({"type": "object", "required": ["openapi", "paths"]})}


def _describe_server(view: ModuleView) -> Schema:
    properties = {
        "name": {"const": view.name},
        "version": {"const": view.version},
        "extensions": {"type": "array", "items": {"type": "string"}},
    }
    return {"description": "the server", "content": in_json(make_object(properties))}


def _describe_live(_view: ModuleView) -> Schema:
    return {"description": "it runs", "content": in_json(make_object({"live": {"const": True}}))}


def _describe_ready(_view: ModuleView) -> Schema:
    return {"description": "requests are taken", "content": in_json(make_object({"ready": {"type": "boolean"}}))}


def _describe_model_ready(view: ModuleView) -> Schema:
    properties = {"name": {"const": view.name}, "ready": {"type": "boolean"}}
    return {"description": "requests are taken", "content": in_json(make_object(properties))}


def _describe_model(view: ModuleView) -> Schema:
    def describe(fields: Sequence[Field]) -> list[Schema]:
        return [
            {
                "name": field.name,
                "datatype": field.datatype,
                "shape": [-1 if isinstance(size, str) else size for size in field.shape],
            }
            for field in fields
        ]

    shape = {"type": "array", "items": {"type": "integer", "minimum": -1}, "description": "-1 is an axis of any size"}
    tensor = make_object({"name": {"type": "string"}, "datatype": {"type": "string"}, "shape": shape})
    example = {
        "name": view.name,
        "versions": [view.version],
        "platform": "onnxruntime_onnx",
        "inputs": describe(view.arguments),
        "outputs": describe(view.fields),
    }
    properties = {
        "name": {"const": view.name},
        "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        "inputs": {"type": "array", "items": tensor},
        "outputs": {"type": "array", "items": tensor},
    }
    return {"description": "the model", "content": in_json(make_object(properties), example)}


def _describe_config(view: ModuleView) -> Schema:
    tensors = {"type": "array", "items": {"type": "object", "required": ["name", "data_type", "dims"]}}
    properties = {
        "name": {"const": view.name},
        "max_batch_size": {"type": "integer"},
        "input": tensors,
        "output": tensors,
    }
    return {"description": "Triton's configuration of the model", "content": in_json(make_object(properties))}


def _describe_statistics(view: ModuleView) -> Schema:
    counts = {name: {"type": "integer", "minimum": 0} for name in ("inference_count", "execution_count")}
    properties = {"name": {"const": view.name}, "version": {"const": view.version}, **counts}
    items = {"type": "array", "items": make_object(properties)}
    return {"description": "Triton's statistics of the model", "content": in_json(make_object({"model_stats": items}))}


def _describe_index(view: ModuleView) -> Schema:
    item = make_object({"name": {"const": view.name}, "version": {"const": view.version}, "state": {"type": "string"}})
    return {"description": "the model", "content": in_json({"type": "array", "items": item})}


def _describe_inference(_view: ModuleView) -> Schema:
    return {
        "description": "the outputs; binary if the request asked for that",
        "headers": {
            _LENGTH: {"description": "Bytes of the JSON before binary tensors.", "schema": {"type": "integer"}}
        },
        "content": {**in_json(refer("InferResponse")), _BINARY: {"schema": _BYTES}},
    }


def _describe_prediction(view: ModuleView) -> Schema:
    return {"description": "the outputs by their names", "content": describe_answers(PredictView(view))}


_ANSWERS = {
    "PAGE": _describe_page,
    "ICON": _describe_icon,
    "OPENAPI": _describe_openapi,
    "SERVER": _describe_server,
    "LIVE": _describe_live,
    "READY": _describe_ready,
    "MODEL": _describe_model,
    "CONFIG": _describe_config,
    "INDEX": _describe_index,
    "MODEL_READY": _describe_model_ready,
    "Action.METRICS": _describe_metrics,
    "Action.STATISTICS": _describe_statistics,
    "Action.INFER": _describe_inference,
    "Action.PREDICT": _describe_prediction,
}
"""For each ``Route.answer`` what describes it."""


def _describe_error(status: int) -> Schema:
    response: Schema = {"description": ERRORS[status], "content": in_json(refer("Error"))}
    if status == 503:
        seconds = {"description": "Seconds after which it is worth another try.", "schema": {"type": "integer"}}
        response["headers"] = {"Retry-After": seconds}
    if status == 405:
        response["headers"] = {"Allow": {"description": "The methods there are.", "schema": {"type": "string"}}}
    return response


def _describe_body(view: ModuleView) -> Schema:
    description = f"At most {view.body_limit} bytes. Its form is told by its content: any `Content-Type` is taken."
    content = {**in_json(refer("InferRequest"), make_example(view)), _BINARY: {"schema": _BYTES}}
    return {"required": True, "description": description, "content": content}
