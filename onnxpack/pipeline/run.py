"""The values of one run of the chain: its plan, what it works with, and what the stages have made so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from onnxpack.cache.store import Store
from onnxpack.core.progress import Progress
from onnxpack.core.values import Exported, OnnxModel
from onnxpack.image.base_probe import BaseSystem
from onnxpack.image.engine import Engine, Image, Smoke
from onnxpack.oci import GZIP
from onnxpack.parity.summary import Parity
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.records import Evaluated
from onnxpack.pipeline.runner import Runner
from onnxpack.precision.candidates import Candidate
from onnxpack.targets import Distribution
from onnxpack.timing import BatchGain

if TYPE_CHECKING:
    from onnxpack.bundle.context import Context
    from onnxpack.intake.figures import IntakeFigures
    from onnxpack.pipeline.reproduce import Reproduction


@dataclass(frozen=True)
class Build:
    """One target of one spec, and the store, engine and progress that its stages work with."""

    plan: Plan
    store: Store
    engine: Engine
    progress: Progress
    budget: float = 600.0
    """Seconds that trying precisions may take."""
    require_gates: bool = False
    """A gate that cannot be judged fails the build."""
    compression: str = GZIP
    """How the image's layers are compressed."""
    base: Path | None = None
    """The archive or layout that the base image is taken from, instead of its registry."""
    vendor: Path | None = None
    """The bundle of ``onnxpack vendor`` that all is taken from which comes from outside; then no network is used."""

    environment: Mapping[str, str] | None = None
    """The versions in the model's isolated environment, instead of those that the lock has."""

    @cached_property
    def runner(self) -> Runner:
        """Return the runner of this build's tasks, which records them."""
        return Runner(self.store, self.progress, self.plan.file.root, self.plan.sandbox)


@dataclass(frozen=True)
class Product:
    """What the stages of a chain have made so far; a stage that did not run left None."""

    exported: "Exported | None" = None
    model: OnnxModel | None = None
    """The model as it would ship now."""
    parity: Parity | None = None
    candidates: tuple[Candidate, ...] = ()
    """The precisions that were tried, float32 first; empty where the spec asks for float32."""
    evaluation: Evaluated | None = None
    batching: BatchGain | None = None
    """The speed of the model that ships in batches; None where it was not measured."""
    distributions: tuple[Distribution, ...] = ()
    """The locked packages: whether the image has each, and why."""
    intakes: "IntakeFigures | None" = None
    """How near the module's pixels and tokens are to those of training; None where clients send tensors."""
    context: "Context | None" = None
    base: Image | None = None
    """The image that it was built on."""
    system: BaseSystem | None = None
    """What the base offers."""
    image: Image | None = None
    references: tuple[str, ...] = ()
    archive: str | None = None
    """The name of the file in the output that holds the image, where no daemon keeps it."""
    smoke: Smoke | None = None
    reproduction: "Reproduction | None" = None
    """The second build that gave the same image; None where none was asked for."""
    pushed: str | None = None
    """The image in its registry, as ``repository@sha256:…``."""
    folder: Path | None = field(default=None, compare=False)
    """The folder where the outputs are put together, until they replace the last ones."""
