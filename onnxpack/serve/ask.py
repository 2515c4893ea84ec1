"""Tell how a server can be asked, from what it says of itself."""

import json
import shlex
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import Any

from onnxpack.serve.server import HOST

_LIMIT = 16 * 2**20
"""The most bytes of a description that are read."""
_SPECIAL = ("", "@", "{", "[", '"')
"""How a text does not begin that curl sends as it is, and that a server does not take for JSON."""
_LONGEST = 1000
"""How many characters a request on the command line may have; a picture has thousands of numbers."""


def describe_request(port: int) -> str:
    """Return a command that asks the server on a port for a prediction, or for its model if a request is too long."""
    address, description = f"localhost:{port}", _read_description(port)
    if body := _find_body(description):
        return f"curl -s {address}/predict {body}"
    for path, example in _list_examples(description):
        data = json.dumps(example)
        if len(data) <= _LONGEST:
            return f"curl -s {address}{path} -H 'Content-Type: application/json' -d {shlex.quote(data)}"
        return f"curl -s {address}{path.removesuffix('/infer')}"
    return f"curl -s {address}/v2"


def _find_body(description: Any) -> str | None:
    """Return what curl is told to send to ``/predict``, without a type: the server knows it by how a body begins."""
    try:
        content = description["paths"]["/predict"]["post"]["requestBody"]["content"]
        for kind in content:
            if kind.startswith("image/"):
                return f"--data-binary @picture.{kind.removeprefix('image/')}"
        data = content.get("text/plain", {}).get("example", "")
        if data[:1] in _SPECIAL:
            data = json.dumps(next(iter(content["application/json"]["examples"].values()))["value"])
        return f"-d {shlex.quote(data)}" if len(data) <= _LONGEST else None
    except (AttributeError, LookupError, StopIteration, TypeError):
        return None  # another server, or a request that is too large to show


def _read_description(port: int) -> Any:
    connection = HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request("GET", "/openapi.json")
        return json.loads(connection.getresponse().read(_LIMIT))
    except (OSError, HTTPException, ValueError, RecursionError):
        return {}
    finally:
        connection.close()


def _list_examples(description: Any) -> Iterator[tuple[str, Any]]:
    """Yield the paths that give predictions, the shortest first, each with a request that it takes."""
    try:
        paths = sorted((path for path in description["paths"] if path.endswith("/infer")), key=len)
        for path in paths:
            yield path, description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    except (TypeError, LookupError, AttributeError):
        return  # another server than ours describes itself in another way
