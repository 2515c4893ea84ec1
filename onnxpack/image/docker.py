"""The Docker Engine through its SDK; log texts and exit codes of streams can be wrong, so results are inspected."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import docker
import requests
import urllib3.exceptions
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound, NotFound, StreamParseError

from onnxpack.cache.store import find_default_root
from onnxpack.core.errors import EngineError, OnnxpackError, Problem, SpecError, flatten_words
from onnxpack.core.holds import Holds
from onnxpack.core.interrupts import uninterrupted
from onnxpack.core.progress import Progress
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.image import IMAGES
from onnxpack.image.engine import BuildRequest, Container, Image, Layer
from onnxpack.oci.copies import import_saved
from onnxpack.oci.layers import write_tar
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import Descriptor
from onnxpack.oci.reference import parse_reference

_TIMEOUT = 600
"""Seconds that the engine may be silent; the SDK's default is 60."""
_CHUNK = 2**20
_LOG_LINES = 15
"""How many lines of a build's log an error shows."""
_ODD = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
"""What the SDK lets through, and what is met here, where an answer or the user's configuration has another form."""
_GONE = (DockerException, StreamParseError, requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""How the SDK says that the connection broke; a stream that is cut comes as urllib3's own."""
_FAILURES = (*_GONE, *_ODD)


class DockerEngine:
    """One connection to the engine that ``DOCKER_HOST`` or the current Docker context names."""

    @cached_property
    def client(self) -> Any:
        """Return the SDK's low-level client, after one answer from the engine.

        Raises:
            EngineError: no engine answers.
        """
        try:
            client = docker.from_env(timeout=_TIMEOUT).api
            try:
                client.ping()
            except BaseException:
                client.close()
                raise
        except _FAILURES as error:
            raise EngineError(
                f"no Docker engine answers at {endpoint()}: {_reason(error)}",
                "start Docker, set DOCKER_HOST to the engine, or add `--engine oci`, which needs none",
            ) from None
        return client

    def is_meant(self) -> bool:
        """Return whether an engine answers, or somebody names one, who wants to know that it does not."""
        place = DEFAULT_UNIX_SOCKET.removeprefix("http+")
        if endpoint() != place:
            return True
        if not Path(place.removeprefix("unix://")).is_socket():  # the SDK would leave open what it cannot connect
            return False
        with contextlib.suppress(EngineError):
            return bool(self.client)
        return False

    def find(self, reference: str) -> Image | None:
        """Return the image of that name or id, if the engine has it."""
        with self.guarded(f"inspect {reference}"):
            try:
                facts = self.client.inspect_image(reference)
            except ImageNotFound:
                return None
            history = self.client.history(facts["Id"])
        sized = [entry for entry in reversed(history) if not _is_empty(entry)]
        digests = facts["RootFS"].get("Layers") or []
        layers = tuple(
            Layer(digest, entry["Size"], entry["CreatedBy"])
            for digest, entry in zip(digests, sized[-len(digests) :], strict=False)
        )
        # One entry, as name@sha256:…, for each repository that it was pulled from or pushed to: the digest is the same.
        known = sorted(entry.partition("@")[2] for entry in facts.get("RepoDigests") or ())
        digest = known[0] if known else None
        platform = "/".join(filter(None, (facts.get("Os"), facts.get("Architecture"))))
        return Image(facts["Id"], facts["Size"], layers, facts["Config"].get("Labels") or {}, digest, platform)

    def list_names(self) -> dict[str, str]:
        """Return the id of each image that has a name, by each of its names, with those that it has by digest."""
        found: dict[str, str] = {}
        with self.guarded("list its images"):
            for image in self.client.images():
                for name in (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ())):
                    with contextlib.suppress(SpecError):  # <none>:<none> is how an engine writes that there is none
                        found[str(parse_reference(name))] = image["Id"]
        return found

    def list_parts(self, image: str) -> tuple[Path, ...]:
        """Return nothing: the engine keeps the image."""
        del image
        return ()

    def require_base(self, reference: str, platform: str, progress: Progress) -> Image:
        """Return the base image for a platform, and pull it if it is not there.

        Raises:
            EngineError: no registry gives it.
        """
        found = self.find(reference)
        if found and found.platform == platform:
            return found
        progress.note(f"pulling {reference}")
        try:
            # A pull that fails may end without an exception: its stream has an event that says so.
            for event in self.client.pull(reference, platform=platform, stream=True, decode=True):
                if "error" in event:
                    raise EngineError(self._no_base(reference, event["error"]))
        except (DockerException, requests.RequestException) as error:
            raise EngineError(self._no_base(reference, _reason(error))) from None
        found = self.find(reference)
        if not found:
            raise EngineError(self._no_base(reference, "the engine does not have it after the pull"))
        if found.platform != platform:
            raise EngineError(self._no_base(reference, f"it is for {found.platform}, and the target for {platform}"))
        return found

    def add_base(self, archive: Path, reference: str, platform: str, digest: str | None = None) -> Image:
        """Refuse to take a base image from a file: whoever runs the engine decides what is in it.

        Raises:
            SpecError: always.
        """
        del digest
        raise SpecError(f"the Docker engine has no {reference} for {platform} yet", f"run `docker load -i {archive}`")

    @staticmethod
    def _no_base(reference: str, why: str) -> Problem:
        return Problem(
            f"the base image {reference} cannot be pulled: {why}",
            "check `image.base`, the network and `docker login`, or pull the image yourself",
        )

    @cached_property
    def _facts(self) -> Any:
        """What the engine says of itself."""
        return self.client.version()

    @cached_property
    def version(self) -> str:
        """Return the engine's name and version, as ``docker 20.10.24``."""
        with self.guarded("tell its version"):
            facts = self._facts
            # Podman answers as Docker does, and names itself among its components.
            names = {str(part["Name"]): str(part["Version"]) for part in facts.get("Components") or ()}
            podman = names.get("Podman Engine")
            return f"podman {podman}" if podman else f"docker {facts['Version']}"

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
        """Create a container of ``image`` with ``files`` in its volume beside a writable ``out/``, then remove it."""
        from onnxpack.image.docker_container import create_container  # it needs this module

        with create_container(self, image, files, entrypoint=entrypoint, command=command, gpu=gpu) as box:
            yield box

    def build(self, asked: BuildRequest) -> Image:
        """Build a context; the layers are stored as the engine does it, whatever compression is asked for.

        The tag comes last, and from here: an engine that tags by itself may still do so after an interrupt.

        Raises:
            EngineError: the engine refused it, or its stream ended without an image; with the log's end.
        """
        log: list[str] = []
        built = None
        with self.guarded("build the image", log), _tar(asked.context.folder) as archive:
            # The high-level API finds the image by matching texts of the log; by default intermediate containers stay.
            stream = self.client.build(
                fileobj=archive,
                custom_context=True,
                nocache=asked.fresh,
                rm=True,
                forcerm=True,
                decode=True,
                pull=False,
                platform=asked.base.platform,
            )
            for event in stream:
                if "error" in event:
                    raise EngineError(
                        f"the engine cannot build the image: {event['error'].strip()}",
                        "see the end of its log below",
                        _end(log),
                    )
                built = str(event.get("aux", {}).get("ID") or built or "")
                text = event.get("stream", event.get("status", "")).strip()
                if text:
                    log.append(text)  # shown if it fails: nobody needs the Dockerfile's steps of a build that works
        image = self.find(built) if built else None
        if not image:
            raise EngineError(
                "the engine's build stream ended without an image", "see the end of its log below", _end(log)
            )
        self.tag(image.id, asked.name)
        return image

    def tag(self, image: str, reference: str) -> None:
        """Give an image one more name."""
        repository, _, tag = reference.rpartition(":")
        with self.guarded(f"tag {reference}"), uninterrupted():
            self.client.tag(image, repository, tag, force=True)

    def untag(self, reference: str) -> None:
        """Remove a name, and the image with its last one; a name that is not there is fine."""
        with self.guarded(f"remove {reference}"), contextlib.suppress(NotFound):
            self.client.remove_image(reference, noprune=False)

    def export(self, image: str, compression: str) -> tuple[Layout, Descriptor]:
        """Copy an image out of the engine, into the layout where a registry's client finds it.

        Raises:
            EngineError: the engine does not give it.
        """
        layout = Layout(find_default_root() / IMAGES, Holds())
        with make_temporary_folder() as folder:
            path = folder / "saved.tar"
            with self.guarded(f"save {image}"), path.open("wb") as stream:
                for chunk in self.client.get_image(image, chunk_size=_CHUNK):
                    stream.write(chunk)
            return layout, import_saved(layout, path, compression)

    def leave(self, image: str, names: Sequence[str], folder: Path) -> None:
        """Leave nothing in a build's output: the engine has the image."""

    def find_platform(self) -> str:
        """Return the platform of the machine that the engine runs on, which may be another one than this."""
        with self.guarded("tell its platform"):
            return f"{self._facts['Os']}/{self._facts['Arch']}"

    def has_gpu(self) -> bool:
        """Return whether the engine knows the NVIDIA runtime."""
        with self.guarded("describe itself"):
            facts = self.client.info()
            return "nvidia" in facts.get("Runtimes", {})

    @contextlib.contextmanager
    def guarded(self, what: str, log: list[str] | None = None) -> Iterator[None]:
        """Turn what the SDK raises into one typed error."""
        try:
            yield
        except OnnxpackError:
            raise
        except APIError as error:
            raise EngineError(
                f"the engine cannot {what}: {error.explanation or error}",
                "see the end of its log below" if log else "",
                _end(log),
            ) from None
        except _GONE as error:
            if isinstance(error, ValueError | StreamParseError):  # what came is no JSON
                raise self._make_misunderstanding(what, error, log) from None
            raise EngineError(
                f"the engine at {endpoint()} stopped answering: it could not {what}: {_reason(error)}",
                "check that the engine runs and has free disk space",
                _end(log),
            ) from None
        except _ODD as error:
            raise self._make_misunderstanding(what, error, log) from None

    @staticmethod
    def _make_misunderstanding(what: str, error: Exception, log: list[str] | None) -> EngineError:
        return EngineError(
            f"what answers at {endpoint()} is not a container engine: it could not {what}: {_reason(error)}",
            "check what runs there, and DOCKER_HOST",
            _end(log),
        )


