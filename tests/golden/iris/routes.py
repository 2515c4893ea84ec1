"""The paths of the server, and the documents there that never change."""

from typing import NamedTuple

import extensions
import openapi
from connection import JSON
from inference import NAME, VERSION
from protocol import describe_model
from tensors import encode


class Document(NamedTuple):
    """A body that is always the same, and its media type."""

    body: bytes
    media_type: bytes = JSON


METRICS_PATH = "/metrics"
INDEX_PATH = "/v2/repository/index"
MODEL_PATHS = (f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/{VERSION}")
STATISTICS_PATHS = {"/v2/models/stats", *(f"{path}/stats" for path in MODEL_PATHS)}
INFER_PATHS = {f"{path}/infer" for path in MODEL_PATHS}
READY_PATHS = {"/v2/health/ready", *(f"{path}/ready" for path in MODEL_PATHS)}
# The port opens only when the model is loaded, so that nothing here changes before the end.
DOCUMENTS = {
    "/v2": Document(encode({"name": NAME, "version": VERSION, "extensions": extensions.NAMES})),
    "/v2/health/live": Document(encode({"live": True})),
    "/v2/health/ready": Document(encode({"ready": True})),
    "/openapi.json": Document(encode(openapi.make_document())),
    **{path: Document(encode(describe_model())) for path in MODEL_PATHS},
    **{f"{path}/config": Document(encode(extensions.describe_config())) for path in MODEL_PATHS},
    **{f"{path}/ready": Document(encode({"name": NAME, "ready": True})) for path in MODEL_PATHS},
}
INDEX = encode(extensions.INDEX)
NOT_READY = {
    path: encode({"ready": False} if path == "/v2/health/ready" else {"name": NAME, "ready": False})
    for path in READY_PATHS
}
