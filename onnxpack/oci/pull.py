"""Read images from a registry: what a name points to, and all of its blobs into a layout."""

from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus

from onnxpack.core.errors import EngineError
from onnxpack.core.progress import Progress
from onnxpack.core.text import format_bytes, plural
from onnxpack.download.transfer import Transient
from onnxpack.oci.config import read_platform
from onnxpack.oci.layout import BlobWriter, Layout
from onnxpack.oci.manifests import (
    ACCEPTED,
    Descriptor,
    Index,
    Manifest,
    Platform,
    compute_digest,
    parse_platform,
    read_document,
    read_json,
)
from onnxpack.oci.reference import ImageReference
from onnxpack.oci.registry import Registry, Stopped
from onnxpack.oci.transfers import Meter, run_together, showing
from onnxpack.oci.transport import Request

_WRONG = "try again; if it stays so, the registry or a proxy before it changes what it sends"


@dataclass(frozen=True)
class Found:
    """What a name points to in a registry."""

    digest: str
    """The digest to pin: of the index where the image is for several platforms."""
    entry: Descriptor
    """What points to the manifest of the wanted platform."""
    manifest: Manifest
    data: bytes
    """The manifest as the registry has it."""


@dataclass(frozen=True)
class Document:
    """A manifest or an index as a registry sent it, with the digest of its bytes."""

    digest: str
    media_type: str
    data: bytes


def resolve(reference: ImageReference, platform: str, registry: Registry | None = None) -> Found:
    """Ask the registry for an image's manifest, of an index for the one of ``platform``, such as ``linux/amd64``.

    Raises:
        EngineError: it does not have it, refuses it, sends something else, or cannot be reached.
    """
    registry = registry or Registry(reference.registry)
    first = fetch_document(registry, reference)
    found = _read(first, reference)
    if isinstance(found, Manifest):
        return Found(first.digest, Descriptor(found.media_type, first.digest, len(first.data)), found, first.data)
    entry = choose_platform(found, parse_platform(platform), reference)
    document = fetch_document(registry, reference.at(entry.digest))
    manifest = _read(document, reference)
    if not isinstance(manifest, Manifest):
        raise EngineError(f"{reference} has an index within an index for {platform}", "use another image")
    return Found(first.digest, entry, manifest, document.data)


def pull(
    reference: ImageReference, platform: str, layout: Layout, progress: Progress, registry: Registry | None = None
) -> Descriptor:
    """Fetch an image into a layout, except for blobs that are there, and return what points to its manifest.

    Raises:
        EngineError: as for ``resolve``, or what comes is not of the digest that was asked for, or of another platform.
    """
    repository = _Repository(registry or Registry(reference.registry), reference)
    found = resolve(reference, platform, repository.registry)
    blobs = {blob.digest: blob for blob in (found.manifest.config, *found.manifest.layers)}
    _fetch_missing(repository, [blobs.pop(found.manifest.config.digest)], layout, progress)
    _require_platform(layout.read(found.manifest.config.digest), parse_platform(platform), reference)
    _fetch_missing(repository, list(blobs.values()), layout, progress)
    return layout.add(found.data, found.entry.media_type)


def fetch_document(registry: Registry, reference: ImageReference) -> Document:
    """Return the manifest or the index that a registry has under a tag or digest.

    Raises:
        EngineError: as for ``resolve``.
    """
    place = f"/v2/{reference.repository}/manifests/{reference.wanted}"
    reply = registry.ask(Request("GET", place, headers={"Accept": ", ".join(ACCEPTED)}), f"read {reference}")
    digest = compute_digest(reply.data)
    said = reply.headers.get("Docker-Content-Digest", digest)
    for known, who in ((reference.digest or digest, "was asked for"), (said, "the registry says")):
        if known != digest:
            raise EngineError(f"{reference} comes with the digest {digest}, and {known[:100]} {who}", _WRONG)
    return Document(digest, reply.headers.get("Content-Type", "").partition(";")[0].strip(), reply.data)


