"""Tasks that reduce a model's precision: calibrate, rank layers, convert."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.core.artifacts import Artifact
from onnxpack.core.values import OnnxModel
from onnxpack.precision import Reduced, Samples, Wish
from onnxpack.worker import Effort, Say, Task


@dataclass(frozen=True)
class Calibrated:
    """The folder with the ranges that a float32 model's tensors had on the calibration data."""

    files: Artifact


@dataclass(frozen=True)
class CalibrateModel(Task[Calibrated]):
    """Look once at the values of a float32 model's tensors; every try of int8-static reads them."""

    NAME = "calibrate"
    model: OnnxModel
    precision: str
    device: str
    samples: Samples

    def run(self, folder: Path, say: Say) -> Calibrated:
        """Write the prepared graph and its tensors' ranges into ``folder``."""
        from onnxpack.precision.reduce import calibrate_model

        calibrate_model(self.model.path, folder, Wish(self.precision, self.device), self.samples, say)
        return Calibrated(Artifact.of(folder))


@dataclass(frozen=True)
class Ranking:
    """Layers by what they lose, the worst first; ``complete`` unless the time ended before all were tried."""

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
    """Convert a float32 model to another precision, and check that the conversion changed something."""

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
