"""Triton's endpoints that load generators and dashboards read."""

from typing import Any

from onnxpack.conformance.checks import Level, NotOfferedError, check
from onnxpack.conformance.expect import require, require_ok, require_same
from onnxpack.conformance.server import INDEX, Server, read_index, read_outputs


def _read(server: Server, path: str, claim: str) -> dict[str, Any]:
    """Return the document of an endpoint that the server has, or claims."""
    answer = server.ask("GET", path)
    if answer.status >= 400 and claim not in server.claims:
        raise NotOfferedError(f"the server does not claim {claim!r}, and answers {answer}")
    return require_ok(answer)


@check("triton.config", "the model's configuration", Level.EXTENSION, "Triton: model_configuration")
def check_config(server: Server) -> None:
    """Ask for the configuration: what load generators make requests from."""
    document = _read(server, f"{server.path}/config", "model_configuration")
    require(document.get("name") == server.model, "the model's name")
    require(type(document.get("max_batch_size", 0)) is int, "'max_batch_size', a whole number")
    for part in ("input", "output"):
        items = document.get(part)
        listed = isinstance(items, list) and all(isinstance(item, dict) for item in items)
        require(listed, f"{part!r}, a list of objects")
        for item in items or ():
            kind = str(item.get("data_type"))
            require(isinstance(item.get("name"), str) and kind.startswith("TYPE_"), "a name, and a TYPE_… as data_type")
            require(isinstance(item.get("dims"), list), "a list as dims")


@check("triton.stats", "the model's statistics", Level.EXTENSION, "Triton: statistics")
def check_stats(server: Server) -> None:
    """Ask for the statistics before and after a prediction: the count of inferences grows."""
    before = _count(_read(server, f"{server.path}/stats", "statistics"), server.model)
    require_same(read_outputs(server.infer(server.sample.to_json())), server.outputs)
    after = _count(_read(server, f"{server.path}/stats", "statistics"), server.model)
    require(after > before, f"more inferences than {before}")


def _count(document: dict[str, Any], model: str) -> int:
    """Return how many inferences the statistics tell."""
    items = document.get("model_stats")
    listed = isinstance(items, list) and all(isinstance(item, dict) for item in items)
    require(listed, "'model_stats', a list of objects")
    entry: dict[str, Any] = next((item for item in items or () if item.get("name") == model), {})
    count = entry.get("inference_count")
    require(type(count) is int, f"an 'inference_count' of {model!r}")
    return int(count or 0)


@check("triton.index", "the index of models", Level.EXTENSION, "Triton: model_repository")
def check_index(server: Server) -> None:
    """Ask which models there are."""
    answer = server.ask("POST", INDEX, b"{}", ("content-type: application/json",))
    if answer.status >= 400 and "model_repository" not in server.claims:
        raise NotOfferedError(f"the server does not claim 'model_repository', and answers {answer}")
    models = read_index(answer)
    require(server.model in models, f"the model {server.model!r} among them")
