"""Manifests and indexes: the JSON documents of the OCI image specification, and Docker's own of the same form.

https://github.com/opencontainers/image-spec: manifest.md, image-index.md, descriptor.md, config.md
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from onnxpack.core.errors import EngineError, flatten_words

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
"""The type of a layer; ``+gzip`` or ``+zstd`` is added to it."""
_DOCKER = "application/vnd.docker.distribution.manifest"
DOCKER_MANIFEST, DOCKER_INDEX = f"{_DOCKER}.v2+json", f"{_DOCKER}.list.v2+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
ACCEPTED = (INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
"""The types of document that a registry is asked for."""
EPOCH = 315532800
"""1980-01-01, the time of every file and folder: the earliest that all archive formats can hold."""
LIMIT = 4 * 2**20
"""The most bytes of a manifest, an index or a configuration: what registries take."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST = 10_000
"""The most layers, or manifests of an index; engines have limits of about a hundred."""


@dataclass(frozen=True)
class Platform:
    """The kind of machine that an image is for, as ``linux/amd64``."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        """Return it as the spec writes it; what every machine of an architecture has is no variant."""
        variant = "" if (self.architecture, self.variant) == ("arm64", "v8") else self.variant
        return "/".join(part for part in (self.os, self.architecture, variant) if part)


def parse_platform(text: str) -> Platform:
    """Read a platform as the spec writes it: ``linux/amd64``, with a variant behind it if it has one."""
    os, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    return Platform(os, architecture, variant)


@dataclass(frozen=True)
class Descriptor:
    """What points to a blob: its media type, digest (``sha256:…``) and size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def compression(self) -> str:
        """Return how a layer is compressed: ``gzip``, ``zstd``, or nothing.

        Raises:
            EngineError: it is no layer.
        """
        kind = self.media_type.replace(f"{_DOCKER_LAYER}.", f"{LAYER}+").replace(_DOCKER_LAYER, LAYER)
        base, _, compression = kind.partition("+")
        if base not in (LAYER, LAYER.replace("layer.v1", "layer.nondistributable.v1")):
            raise EngineError(f"a layer has the media type '{self.media_type[:200]}'", "use another base image")
        return compression


@dataclass(frozen=True)
class Manifest:
    """One image: its configuration, and its layers from the lowest one on."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    media_type: str = MANIFEST


@dataclass(frozen=True)
class Index:
    """An image for several platforms: the manifest of each."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


def make_index(manifests: Mapping[str, Descriptor]) -> Index:
    """Return the index of an image for several platforms, given the manifest of each, in the order of their names."""
    rows = sorted(manifests.items())
    return Index(tuple(replace(entry, platform=parse_platform(name), annotations={}) for name, entry in rows))


def compute_digest(data: bytes) -> str:
    """Return the digest of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def write_document(document: Manifest | Index) -> bytes:
    """Return the bytes of a manifest or an index: the same for the same values."""
    values: dict[str, Any] = {"schemaVersion": 2}
    if isinstance(document, Manifest):
        values |= {"mediaType": document.media_type, "config": _write_descriptor(document.config)}
        values["layers"] = [_write_descriptor(layer) for layer in document.layers]
    else:
        values |= {"mediaType": INDEX, "manifests": [_write_descriptor(entry) for entry in document.manifests]}
    if document.annotations:
        values["annotations"] = dict(sorted(document.annotations.items()))
    return json.dumps(values, separators=(",", ":")).encode()


def read_document(data: bytes, media_type: str = "") -> Manifest | Index:
    """Read a manifest or an index; ``media_type`` is what the sender says, and the document's own word counts.

    Raises:
        EngineError: it is neither.
    """
    values = read_json(data)
    try:
        kind = values.get("mediaType") or media_type or (INDEX if "manifests" in values else MANIFEST)
        if kind in (INDEX, DOCKER_INDEX):
            entries = tuple(read_descriptor(entry) for entry in _read_list(values["manifests"]))
            return Index(entries, _read_texts(values.get("annotations") or {}))
        if kind not in (MANIFEST, DOCKER_MANIFEST):
            raise ValueError(f"its type is '{str(kind)[:200]}'")
        layers = tuple(read_descriptor(entry) for entry in _read_list(values["layers"]))
        texts = _read_texts(values.get("annotations") or {})
        return Manifest(read_descriptor(values["config"]), layers, texts, kind)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise EngineError(f"what should be an image's manifest is none: {flatten_words(error, 200)}") from None


def read_json(data: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        EngineError: it is none, or has more than 4 MiB.
    """
    try:
        if len(data) > LIMIT:
            raise ValueError(f"it has more than {LIMIT} bytes")
        values = json.loads(data)
        if not isinstance(values, dict):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        raise EngineError(f"what should be a document of an image is none: {flatten_words(error, 200)}") from None
    return values


def read_descriptor(values: Any) -> Descriptor:
    """Read a descriptor.

    Raises:
        ValueError, TypeError, LookupError or AttributeError: it is none.
    """
    size, digest = values["size"], str(values["digest"])
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**50:
        raise ValueError("a size is none")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"a digest is '{digest[:100]}', and SHA-256 is read")
    platform = values.get("platform")
    found = Platform(*(str(platform.get(key) or "") for key in ("os", "architecture", "variant"))) if platform else None
    return Descriptor(str(values["mediaType"]), digest, size, found, _read_texts(values.get("annotations") or {}))


def _write_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    values: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        values["annotations"] = dict(sorted(descriptor.annotations.items()))
    if platform := descriptor.platform:
        values["platform"] = {"architecture": platform.architecture, "os": platform.os}
        if platform.variant:
            values["platform"]["variant"] = platform.variant
    return values


def _read_list(values: Any) -> list[Any]:
    if not isinstance(values, list) or len(values) > _MOST:
        raise ValueError("a list is missing or too long")
    return values


def _read_texts(values: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}
