"""Health, and what the server and the model say of themselves."""

import re

from onnxpack.conformance.checks import Level, NotOfferedError, check
from onnxpack.conformance.expect import require, require_error, require_ok
from onnxpack.conformance.server import Server
from onnxpack.conformance.tensors import DATATYPES

UNKNOWN = "no-such-model-here"
_PLATFORM = re.compile(r"[a-z0-9]+(_[a-z0-9]+)+")


@check("health.live", "the server is live", Level.REQUIRED, "Server Live")
def check_live(server: Server) -> None:
    """Ask for liveness."""
    require(require_ok(server.ask("GET", "/v2/health/live")).get("live") is True, '{"live": true}')


@check("health.ready", "the server is ready", Level.REQUIRED, "Server Ready")
def check_ready(server: Server) -> None:
    """Ask for readiness. The protocol's text calls the member "live", and its OpenAPI document "ready"."""
    document = require_ok(server.ask("GET", "/v2/health/ready"))
    require(document.get("ready", document.get("live")) is True, '{"ready": true} or {"live": true}')


@check("health.model", "the model is ready", Level.REQUIRED, "Model Ready")
def check_model_ready(server: Server) -> None:
    """Ask for the model's readiness."""
    document = require_ok(server.ask("GET", f"{server.path}/ready"))
    require(document.get("name") == server.model, "the model's name")
    require(document.get("ready") is True, '"ready": true')


@check("health.version", "a version of the model is ready", Level.REQUIRED, "Model Ready")
def check_version_ready(server: Server) -> None:
    """Ask for a version's readiness."""
    document = require_ok(server.ask("GET", f"{server.version_path}/ready"))
    require(document.get("name") == server.model and document.get("ready") is True, "the name and true")


@check("health.unknown", "a model that is not there is not ready", Level.REQUIRED, "Model Ready")
def check_unknown_ready(server: Server) -> None:
    """Ask for the readiness of a model that is not there: the protocol leaves open how that is said."""
    answer = server.ask("GET", f"/v2/models/{UNKNOWN}/ready")
    require(answer.status >= 400 or require_ok(answer).get("ready") is False, 'an error status or "ready": false')


@check("metadata.server", "the server's metadata", Level.REQUIRED, "Server Metadata")
def check_server_metadata(server: Server) -> None:
    """Ask what the server is."""
    document = require_ok(server.ask("GET", "/v2"))
    for name in ("name", "version"):
        require(isinstance(document.get(name), str), f"{name!r}, a string")
    extensions = document.get("extensions")
    texts = isinstance(extensions, list) and all(isinstance(text, str) for text in extensions)
    require(texts, "'extensions', a list of strings")


@check("metadata.model", "the model's metadata", Level.REQUIRED, "Model Metadata")
def check_model_metadata(server: Server) -> None:
    """Ask what the model is."""
    document = require_ok(server.ask("GET", server.path))
    require(document.get("name") == server.model, "the model's name")
    require(isinstance(document.get("platform"), str), "'platform', a string")
    versions = document.get("versions")
    texts = isinstance(versions, list) and all(isinstance(text, str) and text for text in versions)
    require(texts or versions is None, "'versions', a list of strings that can be asked for")
    for name in ("inputs", "outputs"):
        require(isinstance(document.get(name), list), f"{name!r}, a list")


@check("metadata.platform", "the platform is of the form project_format", Level.ROBUSTNESS, "Platforms")
def check_platform(server: Server) -> None:
    """Look at the platform's form: the protocol's list of names lacks most frameworks."""
    platform = require_ok(server.ask("GET", server.path)).get("platform")
    require(isinstance(platform, str) and _PLATFORM.fullmatch(platform), "a platform such as onnx_onnxv1")


@check("metadata.tensors", "names, datatypes and shapes of inputs and outputs", Level.REQUIRED, "Model Metadata")
def check_tensors(server: Server) -> None:
    """Look at each input and output of the metadata."""
    require_ok(server.ask("GET", server.path))
    tensors = server.list_tensors("inputs") + server.list_tensors("outputs")
    if not tensors:
        raise NotOfferedError("the metadata name no inputs and outputs")
    for item in tensors:
        require(isinstance(item.get("name"), str), "a name for each tensor")
        known = item.get("datatype") in (*DATATYPES, "BF16")  # its gRPC part and its clients know BF16
        require(known, f"a datatype of the protocol for {item['name']!r}")
        shape = item.get("shape")
        require(
            isinstance(shape, list) and all(type(size) is int and size >= -1 for size in shape),
            f"sizes, and -1 for any size, as the shape of {item['name']!r}",
        )


@check("metadata.version", "the metadata of a version", Level.REQUIRED, "Model Metadata")
def check_version_metadata(server: Server) -> None:
    """Ask what a version of the model is."""
    require(require_ok(server.ask("GET", server.version_path)).get("name") == server.model, "the model's name")


@check("metadata.unknown", "no metadata of a model that is not there", Level.REQUIRED, "Model Metadata")
def check_unknown_metadata(server: Server) -> None:
    """Ask what a model is that is not there."""
    require_error(server.ask("GET", f"/v2/models/{UNKNOWN}"))


@check("metadata.unknown-version", "no metadata of a version that is not there", Level.REQUIRED, "Model Metadata")
def check_unknown_version(server: Server) -> None:
    """Ask what a version is that is not there."""
    require(server.version_path, "a version")
    require_error(server.ask("GET", f"{server.path}/versions/{UNKNOWN}"))


@check("metadata.slash", "paths may end with a slash", Level.ROBUSTNESS, "clients write /v2/ too")
def check_slashes(server: Server) -> None:
    """Ask with a slash behind each path."""
    for path in ("/v2", "/v2/health/ready", server.path):
        require(server.ask("GET", f"{path}/").status in (200, 307, 308), "200, or a redirect")
