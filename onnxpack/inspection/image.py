"""Reads what an image says about itself: one that an engine has, or one in an archive."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxpack.bundle.context import CONTENT_LABEL, VERSION_LABEL
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.image import DOCKER, choose_engine
from onnxpack.image.docker import DockerEngine
from onnxpack.image.engine import Image
from onnxpack.image.oci import OciEngine
from onnxpack.oci.copies import copy_image
from onnxpack.oci.layout import Layout
from onnxpack.oci.sources import open_source

_BASE_LABEL = "org.opencontainers.image.base.name"
_OWN = "dev.onnxpack."


def image_facts(reference: str) -> dict[str, Any]:
    """Return the facts about an image as JSON values; sizes are in bytes.

    Raises:
        SpecError: the engine has no image of that name.
        EngineError: the engine that is named does not answer.
    """
    if choose_engine() != DOCKER:
        engine = OciEngine()
        found = engine.find(reference)
        if found is None:
            raise _make_unknown(reference, "build it first, or start Docker if its engine has it")
        return _describe(reference, found, engine.read_config(found.id), [reference])
    docker = DockerEngine()
    try:
        image = docker.find(reference)
    except EngineError as error:
        message = f"there is no file '{reference}', so it is taken for an image, but {error.problems[0].message}"
        raise EngineError(message, "start the engine, or correct DOCKER_HOST", error.problems[0].detail) from None
    if image is None:
        raise _make_unknown(reference, f"check the path, or run `docker pull {reference}` first")
    with docker.guarded(f"inspect {reference}"):
        facts = docker.client.inspect_image(image.id)
    config = {"created": facts.get("Created"), "config": facts.get("Config")}
    return _describe(reference, image, config, facts.get("RepoTags") or [], facts.get("RepoDigests") or [])


def archive_facts(path: Path) -> dict[str, Any]:
    """Return the same of the image in an archive, such as a build without a daemon leaves.

    Raises:
        SpecError: it holds no image, or several.
        EngineError: it is damaged.
    """
    with make_temporary_folder() as folder, open_source(path) as source:
        engine = OciEngine(Layout(folder))
        engine.layout.name(str(path), copy_image(engine.layout, source.blobs, source.entry))
        image = engine.find(source.entry.digest)
        assert image
        return _describe(str(path), image, engine.read_config(image.id), list(source.names))


def _make_unknown(reference: str, hint: str) -> SpecError:
    return SpecError(f"'{reference}' is neither a file nor an image that the engine has", hint)


def _describe(
    reference: str, image: Image, facts: Mapping[str, Any], names: list[str], digests: list[str] | None = None
) -> dict[str, Any]:
    config = facts.get("config") or {}
    return {
        "kind": "image",
        "reference": reference,
        "id": image.id,
        "names": names,
        "digests": digests or [],
        "created": facts.get("created"),
        "platform": image.platform,
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
