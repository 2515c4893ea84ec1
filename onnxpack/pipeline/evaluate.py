"""The evaluation metric of the source model and of a model, on the same data."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.artifacts import Artifact
from onnxpack.evaluation import Score, degradation
from onnxpack.pipeline.run import Build
from onnxpack.report import Evaluated
from onnxpack.spec.part import SpecPart
from onnxpack.values import Exported, OnnxModel
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class ScoreSource(Task[Score]):
    """Score the source model's outputs, which the export left."""

    NAME = "evaluate"
    spec: SpecPart
    outputs: Artifact

    def run(self, folder: Path, say: Say) -> Score:
        """Apply the metric."""
        from onnxpack.evaluation import score_source

        return score_source(self.spec.file, self.outputs.path)


@dataclass(frozen=True)
class ScoreModel(Task[Score]):
    """Score a model with the steps around it, run on the CPU."""

    NAME = "evaluate"
    spec: SpecPart
    model: OnnxModel

    def run(self, folder: Path, say: Say) -> Score:
        """Run the model on all rows and apply the metric."""
        from onnxpack.evaluation import score_model

        return score_model(self.spec.file, self.model.path)


def evaluate(run: Build, model: OnnxModel, exported: Exported) -> Evaluated:
    """Score the source model and this one.

    Raises:
        OnnxpackError: the metric has no value for one of them.
    """
    evaluation = run.plan.file.spec.evaluation
    assert evaluation
    assert exported.evaluation
    metric = SpecPart.of(run.plan.file, "evaluation")
    data = SpecPart.of(run.plan.file, "evaluation", "dynamic_axes", "opset", "preprocess", "postprocess", "outputs")
    source = run.runner.run(ScoreSource(metric, exported.evaluation), of="source").value
    own = run.runner.run(ScoreModel(data, model), of=model.precision).value
    lost = degradation(evaluation.metric, source, own)
    return Evaluated(evaluation.metric, source, own, lost, model.file.digest)
