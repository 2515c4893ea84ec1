"""Bring images to registries: from an engine, a build's output, an archive or a layout."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxpack.core.errors import Location, Problem, SpecError
from onnxpack.core.progress import Progress
from onnxpack.core.regular import read_regular
from onnxpack.image import ARCHIVE
from onnxpack.image.engine import Engine
from onnxpack.oci import GZIP
from onnxpack.oci.layout import MARK
from onnxpack.oci.manifests import make_index
from onnxpack.oci.pull import fetch_document
from onnxpack.oci.push import push, push_index
from onnxpack.oci.reference import DEFAULT_REGISTRY, ImageReference, parse_reference
from onnxpack.oci.registry import Registry
from onnxpack.oci.sources import Source, open_source

REPORT = "report.json"
_LIMIT = 64 * 2**20  # bytes of a report


def push_image(
    engine: Engine, image: str, names: Sequence[str], progress: Progress, *, compression: str = GZIP
) -> tuple[str, ...]:
    """Push an image that an engine has under names, and return ``repository@sha256:…`` of each repository.

    Raises:
        SpecError: a name has no registry.
        EngineError: the engine does not give it, or a registry does not take it.
    """
    references = read_destinations(names)
    blobs, entry = engine.export(image, compression)
    return _push(Source(blobs, entry), references, progress)


def is_pushed(digest: str, names: Sequence[str]) -> bool:
    """Return whether registries have the image of this digest under all names.

    Raises:
        SpecError: a name has no registry.
        EngineError: a registry cannot be reached, or lacks a name.
    """
    found = (fetch_document(Registry(reference.registry), reference) for reference in read_destinations(names))
    return all(document.digest == digest for document in found)


def push_joined(
    engine: Engine, images: Mapping[str, str], name: str, progress: Progress, *, compression: str = GZIP
) -> str:
    """Push one name for the images of several platforms that an engine has, and return ``repository@sha256:…``.

    ``images`` are the images' ids, by platform; what the registry has of them is not sent again.

    Raises:
        SpecError: the name has no registry.
        EngineError: the engine does not give an image, or the registry does not take it.
    """
    (reference,) = read_destinations((name,))
    exported = {platform: engine.export(image, compression) for platform, image in images.items()}
    (layout, *_) = (layout for layout, _ in exported.values())  # an engine has one for all
    index = make_index({platform: entry for platform, (_, entry) in exported.items()})
    with progress.stage("push"):
        return f"{reference.name}@{push_index(layout, index, (reference,), progress)}"


def push_path(path: Path, names: Sequence[str], load: Callable[[], Engine], progress: Progress) -> tuple[str, ...]:
    """Push what a build left, an archive or a layout: under ``names``, else under those that it has.

    ``load`` gives the engine that has what a build without an archive made.

    Raises:
        SpecError: there is no image, or a name without a registry.
        EngineError: a part is damaged, or a registry does not take it.
    """
    if path.is_dir() and not (path / MARK).exists():
        if not (path / ARCHIVE).exists():
            facts = _read_report(path)
            return push_image(load(), facts["id"], names or facts["references"], progress)
        path = path / ARCHIVE
    with open_source(path) as source:
        return _push(source, read_destinations(names or source.names), progress)


def read_destinations(names: Sequence[str]) -> tuple[ImageReference, ...]:
    """Read the names to push to.

    Raises:
        SpecError: there are none, one is none, or one has no registry: nobody means Docker Hub's own images.
    """
    found = tuple(parse_reference(name) for name in names)
    for name, reference in zip(names, found, strict=True):
        if reference.registry == DEFAULT_REGISTRY and "/" not in name:
            hint = f"name a registry and a repository, as registry.example.com/team/{name}; a spec has image.repository"
            raise SpecError(f"'{name}' names no registry to push to", hint)
    if not found:
        raise SpecError("the image has no name to push it under", "add one: registry.example.com/team/name:tag")
    return found


def _push(source: Source, references: Sequence[ImageReference], progress: Progress) -> tuple[str, ...]:
    with progress.stage("push"):
        digest = push(source.blobs, source.entry, references, progress)
    return tuple(dict.fromkeys(f"{reference.name}@{digest}" for reference in references))


def _read_report(folder: Path) -> dict[str, Any]:
    """Return what the report of a build says about its image."""
    where = Location(str(folder / REPORT))
    try:
        image = json.loads(read_regular(folder / REPORT, _LIMIT))["image"]
        if image:
            return {"id": str(image["id"]), "references": [str(name) for name in image["references"]]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        hint = "name an image.tar, an OCI layout, a bundle (dist/NAME/TARGET) or an image of the engine"
        raise SpecError(Problem("there is no report of a build with an image here", hint, where)) from None
    raise SpecError(Problem("this build has no image", "build it without `--engine none` and `--until`", where))
