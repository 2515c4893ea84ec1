"""The transform ``precision``: the same model in fewer bits."""

from dataclasses import dataclass, replace

from onnxpack.core.artifacts import Artifact
from onnxpack.core.text import plural
from onnxpack.core.values import Exported, OnnxModel
from onnxpack.pipeline.run import Build
from onnxpack.precision import Reduced, Samples, Wish
from onnxpack.spec.part import SpecPart
from onnxpack.spec.traits import precisions
from onnxpack.tasks.precision import CalibrateModel, RankLayers, ReducePrecision
from onnxpack.worker import Effort


@dataclass(frozen=True)
class Conversion:
    """How one candidate's precision is made: the request, the calibration samples, and an earlier calibration."""

    wish: Wish
    samples: Samples
    calibration: Artifact | None = None

    @property
    def title(self) -> str:
        """Return a title that tells the candidate apart from others of its precision."""
        left = self.wish.without
        return f"{self.wish.precision} without {plural(len(left), 'layer')}" if left else self.wish.precision


def conversion(run: Build, precision: str, exported: Exported) -> Conversion:
    """Return how a precision is to be made; only one that calibrates is given the calibration data."""
    file, target = run.plan.file, run.plan.spec_target
    wish = Wish(
        precision, target.device, run.plan.isa, target.per_channel, target.exclude_nodes, seed=file.spec.verify.seed
    )
    reference, asked = exported.served, file.spec.calibration
    if not precisions()[precision].calibrated or asked is None:
        return Conversion(wish, Samples(reference))
    part = SpecPart.of(file, "calibration", "dynamic_axes", "opset", "preprocess", "postprocess")
    return Conversion(wish, Samples(reference, part, asked.data, asked.samples, asked.method))


def calibrate(run: Build, model: OnnxModel, asked: Conversion) -> Conversion:
    """Look at the model's values once, for all tries of this conversion."""
    if not precisions()[asked.wish.precision].calibrated:
        return asked
    found = run.runner.run(
        CalibrateModel(model, asked.wish.precision, asked.wish.device, asked.samples), of=asked.wish.precision
    )
    return replace(asked, calibration=found.files)


def rank_layers(run: Build, model: OnnxModel, asked: Conversion) -> tuple[str, ...]:
    """Return the layers that lose the most, the worst first."""
    assert asked.calibration
    limit = Effort(run.budget / 4)  # the rest is for the tries that the ranking is made for
    task = RankLayers(model, asked.calibration, asked.wish, asked.samples, limit)
    return run.runner.run(task, of=asked.wish.precision).layers


def reduce_precision(run: Build, model: OnnxModel, asked: Conversion) -> Reduced:
    """Convert a model."""
    task = ReducePrecision(model, asked.wish, asked.samples, asked.calibration)
    reduced = run.runner.run(task, of=asked.title)
    for note in reduced.notes:
        run.progress.note(note)
    return reduced