def endpoint() -> str:
    """Return where the SDK looks for the engine: ``DOCKER_HOST``, else the current Docker context."""
    host = os.environ.get("DOCKER_HOST")
    if not host:
        with contextlib.suppress(*_FAILURES):  # the configuration may hold anything
            host = ContextAPI.kwargs_from_context().get("base_url")
    return (host or DEFAULT_UNIX_SOCKET).removeprefix("http+")


@contextlib.contextmanager
def _tar(context: Path) -> Iterator[Any]:
    """Write the context as a tar into a temporary file."""
    with tempfile.TemporaryFile(prefix="onnxpack-context-") as stream:
        write_tar(context, stream)
        stream.seek(0)
        yield stream


def _is_empty(entry: dict[str, Any]) -> bool:
    # Instructions that only change the configuration leave an entry without a layer of their own.
    words = cast(str, entry["CreatedBy"])
    return entry["Size"] == 0 and not any(word in words for word in ("COPY", "ADD", "WORKDIR"))


def _reason(error: Exception) -> str:
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation)
    text = flatten_words(error, 300)
    # The SDK wraps the cause in the texts of three libraries: the causes that people meet are told plainly.
    for words in ("Connection refused", "No such file or directory", "Permission denied", "Read timed out"):
        if words in text:
            return words.lower()
    return text or type(error).__name__


def _end(log: list[str] | None) -> str:
    return "\n".join((log or [])[-_LOG_LINES:])


ENGINE = DockerEngine
