"""The OpenAPI document of this server, with an example that works."""

import math
from typing import Any

import numpy as np

from inference import AXES, INPUTS, NAME, OUTPUTS, VERSION, Tensor
from tensors import DATATYPES

MAX_EXAMPLE = 8 * 2**10  # elements of an example that can be looked at


def make_document() -> dict[str, object]:
    """Describe the server as an OpenAPI document, with an example that works."""
    problem = {"description": "why not", "content": in_json({"type": "object", "required": ["error"]})}
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": {"oneOf": [tensor_schema(n, t) for n, t in INPUTS.items()]}},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        },
    }
    outputs = {"type": "array", "items": {"oneOf": [tensor_schema(n, t) for n, t in OUTPUTS.items()]}}
    answer = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {"outputs": outputs},
    }
    post = {
        "summary": "a prediction",
        "requestBody": {"required": True, "content": in_json(request, make_example())},
        "responses": {"200": {"description": "the outputs", "content": in_json(answer)}, "default": problem},
    }
    model = f"/v2/models/{NAME}"
    reads = {
        "/v2": "what this server is",
        "/v2/health/live": "whether it runs",
        "/v2/health/ready": "whether it takes requests",
        model: "what goes in and what comes out",
        f"{model}/ready": "whether this model takes requests",
        f"{model}/config": "the model as Triton's configuration describes it",
        f"{model}/stats": "predictions so far, and what they took",
    }
    paths: dict[str, object] = {
        path: {"get": {"summary": text, "responses": {"200": {"description": text}, "default": problem}}}
        for path, text in reads.items()
    }
    paths[f"{model}/infer"] = {"post": post}
    return {"openapi": "3.1.0", "info": {"title": NAME, "version": VERSION or "0"}, "paths": paths}


def in_json(schema: dict[str, Any], example: object = None) -> dict[str, Any]:
    """Describe the content of a message in JSON."""
    return {"application/json": {"schema": schema, **({} if example is None else {"example": example})}}


def tensor_schema(name: str, tensor: Tensor) -> dict[str, object]:
    """Describe what an input or output looks like in JSON."""
    properties = {
        "name": {"const": name},
        "datatype": {"const": DATATYPES[tensor.dtype]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": len(tensor.shape)},
        "data": {"type": "array"},
    }
    return {"type": "object", "required": ["name", "datatype", "shape"], "properties": properties}


def make_example() -> dict[str, object] | None:
    """Return the smallest request, of zeros, unless that is too large to be looked at."""
    inputs = []
    for name, tensor in INPUTS.items():
        shape = [size if isinstance(size, int) else AXES[size][0] for size in tensor.shape]
        zeros = np.zeros(1, tensor.dtype).tolist()
        if math.prod(shape) > MAX_EXAMPLE:
            return None
        data = zeros * math.prod(shape)
        inputs.append({"name": name, "datatype": DATATYPES[tensor.dtype], "shape": shape, "data": data})
    return {"inputs": inputs}
