"""What an engine is asked, and what it gives: images, and the figures of their smoke test."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from onnxpack.bundle.context import Context
from onnxpack.core.errors import GateError
from onnxpack.core.progress import Progress
from onnxpack.core.values import Reference
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import Descriptor
from onnxpack.parity.compare import Tolerance
from onnxpack.timing.queueing import Load

VOLUME = "/onnxpack-check"
"""The folder of a check's files in its container: the only one that can be written, below ``out/``."""
_SHOWN = 3000
"""How many characters of a container's output an error shows."""


@dataclass(frozen=True)
class Layer:
    """A layer of an image: the digest of its uncompressed tar, and its size in bytes."""

    digest: str
    size_bytes: int
    created_by: str


@dataclass(frozen=True)
class Image:
    """An image as the engine reports it."""

    id: str
    size_bytes: int
    layers: tuple[Layer, ...]
    labels: dict[str, str]
    digest: str | None = None
    """The digest of the manifest; None where an engine has none, of an image that was neither pulled nor pushed."""
    platform: str = ""
    """The kind of machine that it is for, as ``linux/amd64``."""
    compression: str = ""
    """How its last layer is compressed where it is kept; empty where that is not known."""


@dataclass(frozen=True)
class Soak:
    """The memory of the serving process over requests of all declared sizes."""

    requests: int
    rss_bytes: int
    """What it held at the end."""
    growth_bytes: int | None
    """By how much that was more than after a third of the requests; None of too few requests to say."""
    peak_rss_bytes: int


@dataclass(frozen=True)
class Smoke:
    """The figures of a smoke test; seconds count from the start of the container's command, None without a GPU."""

    comparisons: int
    ready_seconds: float | None
    first_answer_seconds: float | None
    latency_p50_seconds: float | None
    """The median of one request at a time, at the axes' opt sizes."""
    peak_rss_bytes: int | None
    runtime: str = field(kw_only=True)
    """What ran the image, as ``Container.runtime`` says it."""
    on_gpu: bool | None = None
    """None for a CPU image."""
    soak: Soak | None = None
    """None where nothing asked for it."""
    emulated: bool = False
    """Whether an emulator ran it: its figures say nothing about the machines that the image is for."""
    later_answer_seconds: float | None = None
    """The median of answers after the first one that were asked for as it was: alone, after a pause."""
    load: Load | None = None
    """What a server showed to more and more clients; None where nothing asked for it."""

    @property
    def first_answer(self) -> float | None:
        """Return the time of the first answer relative to later ones."""
        if self.first_answer_seconds is None or not self.later_answer_seconds:
            return None
        return self.first_answer_seconds / self.later_answer_seconds


@dataclass(frozen=True)
class SmokeRequest:
    """An image, and what it is tested with."""

    image: str
    """The id of the image."""
    reference: Reference
    tolerance: Tolerance
    timed: str
    """The case whose latency is measured."""
    port: int | None
    """The port that the server listens on; None where the image has no server."""
    on_gpu: bool | None
    """Whether a GPU is here; None for a CPU image."""
    libraries: tuple[str, ...]
    """The libraries that the device's execution provider links, except the driver's own."""
    soak_seconds: float = 0.0
    """How long requests of all declared sizes are sent; 0: none are."""
    emulated: bool = False
    """Whether what runs it emulates the image's machine."""
    first_answer: float | None = None
    """``gates.first_answer``: what is above it is measured again in a fresh container."""
    load_seconds: float = 0.0
    """How long more and more clients ask a server; 0: none do."""


@dataclass(frozen=True)
class BuildRequest:
    """A context to make an image of."""

    context: Context
    base: Image
    name: str
    """The name that the image gets."""
    compression: str
    """How new layers are compressed, where the engine keeps them compressed."""
    fresh: bool = False
    """Whether to take no layer that an earlier build made."""


class Container(Protocol):
    """A container under test: no network, nothing writable but its volume, no capabilities, and gone afterwards.

    All methods raise EngineError where the engine or the runtime does not do its part.
    """

    @property
    def runtime(self) -> str:
        """Return what runs it, for people to read: its name, and its version if it has one, as ``runc 1.1.5``."""

    def start(self) -> None:
        """Start the container's command.

        Raises:
            GateError: the image has no such program, or it cannot be executed.
        """

    def execute(self, command: list[str]) -> tuple[int, str, str]:
        """Run one more command beside the first one; return its exit status, stdout and stderr.

        A container that has ended, or ends meanwhile, counts as a command that failed.
        """

    def wait(self, seconds: float) -> int | None:
        """Return the exit status of the container, or None if it still runs after so many ``seconds``."""

    def running(self) -> bool:
        """Return whether the container's command still runs."""

    def output(self) -> tuple[str, str]:
        """Return what the container has printed so far on stdout and stderr."""

    def fetch(self, folder: str) -> dict[str, bytes]:
        """Return the files of a folder of the volume, by name."""


def require_end(box: Container, seconds: float) -> str:
    """Start the container's command, wait until it ends, and return what it printed.

    Raises:
        GateError: it cannot be run, fails, or takes longer than so many ``seconds``.
    """
    box.start()
    status = box.wait(seconds)
    out, words = box.output()
    if status is None:
        raise GateError(f"the container did not end within {seconds:g} s", "see its output below", words[-_SHOWN:])
    if status:
        raise GateError(f"the container failed: exit status {status}", "see its output below", words[-_SHOWN:])
    return out


class Engine(Protocol):
    """An engine; all of its methods raise EngineError where it does not do its part."""

    def find(self, reference: str) -> Image | None:
        """Return the image that has this name or id; None if there is none."""

    def list_names(self) -> dict[str, str]:
        """Return the id of each image that has a name, by each of its names, written out in full."""

    def list_parts(self, image: str) -> tuple[Path, ...]:
        """Return the files that hold an image; none where a daemon keeps it."""

    def require_base(self, reference: str, platform: str, progress: Progress) -> Image:
        """Return the base image for a platform, which is fetched if it is not here."""

    def add_base(self, archive: Path, reference: str, platform: str, digest: str | None = None) -> Image:
        """Take a base image from an archive or an OCI layout, instead of its registry.

        ``digest`` is that of the image's manifest, for an archive of several images.

        Raises:
            SpecError: it holds no image of that platform, or several; or the engine takes none this way.
        """

    def container(
        self,
        image: str,
        files: dict[str, bytes],
        *,
        entrypoint: list[str] | None = None,
        command: list[str] | None = None,
        gpu: bool = False,
    ) -> AbstractContextManager[Container]:
        """Make a container of an image that is here, to be started, with ``files`` in its volume beside ``out/``.

        ``entrypoint`` and ``command`` take the place of the image's own; an entrypoint alone leaves no command.
        ``gpu`` gives it the GPUs of the machine.
        """

    def build(self, asked: BuildRequest) -> Image:
        """Build a context, under the name that is asked for if images without one are lost."""

    def tag(self, image: str, reference: str) -> None:
        """Give an image another name."""

    def untag(self, reference: str) -> None:
        """Take a name away; an image without names goes."""

    def export(self, image: str, compression: str) -> tuple[Layout, Descriptor]:
        """Return a layout that holds an image, and its manifest there; layers that need it are compressed."""

    def leave(self, image: str, names: Sequence[str], folder: Path) -> str | None:
        """Put an archive into a build's output if the engine's images are nowhere else; return its name."""

    def find_platform(self) -> str:
        """Return the platform whose programs containers run here without emulation, as ``linux/amd64``."""

    def has_gpu(self) -> bool:
        """Return whether containers can have a GPU here."""
