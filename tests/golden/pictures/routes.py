"""The paths of the server, and what answers there."""

from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

import extensions
from connection import JSON
from inference import NAME, VERSION
from protocol import describe_model
from tensors import encode

FOLDER = Path(__file__).parent


class Document(NamedTuple):
    """An answer that is always the same until the server drains."""

    body: bytes
    media_type: bytes = JSON
    headers: bytes = b""
    status: int = 200
    unready: bytes | None = None  # the body of the 503 that it then is


class Action(Enum):
    """An answer that is made when it is asked for."""

    INFER = auto()
    PREDICT = auto()
    METRICS = auto()
    STATISTICS = auto()


class Route(NamedTuple):
    """What a path takes, and what answers there."""

    methods: tuple[bytes, ...]
    answer: Document | Action


PAGE_HEADERS = (  # only what is in the page runs there, and it may ask nobody but this server
    b"x-content-type-options: nosniff\r\n"
    b"content-security-policy: "
    b"default-src 'none'; "
    b"style-src 'sha256-kRNJXZVqRFzylGw74ylO91cH9TPOiTx1KcRjghY4zXY='; "
    b"script-src 'sha256-L5E0iGCiiV6mvePbiSLMAdUZsx8v0SBaZvIx0Ij8aHU='; "
    b"connect-src 'self'; "
    b"img-src blob:; "
    b"base-uri 'none'; "
    b"form-action 'none'; "
    b"frame-ancestors 'none'\r\n"
)
PAGE = Document((FOLDER / "page.html").read_bytes(), b"text/html; charset=utf-8", PAGE_HEADERS)
ICON = Document(b"", status=204)
OPENAPI = Document((FOLDER / "openapi.json").read_bytes())
SERVER = Document(encode({"name": NAME, "version": VERSION, "extensions": extensions.NAMES}))
LIVE = Document(encode({"live": True}))
# The port opens only when the model is loaded: readiness does not change before the end.
READY = Document(encode({"ready": True}), unready=encode({"ready": False}))
MODEL = Document(encode(describe_model()))
CONFIG = Document(encode(extensions.describe_config()))
INDEX = Document(encode(extensions.INDEX))
MODEL_READY = Document(encode({"name": NAME, "ready": True}), unready=encode({"name": NAME, "ready": False}))

GET = (b"GET", b"HEAD")
POST = (b"POST",)
MODEL_PATH = f"/v2/models/{NAME}"
ROUTES = {
    "/": Route(GET, PAGE),
    "/predict": Route(POST, Action.PREDICT),
    "/v2": Route(GET, SERVER),
    "/v2/health/live": Route(GET, LIVE),
    "/v2/health/ready": Route(GET, READY),
    "/v2/models/stats": Route(GET, Action.STATISTICS),
    "/v2/repository/index": Route(POST, INDEX),
    "/metrics": Route(GET, Action.METRICS),
    "/openapi.json": Route(GET, OPENAPI),
    "/favicon.ico": Route(GET, ICON),
    "/v2/models/iris": Route(GET, MODEL),
    "/v2/models/iris/config": Route(GET, CONFIG),
    "/v2/models/iris/stats": Route(GET, Action.STATISTICS),
    "/v2/models/iris/ready": Route(GET, MODEL_READY),
    "/v2/models/iris/infer": Route(POST, Action.INFER),
    "/v2/models/iris/versions/1.0.0": Route(GET, MODEL),
    "/v2/models/iris/versions/1.0.0/config": Route(GET, CONFIG),
    "/v2/models/iris/versions/1.0.0/stats": Route(GET, Action.STATISTICS),
    "/v2/models/iris/versions/1.0.0/ready": Route(GET, MODEL_READY),
    "/v2/models/iris/versions/1.0.0/infer": Route(POST, Action.INFER),
}
