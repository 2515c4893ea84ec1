"""Tasks that compare a model with its Reference, and look for where they part."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.values import OnnxModel, Reference
from onnxpack.parity.compare import Comparison, Tolerance
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class Compared:
    """The comparisons of every output of every case."""

    rows: tuple[Comparison, ...]


@dataclass(frozen=True)
class CompareModel(Task[Compared]):
    """Run a model on every case of a Reference and compare its answers."""

    NAME = "verify"
    model: OnnxModel
    reference: Reference
    tolerance: Tolerance

    def run(self, folder: Path, say: Say) -> Compared:
        """Compare with onnxruntime on the CPU."""
        from onnxpack.parity.compare import verify_model

        return Compared(tuple(verify_model(self.model.path, self.reference, self.tolerance)))


@dataclass(frozen=True)
class CompareBatches(Task[Compared]):
    """Run rows of a Reference together, and compare the answers with those to each of them alone."""

    NAME = "batching"
    model: OnnxModel
    reference: Reference
    tolerance: Tolerance
    least: int
    """The rows of one request."""
    most: int
    """The rows of a full batch."""

    def run(self, folder: Path, say: Say) -> Compared:
        """Compare with onnxruntime on the CPU."""
        from onnxpack.parity.batching import compare_batches

        rows = compare_batches(self.model.path, self.reference, self.tolerance, self.least, self.most)
        return Compared(tuple(rows))


@dataclass(frozen=True)
class Place:
    """Lines that say where a difference begins."""

    words: str


@dataclass(frozen=True)
class LocateDifference(Task[Place]):
    """Look for where an exported model leaves its source."""

    NAME = "locate"
    spec: SpecPart
    model: OnnxModel
    reference: Reference
    tolerance: Tolerance
    reasons: dict[str, str]
    """The first difference of each case that failed."""

    def run(self, folder: Path, say: Say) -> Place:
        """Export once more, with all intermediate values shown."""
        from onnxpack.diagnose import locate

        words = locate(self.spec.file, self.model.path, self.reference, self.reasons, self.tolerance)
        return Place(words)
