"""The paths of a generated server: one table, which its routes, its OpenAPI document and its docstring are made of."""

from dataclasses import dataclass
from typing import Literal

ERRORS = {
    400: "The request is wrong; the message says what and where.",
    404: "Nothing is at this path.",
    405: "The path takes another method; `Allow` says which.",
    408: "The request took too long to arrive.",
    413: "The body is larger than the server takes.",
    415: "The body is of a type, or compressed in a way, that is not taken.",
    431: "The request's line and headers are too large.",
    500: "The model failed; the server's log says why.",
    501: "The server is no proxy.",
    503: "The server has too much to do, or it is stopping.",
}
"""The statuses of errors, with what each means."""

_ANYWHERE = (400, 408, 413, 431, 503)
"""The errors that every path may answer with: they come before a request is read, or of what is wrong with its form."""
_POST = (400, 408, 413, 415, 431, 503)
_INFER = (*_POST, 500)


@dataclass(frozen=True)
class Route:
    """A path of the server and the method that it takes; HEAD goes with GET.

    ``answer`` is the name of what answers there: a constant or a member of ``Action`` in ``templates/routes.py.j2``,
    and the key of its description in ``onnxpack.bundle.openapi``.
    """

    method: Literal["GET", "POST"]
    path: str
    answer: str
    summary: str
    versioned: bool = False
    """Whether the model's version is in the path; the same answers without it."""
    errors: tuple[int, ...] = _ANYWHERE


def list_routes(name: str, version: str) -> tuple[Route, ...]:
    """List what the server of a model answers; the model's own paths are there with and without its version."""
    model = f"/v2/models/{name}"
    places = {model: False} | ({f"{model}/versions/{version}": True} if version else {})
    return (
        Route("GET", "/", "PAGE", "a page for people: the model, and a form to try it"),
        Route("POST", "/predict", "Action.PREDICT", "a prediction, from what people have", errors=_INFER),
        Route("GET", "/v2", "SERVER", "what this server is"),
        Route("GET", "/v2/health/live", "LIVE", "whether it runs"),
        Route("GET", "/v2/health/ready", "READY", "whether requests are taken"),
        Route("GET", "/v2/models/stats", "Action.STATISTICS", "predictions so far, and what they took"),
        Route("POST", "/v2/repository/index", "INDEX", "the models there are", errors=_POST),
        Route("GET", "/metrics", "Action.METRICS", "counters for Prometheus"),
        Route("GET", "/openapi.json", "OPENAPI", "all this for tools, with an example"),
        Route("GET", "/favicon.ico", "ICON", "no icon: browsers ask for one"),
        *(
            route
            for at, versioned in places.items()
            for route in (
                Route("GET", at, "MODEL", "what goes in and what comes out", versioned),
                Route("GET", f"{at}/config", "CONFIG", "what Triton's tools ask of a model", versioned),
                Route("GET", f"{at}/stats", "Action.STATISTICS", "predictions of this model so far", versioned),
                Route("GET", f"{at}/ready", "MODEL_READY", "whether requests for this model are taken", versioned),
                Route(
                    "POST",
                    f"{at}/infer",
                    "Action.INFER",
                    "a prediction, from JSON or binary tensors",
                    versioned,
                    _INFER,
                ),
            )
        ),
    )
