"""Write images to a registry: the blobs that it lacks, then the manifest under every tag, which is read back."""

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus

from onnxpack.core.errors import EngineError, OnnxpackError, SpecError
from onnxpack.core.progress import Progress
from onnxpack.core.text import format_bytes, plural
from onnxpack.oci.layout import BlobSource, read_blob
from onnxpack.oci.manifests import (
    ACCEPTED,
    INDEX,
    Descriptor,
    Index,
    Manifest,
    compute_digest,
    read_document,
    read_json,
    write_document,
)
from onnxpack.oci.pull import fetch_document
from onnxpack.oci.reference import ImageReference, parse_reference
from onnxpack.oci.registry import Registry
from onnxpack.oci.transfers import Meter, run_together, showing
from onnxpack.oci.transport import Request
from onnxpack.oci.upload import Target, Upload, has_blob

_NOT_SAID = (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED)
"""How a registry says that a tag is not there, or that it does not tell: then the document is sent."""
_BASE = "org.opencontainers.image.base.name"
_AGAIN = "push again; somebody else may have pushed at the same moment"


def push(source: BlobSource, entry: Descriptor, references: Sequence[ImageReference], progress: Progress) -> str:
    """Push the image that ``entry`` points to under each reference, and return the digest that registries have it by.

    Blobs that are there are not sent, and the layers of a base that the same registry has are copied there. Of an
    index, the images in it are pushed first.

    Raises:
        SpecError: a reference says another digest.
        EngineError: a registry refuses it, cannot be reached, or has something else afterwards.
    """
    return _deliver(source, entry, read_blob(source, entry), references, progress)


def push_index(source: BlobSource, index: Index, references: Sequence[ImageReference], progress: Progress) -> str:
    """Push an image for several platforms, whose manifests ``source`` has, and return the digest of the index.

    Raises:
        EngineError or SpecError: as for ``push``.
    """
    data = write_document(index)
    return _deliver(source, Descriptor(INDEX, compute_digest(data), len(data)), data, references, progress)


def _deliver(
    source: BlobSource,
    entry: Descriptor,
    data: bytes,
    references: Sequence[ImageReference],
    progress: Progress,
) -> str:
    for reference in references:
        if reference.digest not in (None, entry.digest):
            raise SpecError(f"'{reference}' is not the image {entry.digest}", "push it under a tag")
    for name in dict.fromkeys(reference.name for reference in references):
        of = [reference for reference in references if reference.name == name]
        _Push(source, of[0], progress).run(entry, data, [reference.wanted for reference in of])
    return entry.digest


class _Push:
    """A push into one repository."""

    def __init__(self, source: BlobSource, to: ImageReference, progress: Progress) -> None:
        self._source = source
        self._to = to
        self._progress = progress
        self._target = Target(Registry(to.registry), to.repository, to.name)

    def run(self, entry: Descriptor, data: bytes, tags: Sequence[str]) -> None:
        """Push a document with all that it points to, and see that the registry has it."""
        document = read_document(data, entry.media_type)
        if isinstance(document, Index):
            for child in document.manifests:
                self.run(child, read_blob(self._source, child), [child.digest])
        else:
            self._target = replace(self._target, origin=self._find_origin(document))
            self._send_missing([document.config, *document.layers])
        for tag in tags:
            if not self._is_there(entry, tag):
                self._put_document(entry, data, tag)
        for name in dict.fromkeys((entry.digest, *tags)):
            self._require_there(entry, name)

    def _send_missing(self, blobs: Sequence[Descriptor]) -> None:
        """Send the blobs that the repository does not have, a few at once."""
        stop = self._target.registry.stop
        wanted = {blob.digest: blob for blob in blobs}
        there: set[str] = set()

        def look(blob: Descriptor) -> None:
            if has_blob(self._target, blob):
                there.add(blob.digest)

        run_together([partial(look, blob) for blob in wanted.values()], stop)
        missing = [blob for blob in wanted.values() if blob.digest not in there]
        total, meter = sum(blob.size for blob in missing), Meter()
        told = f"sending {len(missing)} of {plural(len(wanted), 'blob')}, {format_bytes(total)}"
        self._progress.note(f"{self._to.name}: {told if missing else 'all blobs are there'}")
        with showing(self._progress, meter, total, "sent"):
            run_together([Upload(self._target, self._source, blob, meter).run for blob in missing], stop)

    def _find_origin(self, manifest: Manifest) -> str | None:
        """Return the repository of the image's base, if it is another one on the same registry."""
        try:
            config = read_json(read_blob(self._source, manifest.config)).get("config") or {}
            base = parse_reference(str(manifest.annotations.get(_BASE) or config["Labels"][_BASE]))
        except (OnnxpackError, LookupError, TypeError):  # it has none, or is no image of a usual kind
            return None
        return base.repository if base.registry == self._to.registry and base.name != self._to.name else None

    def _is_there(self, entry: Descriptor, tag: str) -> bool:
        """Return whether a tag leads to a document already: a registry that logs or signs pushes then sees none."""
        place, accept = f"/v2/{self._to.repository}/manifests/{tag}", {"Accept": ", ".join(ACCEPTED)}
        request = Request("HEAD", place, (HTTPStatus.OK, *_NOT_SAID), accept)
        reply = self._target.registry.ask(request, f"push to {self._to.name}")
        return reply.status == HTTPStatus.OK and reply.headers.get("Docker-Content-Digest") == entry.digest

    def _put_document(self, entry: Descriptor, data: bytes, tag: str) -> None:
        place = f"/v2/{self._to.repository}/manifests/{tag}"
        headers = {"Content-Type": entry.media_type}
        request = Request("PUT", place, (201,), headers, lambda: io.BytesIO(data), len(data))
        self._target.registry.ask(request, f"push to {self._to.name}")

    def _require_there(self, entry: Descriptor, name: str) -> None:
        """Read a document back by its digest or a tag: only then is it pushed."""
        tagged = replace(self._to, tag=name, digest=None)
        reference = self._to.at(name) if name == entry.digest else tagged
        found = fetch_document(self._target.registry, reference)
        if found.digest != entry.digest:
            text = f"{reference} is {found.digest} after the push, and not {entry.digest}"
            raise EngineError(text, _AGAIN)
