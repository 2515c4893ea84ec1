"""The task that times models beside each other."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.artifacts import Artifact
from onnxpack.core.values import OnnxModel
from onnxpack.timing import BatchGain, Measured
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class Speeds:
    """The measurements of each model, by its name in the request."""

    models: dict[str, Measured]


@dataclass(frozen=True)
class MeasureModels(Task[Speeds]):
    """Time models in turn, in one process; the first is what the others are compared with."""

    NAME = "measure"
    MEASURES = True
    models: dict[str, OnnxModel]
    order: tuple[str, ...]
    """The names of the models; a key does not tell the order of a mapping."""
    inputs: Artifact
    throughput: Artifact
    seconds: float
    threads: int | None
    machine: tuple[str, ...]

    def run(self, folder: Path, say: Say) -> Speeds:
        """Measure latency, throughput, load time and peak memory."""
        from onnxpack.timing.models import measure

        models = {name: self.models[name].path for name in self.order}
        return Speeds(measure(models, self.inputs.path, self.throughput.path, self.seconds, self.threads))


@dataclass(frozen=True)
class MeasureBatch(Task[BatchGain]):
    """Time a model on one request and on a full batch, in turn."""

    NAME = "batch speed"
    MEASURES = True
    model: OnnxModel
    inputs: Artifact
    """The file of a case, whose rows fill the batch."""
    least: int
    """The rows of one request."""
    most: int
    """The rows of a full batch."""
    seconds: float
    threads: int | None
    machine: tuple[str, ...]

    def run(self, folder: Path, say: Say) -> BatchGain:
        """Measure rows per second."""
        from onnxpack.timing.models import measure_batch

        return measure_batch(self.model.path, self.inputs.path, (self.least, self.most), self.seconds, self.threads)
