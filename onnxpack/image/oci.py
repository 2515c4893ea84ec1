"""The engine without a daemon: it puts images together in this process, and keeps them in a layout.

An image follows from the context and the base alone, so its digest is the same on every machine.
"""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxpack.bundle.render import TREES
from onnxpack.cache.store import find_default_root
from onnxpack.core.errors import EngineError, Problem
from onnxpack.core.holds import Holds
from onnxpack.core.platforms import find_own_platform
from onnxpack.core.progress import Progress
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.image import ARCHIVE, DOCKER, IMAGES
from onnxpack.image.boxes import open_container
from onnxpack.image.engine import BuildRequest, Container, Image, Layer
from onnxpack.oci.archive import write_archive
from onnxpack.oci.config import NewLayer, read_diff_ids, read_platform, write_config
from onnxpack.oci.copies import import_image
from onnxpack.oci.layers import add_layer, measure_layer
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import CONFIG, LAYER, MANIFEST, Descriptor, Manifest, read_json, write_document
from onnxpack.oci.reference import parse_reference
from onnxpack.oci.unpack import unpack


@dataclass(frozen=True)
class OciEngine:
    """Images in a layout below the store."""

    layout: Layout = field(default_factory=lambda: Layout(find_default_root() / IMAGES, Holds()))

    def find(self, reference: str) -> Image | None:
        """Return the image of that name or id, if all of it is in the layout."""
        return self._describe_whole(self._find_entry(reference))

    def list_names(self) -> dict[str, str]:
        """Return the digest of each image that has a name, by its name in the layout."""
        return {name: entry.digest for name, entry in self.layout.list_names().items()}

    def list_parts(self, image: str) -> tuple[Path, ...]:
        """Return the blobs of an image."""
        entry = self._require_entry(image)
        manifest = self.layout.read_manifest(entry)
        return tuple(self.layout.path(blob.digest) for blob in (entry, manifest.config, *manifest.layers))

    def require_base(self, reference: str, platform: str, progress: Progress) -> Image:
        """Return the base image, and fetch it from its registry if it is not in the layout.

        Raises:
            EngineError: no registry gives it.
        """
        name = _name_base(reference, platform)
        if found := self._describe_whole(self.layout.find(name)):
            return found
        from onnxpack.oci.pull import pull  # a client of HTTP, which takes a while to import

        progress.note(f"fetching {reference} for {platform}")
        try:
            self.layout.name(name, pull(parse_reference(reference), platform, self.layout, progress))
        except EngineError as error:
            hint = "check `image.base` and the network, or name a file that has it: `--base FILE`"
            problem = error.problems[0]
            message = f"the base image {reference} cannot be fetched: {problem.message}"
            raise EngineError(Problem(message, problem.hint or hint, detail=problem.detail)) from None
        return self._require(name)

    def add_base(self, archive: Path, reference: str, platform: str, digest: str | None = None) -> Image:
        """Take a base image from an archive or a layout, instead of its registry.

        Raises:
            SpecError: it holds no image, or several.
            EngineError: it is damaged.
        """
        name = _name_base(reference, platform)
        self.layout.name(name, import_image(self.layout, archive, platform, digest))
        return self._require(name)

    def build(self, asked: BuildRequest) -> Image:
        """Put the image of a context together; by its digest it is found without a name, so it gets none yet.

        Raises:
            EngineError: the base is damaged, or asks for more than layers.
        """
        base = self._require_entry(asked.base.id)
        manifest = self.layout.read_manifest(base)
        folders = [asked.context.folder / tree.path for tree in TREES]
        with ThreadPoolExecutor(len(folders)) as pool:
            layers = list(pool.map(lambda folder: add_layer(self.layout, folder, asked.compression), folders))
        new = [NewLayer(layer.diff_id, tree.instruction) for layer, tree in zip(layers, TREES, strict=True)]
        config = write_config(self.layout.read(manifest.config.digest), asked.context.docker.settings, new)
        made = Manifest(
            config=self.layout.add(config, CONFIG),
            layers=(*(_convert(layer) for layer in manifest.layers), *(layer.blob for layer in layers)),
        )
        return self._describe(self.layout.add(write_document(made), MANIFEST))

    @contextlib.contextmanager
    def container(
        self,
        image: str,
        files: dict[str, bytes],
        *,
        entrypoint: list[str] | None = None,
        command: list[str] | None = None,
        gpu: bool = False,
    ) -> Iterator[Container]:
        """Unpack an image, and yield a container of it, which the first runtime runs that works here.

        Raises:
            EngineError: a GPU is asked for, or nothing here can run the image.
        """
        if gpu:
            raise EngineError("no container without a daemon is given a GPU", f"use `--engine {DOCKER}`")
        manifest, config = self.layout.read_manifest(self._require_entry(image)), self.read_config(image)
        with make_temporary_folder() as root:
            unpack(self.layout, manifest, root)
            with open_container(
                root, config, files, entrypoint=entrypoint, command=command, platform=read_platform(config)
            ) as box:
                yield box

    def tag(self, image: str, reference: str) -> None:
        """Give an image one more name."""
        self.layout.name(_name(reference), self._require_entry(image))

    def untag(self, reference: str) -> None:
        """Remove a name; one that is not there is fine."""
        self.layout.unname(_name(reference))

    def export(self, image: str, compression: str) -> tuple[Layout, Descriptor]:
        """Return the layout that an image is in, and its manifest; it is compressed already."""
        del compression
        return self.layout, self._require_entry(image)

    def leave(self, image: str, names: Sequence[str], folder: Path) -> str:
        """Write the image into a build's output, for `docker load`, a registry or another tool."""
        entry = self._require_entry(image)
        write_archive(self.layout, entry, self.layout.read_manifest(entry), names, folder / ARCHIVE)
        return ARCHIVE

    def find_platform(self) -> str:
        """Return this machine's platform."""
        return find_own_platform()

    def read_config(self, image: str) -> dict[str, Any]:
        """Return an image's configuration as JSON values.

        Raises:
            EngineError: it is not there, or damaged.
        """
        return read_json(self.layout.read(self.layout.read_manifest(self._require_entry(image)).config.digest))

    def has_gpu(self) -> bool:
        """Return False: what runs without a daemon is not given a GPU."""
        return False

    def _find_entry(self, reference: str) -> Descriptor | None:
        names = self.layout.list_names()
        if found := names.get(reference):
            return found
        if reference.startswith("sha256:"):
            size = self.layout.measure(reference)
            return None if size is None else Descriptor(MANIFEST, reference, size)
        return names.get(_name(reference))

    def _require_entry(self, image: str) -> Descriptor:
        entry = self._find_entry(image)
        if entry is None:
            raise EngineError(f"the image {image} is no longer in '{self.layout.root}'", "run the build again")
        return entry

    def _require(self, name: str) -> Image:
        return self._describe(self._require_entry(name))

    def _describe_whole(self, entry: Descriptor | None) -> Image | None:
        """Return what is known of an image; None if there is none, or if it lacks a part."""
        if entry:
            with contextlib.suppress(EngineError):
                return self._describe(entry)
        return None

    def _describe(self, entry: Descriptor) -> Image:
        """Return what is known of an image, all of whose blobs must be there.

        Raises:
            EngineError: one is missing.
        """
        manifest = self.layout.read_manifest(entry)
        config = self.layout.read(manifest.config.digest)
        missing = next((blob.digest for blob in manifest.layers if not self.layout.has(blob.digest)), None)
        if missing:
            raise EngineError(f"the layer {missing} is missing in '{self.layout.root}'", "run the build again")
        values = read_json(config)
        diff_ids = read_diff_ids(config)
        words = [*[""] * len(diff_ids), *_list_instructions(values.get("history") or ())][-len(diff_ids) :]
        layers = tuple(
            Layer(diff_id, measure_layer(self.layout, self.layout, blob, diff_id).size, instruction)
            for blob, diff_id, instruction in zip(manifest.layers, diff_ids, words, strict=False)
        )
        labels = (values.get("config") or {}).get("Labels") or {}
        size = sum(layer.size_bytes for layer in layers)
        platform = str(read_platform(values))
        compression = manifest.layers[-1].compression if manifest.layers else ""
        # Docker's id is the digest of the configuration, which images of either compression share.
        return Image(entry.digest, size, layers, dict(labels), entry.digest, platform, compression)


def _list_instructions(history: Sequence[object]) -> Iterator[str]:
    """Yield the instructions that made layers; the others changed the configuration alone."""
    for entry in history:
        if isinstance(entry, dict) and not entry.get("empty_layer"):
            yield str(entry.get("created_by") or "")


def _convert(layer: Descriptor) -> Descriptor:
    """Return a base's layer under the OCI type; the bytes are those of Docker's type."""
    suffix = f"+{layer.compression}" if layer.compression else ""
    return Descriptor(f"{LAYER}{suffix}", layer.digest, layer.size)


def _name(reference: str) -> str:
    return str(parse_reference(reference))


def _name_base(reference: str, platform: str) -> str:
    """Return the layout's name of a base: of one reference there is an image for each platform."""
    return f"{_name(reference)}+{platform}"


ENGINE = OciEngine
