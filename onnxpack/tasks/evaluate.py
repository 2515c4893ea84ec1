"""Tasks that score the source model and other models on the evaluation data."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.artifacts import Artifact
from onnxpack.core.values import OnnxModel, Score
from onnxpack.spec.part import SpecPart
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class ScoreSource(Task[Score]):
    """Score the source model's outputs, which the export left."""

    NAME = "evaluate"
    spec: SpecPart
    outputs: Artifact

    def run(self, folder: Path, say: Say) -> Score:
        """Apply the metric."""
        from onnxpack.evaluation.evaluate import score_source

        return score_source(self.spec.file, self.outputs.path)


@dataclass(frozen=True)
class ScoreModel(Task[Score]):
    """Score a model with the steps around it, run on the CPU."""

    NAME = "evaluate"
    spec: SpecPart
    model: OnnxModel

    def run(self, folder: Path, say: Say) -> Score:
        """Run the model on all rows and apply the metric."""
        from onnxpack.evaluation.evaluate import score_model

        return score_model(self.spec.file, self.model.path)
