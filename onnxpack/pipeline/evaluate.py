"""Computes the evaluation metric of the source model and of another model, on the same data."""

from onnxpack.core.errors import OnnxpackError
from onnxpack.core.values import Exported, OnnxModel
from onnxpack.evaluation.evaluate import compute_degradation
from onnxpack.pipeline.records import Evaluated
from onnxpack.pipeline.run import Build
from onnxpack.spec.part import SpecPart
from onnxpack.tasks.evaluate import ScoreModel, ScoreSource


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
    try:
        source = run.runner.run(ScoreSource(metric, exported.evaluation), of="source").value
        own = run.runner.run(ScoreModel(data, model), of=model.precision).value
    except OnnxpackError as error:
        raise error.at(run.plan.file.where("evaluation")) from None
    lost = compute_degradation(evaluation.metric, source, own)
    return Evaluated(evaluation.metric, source, own, lost, model.file.digest)
