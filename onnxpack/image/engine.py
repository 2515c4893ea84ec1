"""What an engine is asked, and what it gives: images, and the figures of their smoke test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onnxpack.bundle.bytecode import Bytecode, CompileRequest
from onnxpack.core.progress import Progress
from onnxpack.core.values import Reference
from onnxpack.parity.compare import Tolerance


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
    """The digest of the manifest that a registry has; None for an image that was neither pulled nor pushed."""


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
    on_gpu: bool | None = None
    """None for a CPU image."""
    soak: Soak | None = None
    """None where nothing asked for it."""
    later_answer_seconds: float | None = None
    """The median of answers after the first one that were asked for as it was: alone, after a pause."""

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
    first_answer: float | None = None
    """``gates.first_answer``: what is above it is measured again in a fresh container."""


class Engine(Protocol):
    """An engine; all of its methods raise EngineError where it does not do its part."""

    def find(self, reference: str) -> Image | None:
        """Return the image that has this name or id; None if there is none."""

    def require_base(self, reference: str, progress: Progress) -> Image:
        """Return the base image, which is fetched if it is not here."""

    def compile_modules(self, asked: CompileRequest) -> Bytecode:
        """Compile sources by the Python of a base image that is here.

        Raises:
            GateError: it has no Python, or that one fails.
        """

    def build(self, context: Path, tag: str, *, fresh: bool) -> Image:
        """Build a context under ``tag``; ``fresh`` takes no layer that an earlier build made."""

    def tag(self, image: str, reference: str) -> None:
        """Give an image another name."""

    def untag(self, reference: str) -> None:
        """Take a name away; an image without names goes."""

    def has_gpu(self) -> bool:
        """Return whether containers can have a GPU here."""

    def test_image(self, asked: SmokeRequest) -> Smoke:
        """Run an image offline, and replay the Reference in it.

        Raises:
            GateError: it does not get ready, dies, answers wrongly, or would fall back from the GPU.
        """
