"""The transform ``precision``: the same model in fewer bits."""

from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.artifacts import Artifact
from onnxpack.pipeline.run import Build
from onnxpack.precision import CALIBRATED, Reduced, Samples, Wish
from onnxpack.precision.candidates import counted
from onnxpack.spec.part import SpecPart
from onnxpack.values import Exported, OnnxModel
from onnxpack.worker import Effort, Say, Task


@dataclass(frozen=True)
class Calibrated:
    """The folder of what a float32 model's tensors were seen to hold."""

    files: Artifact


@dataclass(frozen=True)
class CalibrateModel(Task[Calibrated]):
    """Look once at the values of a float32 model's tensors; every try of int8-static reads them."""

    NAME = "calibrate"
    model: OnnxModel
    device: str
    samples: Samples

    def run(self, folder: Path, say: Say) -> Calibrated:
        """Write the prepared graph and its tensors' ranges into ``folder``."""
        from onnxpack.precision.reduce import calibrate_model

        calibrate_model(self.model.path, folder, Wish(CALIBRATED, self.device), self.samples, say)
        return Calibrated(Artifact.of(folder))


@dataclass(frozen=True)
class Ranking:
    """Layers, the worst first; not ``complete`` where the time was over before all were tried."""

    layers: tuple[str, ...]
    complete: bool


@dataclass(frozen=True)
class RankLayers(Task[Ranking]):
    """Find the layers that lose the most when they alone have 8 bits."""

    NAME = "sensitivity"
    model: OnnxModel
    calibration: Artifact
    wish: Wish
    samples: Samples
    limit: Effort

    def run(self, folder: Path, say: Say) -> Ranking:
        """Quantize one layer after another, the largest first."""
        from onnxpack.precision.sensitivity import rank_layers

        ranked = rank_layers(
            self.model.path, folder, self.calibration.path, self.wish, self.samples, self.limit.seconds
        )
        return Ranking(tuple(layer for layer, _ in ranked.layers), ranked.complete)

    def keeps(self, result: Ranking) -> bool:
        """Return False for a ranking that the time cut short: a longer time would give another one."""
        return result.complete


@dataclass(frozen=True)
class ReducePrecision(Task[Reduced]):
    """Convert a float32 model to another precision, and check that this did something."""

    NAME = "precision"
    model: OnnxModel
    wish: Wish
    samples: Samples
    calibration: Artifact | None = None

    def run(self, folder: Path, say: Say) -> Reduced:
        """Write the reduced model into ``folder``."""
        from onnxpack.precision.reduce import reduce_model

        calibration = self.calibration.path if self.calibration else None
        return reduce_model(self.model.path, folder, self.wish, self.samples, calibration, say)


@dataclass(frozen=True)
class Conversion:
    """How one candidate's precision is made: the wish, what calibrates it, and an earlier calibration."""

    wish: Wish
    samples: Samples
    calibration: Artifact | None = None

    @property
    def title(self) -> str:
        """What tells it apart from others of its precision."""
        left = self.wish.without
        return f"{self.wish.precision} without {counted(len(left), 'layer')}" if left else self.wish.precision


def conversion(run: Build, precision: str, exported: Exported) -> Conversion:
    """Return what is asked of a precision: only one that calibrates is given the calibration data."""
    file, target = run.plan.file, run.plan.spec_target
    wish = Wish(
        precision, target.device, target.isa, target.per_channel, target.exclude_nodes, seed=file.spec.verify.seed
    )
    reference, asked = exported.served, file.spec.calibration
    if precision != CALIBRATED or asked is None:
        return Conversion(wish, Samples(reference))
    part = SpecPart.of(file, "calibration", "dynamic_axes", "opset", "preprocess", "postprocess")
    return Conversion(wish, Samples(reference, part, asked.data, asked.samples, asked.method))


def calibrate(run: Build, model: OnnxModel, asked: Conversion) -> Conversion:
    """Look at the model's values once, for all tries of this conversion."""
    if asked.wish.precision != CALIBRATED:
        return asked
    found = run.runner.run(CalibrateModel(model, asked.wish.device, asked.samples))
    return replace(asked, calibration=found.files)


def rank_layers(run: Build, model: OnnxModel, asked: Conversion) -> tuple[str, ...]:
    """Return the layers that lose the most, the worst first."""
    assert asked.calibration
    limit = Effort(run.budget / 4)
    return run.runner.run(RankLayers(model, asked.calibration, asked.wish, asked.samples, limit)).layers


def reduce_precision(run: Build, model: OnnxModel, asked: Conversion) -> Reduced:
    """Convert a model."""
    task = ReducePrecision(model, asked.wish, asked.samples, asked.calibration)
    reduced = run.runner.run(task, of=asked.title)
    for note in reduced.notes:
        run.progress.note(note)
    return reduced
