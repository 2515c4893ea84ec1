"""Reads what an image says about itself, as its engine has it."""

from dataclasses import asdict
from typing import Any

from onnxpack.bundle.context import CONTENT_LABEL, VERSION_LABEL
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.image.docker import DockerEngine

_BASE_LABEL = "org.opencontainers.image.base.name"
_OWN = "dev.onnxpack."


def image_facts(reference: str) -> dict[str, Any]:
    """Return the facts about an image as JSON values; sizes are in bytes.

    Raises:
        SpecError: the engine has no image of that name.
        EngineError: no engine answers.
    """
    engine = DockerEngine()
    try:
        image = engine.find(reference)
    except EngineError as error:
        message = f"there is no file '{reference}', so it is taken for an image, but {error.problems[0].message}"
        raise EngineError(message, error.problems[0].hint, error.problems[0].detail) from None
    if image is None:
        hint = f"check the path, or run `docker pull {reference}` first"
        raise SpecError(f"'{reference}' is neither a file nor an image that the engine has", hint)
    with engine.guarded(f"inspect {reference}"):
        facts = engine.client.inspect_image(image.id)
    config = facts.get("Config") or {}
    return {
        "kind": "image",
        "reference": reference,
        "id": image.id,
        "names": facts.get("RepoTags") or [],
        "digests": facts.get("RepoDigests") or [],
        "created": facts.get("Created"),
        "platform": f"{facts.get('Os')}/{facts.get('Architecture')}",
        "size_bytes": image.size_bytes,
        "layers": [asdict(layer) for layer in image.layers],
        "user": config.get("User") or "root",
        "entrypoint": config.get("Entrypoint"),
        "command": config.get("Cmd"),
        "ports": sorted(config.get("ExposedPorts") or {}),
        "env": dict(word.partition("=")[::2] for word in config.get("Env") or []),
        "labels": image.labels,
        "provenance": _provenance(image.labels),
    }


def _provenance(labels: dict[str, str]) -> dict[str, str] | None:
    """Return where an image that onnxpack built comes from; None for any other."""
    if CONTENT_LABEL not in labels:
        return None
    own = {key.removeprefix(_OWN): value for key, value in labels.items() if key.startswith(_OWN)}
    return {"base": labels.get(_BASE_LABEL, ""), "version": labels.get(VERSION_LABEL, ""), **dict(sorted(own.items()))}