def _read(document: Document, reference: ImageReference) -> Manifest | Index:
    try:
        return read_document(document.data, document.media_type)
    except EngineError as error:
        raise EngineError(f"{reference}: {error.problems[0].message}", _WRONG) from None


def choose_platform(index: Index, platform: Platform, reference: ImageReference) -> Descriptor:
    """Return the entry of an index for a platform, rather of its own variant than of none.

    Raises:
        EngineError: there is none.
    """
    named = {str(entry.platform): entry for entry in reversed(index.manifests) if entry.platform}
    plain = str(replace(platform, variant=""))
    found = named.get(str(platform)) or named.get(plain) or named.get(f"{plain}/v1")
    if not found:
        known = sorted(name for name in named if not name.startswith("unknown"))
        raise EngineError(f"{reference} is not for {platform}", f"it is for {', '.join(known) or 'no platform'}")
    return found


def _require_platform(config: bytes, platform: Platform, reference: ImageReference) -> None:
    """Make sure that an image is for a platform: without an index only its configuration says so."""
    of = replace(read_platform(read_json(config)), variant="")
    if of != replace(platform, variant=""):
        raise EngineError(f"{reference} is for {of}, and {platform} is wanted", "use an image for that platform")


def _fetch_missing(repository: "_Repository", blobs: list[Descriptor], layout: Layout, progress: Progress) -> None:
    missing = [blob for blob in blobs if not layout.has(blob.digest)]
    if not missing:
        return
    total, meter = sum(blob.size for blob in missing), Meter()
    progress.note(f"fetching {plural(len(missing), 'blob')} of {repository.name}, {format_bytes(total)}")
    with showing(progress, meter, total, "fetched"):
        tasks = [partial(_fetch_blob, repository, blob, layout, meter) for blob in missing]
        run_together(tasks, repository.registry.stop)


@dataclass(frozen=True)
class _Repository:
    """A repository in a registry that is connected to."""

    registry: Registry
    reference: ImageReference

    @property
    def name(self) -> str:
        """Return its name for people."""
        return self.reference.name


def _fetch_blob(repository: _Repository, blob: Descriptor, layout: Layout, meter: Meter) -> None:
    """Fetch a blob; after a break it goes on where it stopped."""
    what = f"fetch the blob {blob.digest} of {repository.name}"
    with layout.writing() as writer:
        for attempt in repository.registry.retrying(what):
            with attempt:
                try:
                    _receive(repository, blob, writer, meter)
                finally:
                    attempt.size = writer.size
        if writer.digest != blob.digest:
            raise EngineError(f"cannot {what}: what came has the digest {writer.digest}", _WRONG)
        writer.commit(blob.media_type, blob.digest)


def _receive(repository: _Repository, blob: Descriptor, writer: BlobWriter, meter: Meter) -> None:
    """Append one answer's bytes to a blob.

    Raises:
        Transient: the answer ended before the blob did.
        EngineError: there are more bytes than the blob has.
    """
    registry, begin = repository.registry, writer.size
    place = f"/v2/{repository.reference.repository}/blobs/{blob.digest}"
    headers = {"Range": f"bytes={begin}-"} if begin else {}
    with registry.exchange(Request("GET", place, (200, 206), headers), f"fetch a blob of {repository.name}") as answer:
        surplus = 0 if answer.status == HTTPStatus.PARTIAL_CONTENT else begin
        for chunk in answer.chunks():
            if registry.stop.is_set():
                raise Stopped
            fresh = chunk[surplus:]  # a registry that cannot go on sends all again
            surplus -= len(chunk) - len(fresh)
            if writer.size + len(fresh) > blob.size:
                raise EngineError(f"{repository.name} sends more than the {blob.size} bytes of {blob.digest}", _WRONG)
            writer.write(fresh)
            meter.add(len(fresh))
    if writer.size < blob.size:
        raise Transient(f"the answer ended after {writer.size} of {blob.size} bytes")
